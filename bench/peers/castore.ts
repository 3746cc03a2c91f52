import type { Contestant } from '../contestant.ts';
import { metadata, type Line } from '../order.ts';

interface Detail {
  readonly aggregateId: string;
  readonly version: number;
  readonly type: string;
  readonly payload: unknown;
  readonly metadata: unknown;
}

interface Adapter {
  pushEvent(event: Detail, context: { readonly eventStoreId: string }): Promise<unknown>;
  getEvents(
    id: string,
    context: { readonly eventStoreId: string },
  ): Promise<{ readonly events: readonly unknown[] }>;
}

/** What of the package is used, by hand: it is not there where the benchmarks are compiled. */
interface Castore {
  readonly PostgresEventStorageAdapter: {
    new (options: { readonly connectionString: string }): Adapter;
    createEventTable(options: { readonly connectionString: string }): Promise<unknown>;
  };
}

const context = { eventStoreId: 'order' };

/**
 * Castore's storage adapter, without its event store, which would only add to it: a table with an
 * event a row, and a version that the caller knows.
 */
export async function openCastore(module: unknown, connectionString: string): Promise<Contestant> {
  const { PostgresEventStorageAdapter } = module as Castore;
  await PostgresEventStorageAdapter.createEventTable({ connectionString });
  const adapter = new PostgresEventStorageAdapter({ connectionString });
  const append = (aggregateId: string, version: number, payload: Line): Promise<unknown> =>
    adapter.pushEvent({ aggregateId, version, type: 'LineAdded', payload, metadata }, context);
  return {
    name: 'Castore 2.4',
    append,
    // Only to fill: what it offers for several events is made for one event in each of several stores.
    appendBatch: async (order, lines) => {
      for (const [index, line] of lines.entries()) await append(order, index + 1, line);
    },
    read: async (order) => (await adapter.getEvents(order, context)).events.length,
    [Symbol.asyncDispose]: async () => {
      // It gives no way to close it, so its client is reached for.
      const { _sql: sql } = adapter as unknown as { readonly _sql: { end(): Promise<void> } };
      await sql.end();
    },
  };
}
