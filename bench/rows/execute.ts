import pg from 'pg';
import { openStore } from 'stele';

import { orders } from '../contestant.ts';
import { metadata, Order, someLine } from '../order.ts';
import { compare, measure } from '../result.ts';
import { rateOf, rounds } from '../rounds.ts';
import type { Row } from '../row.ts';

const callers = 64;

/** Load, decide, append; with the state in memory, and without. */
export const execute: Row = {
  numbers: ['6'],
  run: async (bench, row) => {
    const database = await bench.createDatabase();
    await using cold = await openCounted(database, 0);
    await using warm = await openCounted(database, 10_000);
    const trips = [await cold.tripsOfOne(), await warm.tripsOfOne()] as const;
    const figures = await rounds(
      bench.rounds,
      Object.entries({ cold, warm }).map(([name, { command }]) => ({
        name,
        slice: () => rateOf(callers, bench.sliceMs, command),
      })),
    );
    const line = { row, unit: 'round trips' } as const;
    const rate = compare(
      {
        row,
        work: `execute a command, ${callers} callers, warm cache`,
        unit: 'commands/s',
        subject: 'warm',
        base: 'cold',
      },
      figures,
    );
    return [
      measure({ ...line, work: 'execute a command, cold cache', subject: 'cold', atMost: 2 }, [
        trips[0],
      ]),
      measure({ ...line, work: 'execute a command, warm cache', subject: 'warm', atMost: 1 }, [
        trips[1],
      ]),
      rate,
    ];
  },
};

interface Counted extends AsyncDisposable {
  /** Executes one command on the caller's order. */
  readonly command: (caller: number) => Promise<void>;
  /** How often a command on a stream that exists asks the database. */
  readonly tripsOfOne: () => Promise<number>;
}

/** Other processes are told at most every few milliseconds, after the append; no command waits for it. */
function isNotification(query: unknown): boolean {
  const text = typeof query === 'object' && query !== null && 'text' in query ? query.text : query;
  return typeof text === 'string' && text.startsWith('select pg_notify');
}

async function openCounted(connectionString: string, cachedStates: number): Promise<Counted> {
  const pool = new pg.Pool({ connectionString });
  let trips = 0;
  // Every statement of the pool's clients goes out alone and is answered before the next: each is a
  // round trip.
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...args: unknown[]) => unknown;
    Object.assign(client, {
      query: (...args: unknown[]) => {
        if (!isNotification(args[0])) trips += 1;
        return query(...args);
      },
    });
  });
  const store = await openStore({ pool, aggregates: [Order], cachedStates });
  const next = Array.from({ length: callers }, orders);
  const add = async (order: string): Promise<void> => {
    const done = await store.execute(Order, order, 'addLine', someLine(), { metadata });
    if (!done.ok) throw new Error('Nothing rejects a line.');
  };
  return {
    command: async (caller) => {
      const step = next[caller]?.();
      if (step !== undefined) await add(step.order);
    },
    tripsOfOne: async () => {
      await add('counted');
      const before = trips;
      await add('counted');
      return trips - before;
    },
    [Symbol.asyncDispose]: async () => {
      await store.close();
      await pool.end();
    },
  };
}
