import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { openRuntime, openStore, subscription } from 'stele';

import { metadata, Order, someLine } from '../order.ts';
import { measure } from '../result.ts';
import type { Row } from '../row.ts';

/** By then, a runtime that has nothing to do asks as rarely as it ever will. */
const settledMs = 3_000;

/**
 * What a runtime asks of the server while nothing happens. The server counts exactly only when sessions
 * have ended, so this compares a short life of a runtime with one that is longer by the time measured.
 */
export const idle: Row = {
  numbers: ['12'],
  run: async (bench, row) => {
    const connection = await bench.createDatabase();
    const store = await openStore({ connection, aggregates: [Order] });
    await store.append(Order.stream('1'), [Order.emit.LineAdded(someLine())], { metadata });
    await store.close();
    await using watch = await watchTransactions(connection);
    const measuredMs = Math.max(6_000, bench.sliceMs * 5);
    const rateOf = async (subscriptions: number): Promise<number> => {
      // The first life has something to handle.
      await live(connection, subscriptions, settledMs);
      const short = await watch.of(() => live(connection, subscriptions, settledMs));
      const long = await watch.of(() => live(connection, subscriptions, settledMs + measuredMs));
      return ((long - short) * 1_000) / measuredMs;
    };
    const line = { row, unit: 'queries/s', subject: 'Stele', atMost: 2 } as const;
    return [
      measure({ ...line, work: 'idle runtime, 1 subscription' }, [await rateOf(1)]),
      measure({ ...line, work: 'idle runtime, 20 subscriptions' }, [await rateOf(20)]),
    ];
  },
};

/** A store and its runtime from start to end, with so long a time of nothing to do in between. */
async function live(connection: string, subscriptions: number, ms: number): Promise<void> {
  await using store = await openStore({ connection, aggregates: [Order] });
  const run = Array.from({ length: subscriptions }, (_, index) =>
    subscription(`idle-${index}`, { aggregates: [Order], on: { LineAdded: async () => {} } }),
  );
  await using _ = await openRuntime(store, { run });
  await delay(ms);
}

interface TransactionWatch extends AsyncDisposable {
  /** How many transactions a piece of work has the server commit, in sessions that end with it. */
  readonly of: (work: () => Promise<void>) => Promise<number>;
}

/** Looks on from another database, so that its own queries are not counted. */
async function watchTransactions(connectionString: string): Promise<TransactionWatch> {
  const url = new URL(connectionString);
  const database = url.pathname.slice(1);
  url.pathname = '/postgres';
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  const sessions = async (): Promise<readonly number[]> => {
    const { rows } = await client.query<{ pid: number }>(
      `select pid from pg_stat_activity where datname = $1 and backend_type = 'client backend'`,
      [database],
    );
    return rows.map(({ pid }) => pid);
  };
  const committed = async (): Promise<number> => {
    const { rows } = await client.query<{ count: string }>(
      `select xact_commit as count from pg_stat_database where datname = $1`,
      [database],
    );
    return Number(rows[0]?.count);
  };
  return {
    of: async (work) => {
      const others = await sessions();
      const before = await committed();
      await work();
      // A session's figures are counted before it disappears.
      while ((await sessions()).some((pid) => !others.includes(pid))) await delay(20);
      return (await committed()) - before;
    },
    [Symbol.asyncDispose]: () => client.end(),
  };
}
