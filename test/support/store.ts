import { inspect } from 'node:util';
import pg from 'pg';
import { openStore, type Store, type StoreOptions } from 'stele';
import { afterEach } from 'vitest';

import { aggregates } from './aggregates.ts';
import type { TestDatabase } from './database.ts';

type Options = Partial<StoreOptions<typeof aggregates>>;

/**
 * Opens stores on a database, and closes them after each test.
 *
 * @example
 * ```ts
 * const open = useStores(database);
 * const store = await open();
 * ```
 */
export function useStores(database: TestDatabase): (options?: Options) => Promise<Store> {
  const stores: Store[] = [];
  afterEach(async () => {
    await Promise.all(stores.splice(0).map((store) => store.close()));
  });
  return async (options = {}) => {
    const connection = options.pool === undefined ? database.connectionString : undefined;
    const store = await openStore({ connection, aggregates, ...options });
    stores.push(store);
    return store;
  };
}

/** Opens pools on a database, which end after each test. */
export function usePools(database: TestDatabase): (options?: pg.PoolConfig) => pg.Pool {
  const pools: pg.Pool[] = [];
  afterEach(async () => {
    await Promise.all(pools.splice(0).map((pool) => pool.end()));
  });
  return (options = {}) => {
    const pool = new pg.Pool({ connectionString: database.connectionString, ...options });
    pools.push(pool);
    return pool;
  };
}

/**
 * A pool that counts the statements that are sent through it, each of which is a round trip. The
 * notification of other processes is not counted: nobody waits for it.
 */
export function countStatements(pool: pg.Pool): { readonly sent: string[] } {
  const sent: string[] = [];
  pool.on('connect', (client) => {
    const original = client.query.bind(client) as (...values: unknown[]) => unknown;
    const counting = (config: unknown, ...rest: unknown[]): unknown => {
      const text = typeof config === 'string' ? config : (config as pg.QueryConfig).text;
      if (!text.includes('pg_notify')) sent.push(text);
      return original(config, ...rest);
    };
    client.query = counting as typeof client.query;
  });
  return { sent };
}

/** Resolves once so many sessions of the database wait for a lock. */
export async function untilWaiting(database: TestDatabase, sessions = 1): Promise<void> {
  for (;;) {
    const [row] = await database.query<{ count: number }>(
      `select count(*)::int as count from pg_stat_activity
       where datname = current_database() and wait_event_type = 'Lock'`,
    );
    if (row !== undefined && row.count >= sessions) return;
  }
}

/** What `task` rejects with, typed by the caller's expectation of it. */
export async function rejectionOf(task: Promise<unknown>): Promise<unknown> {
  return task.then(
    (value) => {
      throw new Error(`It should have failed, but gave ${inspect(value).slice(0, 200)}.`);
    },
    (error: unknown) => error,
  );
}

/** All that an iterable yields. */
export async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

/** `task` for 0, 1 … `count - 1`, all at once. */
export function times<T>(count: number, task: (index: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => task(index)));
}

/** A moment that one side gives and another awaits. */
export function signal(): { readonly given: Promise<void>; readonly give: () => void } {
  let give = (): void => undefined;
  const given = new Promise<void>((resolve) => {
    give = resolve;
  });
  return { given, give: () => give() };
}
