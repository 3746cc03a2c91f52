import type { StoreOptions } from 'stele';
import { openStore } from 'stele';

import type { Contestant } from './contestant.ts';
import { metadata, Order } from './order.ts';

/** Stele as it is opened by anybody: a pool of its own, of the driver's default size. */
export async function openStele(
  connection: string,
  options: Omit<StoreOptions<readonly [typeof Order]>, 'aggregates' | 'connection'> = {},
): Promise<Contestant> {
  const store = await openStore({ connection, aggregates: [Order], ...options });
  return {
    name: 'Stele',
    append: (order, _version, line) =>
      store.append(Order.stream(order), [Order.emit.LineAdded(line)], { metadata }),
    appendBatch: (order, lines) =>
      store.append(
        Order.stream(order),
        lines.map((line) => Order.emit.LineAdded(line)),
        { metadata },
      ),
    read: async (order) => {
      let count = 0;
      for await (const { version } of store.readStream(Order, order)) count = version;
      return count;
    },
    [Symbol.asyncDispose]: () => store.close(),
  };
}
