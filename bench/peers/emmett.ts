import type { Contestant } from '../contestant.ts';
import { metadata, type Line } from '../order.ts';

/** What of the package is used, by hand: it is not there where the benchmarks are compiled. */
interface Emmett {
  readonly getPostgreSQLEventStore: (connectionString: string) => {
    appendToStream(
      stream: string,
      events: readonly {
        readonly type: string;
        readonly data: unknown;
        readonly metadata: unknown;
      }[],
    ): Promise<unknown>;
    readStream(stream: string): Promise<{ readonly events: readonly unknown[] }>;
    readonly schema: { migrate(): Promise<unknown> };
    close(): Promise<void>;
  };
}

/** Emmett as its guide opens it: its own pool, of the driver's default size. */
export async function openEmmett(module: unknown, connectionString: string): Promise<Contestant> {
  const store = (module as Emmett).getPostgreSQLEventStore(connectionString);
  await store.schema.migrate();
  const toEvent = (data: Line): { type: string; data: Line; metadata: unknown } => ({
    type: 'LineAdded',
    data,
    metadata,
  });
  return {
    name: 'Emmett 0.42',
    append: (order, _version, line) => store.appendToStream(`order-${order}`, [toEvent(line)]),
    appendBatch: (order, lines) => store.appendToStream(`order-${order}`, lines.map(toEvent)),
    read: async (order) => (await store.readStream(`order-${order}`)).events.length,
    [Symbol.asyncDispose]: () => store.close(),
  };
}
