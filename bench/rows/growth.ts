import { openStore, type Store } from 'stele';

import { catchUpFrom } from '../catch-up.ts';
import { createFilled, streamLength } from '../filled.ts';
import { metadata, Order, someLine } from '../order.ts';
import { compare } from '../result.ts';
import { rateOf, rounds, type Side } from '../rounds.ts';
import type { Bench, Row } from '../row.ts';

const callers = 64;
const pageLength = 1_000;
/** What a subscription gets of either store, of the smaller one half. */
const stretch = 50;

/** The same work on a store a hundred times larger. Every piece of work picks its place at random. */
export const growth: Row = {
  numbers: ['growth'],
  run: async (bench, row) => {
    const large = bench.size(10_000_000);
    const sizes = { small: large / 100, large };
    await using smallStore = await openFilled(bench, sizes.small);
    await using largeStore = await openFilled(bench, sizes.large);
    const line = { row, subject: 'large', base: 'small', atLeast: 0.9 } as const;
    const size = `${millions(sizes.large)} M events against ${millions(sizes.small)} M`;
    const sides = (work: (filled: Filled) => Promise<number>): readonly Side[] => [
      { name: 'small', slice: () => work(smallStore) },
      { name: 'large', slice: () => work(largeStore) },
    ];
    const streams = await rounds(
      bench.rounds,
      sides(({ store, someOrder }) =>
        rateOf(1, bench.sliceMs, async () => {
          for await (const { version } of store.readStream(Order, someOrder())) void version;
        }),
      ),
    );
    const pages = await rounds(
      bench.rounds,
      sides(async ({ store, somePosition }) => {
        const rate = await rateOf(1, bench.sliceMs, async () => {
          const range = { after: somePosition(pageLength), limit: pageLength };
          for await (const { version } of store.read(range)) void version;
        });
        return rate * pageLength;
      }),
    );
    const length = Math.min(stretch * pageLength, sizes.small / 2);
    const catchUp = await rounds(
      bench.rounds,
      sides(({ store, somePosition }) => catchUpFrom(store, somePosition(length), length)),
    );
    // The last, since it makes the streams longer: of the small store, by more than they had.
    const append = await rounds(
      bench.rounds,
      sides(({ store, someOrder }) =>
        rateOf(callers, bench.sliceMs, () =>
          store.append(Order.stream(someOrder()), [Order.emit.LineAdded(someLine())], { metadata }),
        ),
      ),
    );
    return [
      compare({ ...line, work: `append, 64 callers, ${size}`, unit: 'events/s' }, append),
      compare({ ...line, work: `read a stream of 100, ${size}`, unit: 'streams/s' }, streams),
      compare({ ...line, work: `read in order of positions, ${size}`, unit: 'events/s' }, pages),
      compare({ ...line, work: `subscription catch-up, ${size}`, unit: 'events/s' }, catchUp),
    ];
  },
};

function millions(events: number): string {
  return (events / 1e6).toLocaleString('en');
}

interface Filled extends AsyncDisposable {
  readonly store: Store;
  readonly someOrder: () => string;
  /** A position with so many events after it. */
  readonly somePosition: (length: number) => number;
}

async function openFilled(bench: Bench, events: number): Promise<Filled> {
  const connection = await createFilled(bench, events);
  const store = await openStore({ connection, aggregates: [Order] });
  const streams = events / streamLength;
  return {
    store,
    someOrder: () => String(Math.floor(Math.random() * streams)),
    somePosition: (length) => Math.floor(Math.random() * Math.max(1, events - length)),
    [Symbol.asyncDispose]: () => store.close(),
  };
}
