import { aggregate, event } from 'stele';
import { z } from 'zod';

const line = z.object({
  sku: z.string(),
  description: z.string(),
  quantity: z.number().int().positive(),
  price: z.number(),
  currency: z.enum(['EUR', 'USD']),
  warehouse: z.object({ name: z.string(), shelf: z.string() }),
  giftWrapped: z.boolean(),
  remark: z.string(),
});

/** About 250 bytes as JSON, validated when it is written, as an application's events are. */
export type Line = z.infer<typeof line>;

export const Order = aggregate('order', {
  events: { LineAdded: event(line) },
  initialState: () => ({ lines: 0, total: 0 }),
  evolve: {
    LineAdded: ({ lines, total }, { data }) => ({
      lines: lines + 1,
      total: total + data.quantity * data.price,
    }),
  },
  commands: {
    addLine: { input: line, decide: (input, _order, { emit }) => emit.LineAdded(input) },
  },
});

/** Who did it: the metadata that every event gets, whoever stores it. */
export const metadata = { userId: 'user-7d1f42' } as const;

// Made beforehand, so that no contestant's time has the making of payloads in it.
const lines = Array.from({ length: 1_000 }, (_, index): Line => ({
  sku: `SKU-${100_000 + index * 37}`,
  description: `Reclaimed oak shelf, ${60 + (index % 90)} cm, oiled, with brackets`,
  quantity: 1 + (index % 9),
  price: 4_900 + index,
  currency: index % 3 === 0 ? 'USD' : 'EUR',
  warehouse: { name: 'Rotterdam North', shelf: `${index % 40}-B` },
  giftWrapped: index % 5 === 0,
  remark: `Leave it with neighbour ${index % 100}`,
}));

let next = 0;

export function someLine(): Line {
  next = (next + 1) % lines.length;
  const found = lines[next];
  if (found === undefined) throw new Error('There are a thousand lines.');
  return found;
}

export function someLines(count: number): readonly Line[] {
  return Array.from({ length: count }, someLine);
}
