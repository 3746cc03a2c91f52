import pg from 'pg';
import { openStore } from 'stele';

import { orders } from '../contestant.ts';
import { metadata, Order, someLine } from '../order.ts';
import { compare, type Result } from '../result.ts';
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
    return [tripsResult(row, 'cold', trips[0], 2), tripsResult(row, 'warm', trips[1], 1), rate];
  },
};

function tripsResult(row: string, name: string, trips: number, atMost: number): Result {
  return {
    row,
    work: `execute a command, ${name} cache`,
    target: `≤ ${atMost} round trips`,
    unit: 'round trips',
    ratio: undefined,
    subject: { name, spread: { median: trips, min: trips, max: trips } },
    base: undefined,
    passed: trips <= atMost,
  };
}

interface Counted extends AsyncDisposable {
  /** Executes one command on the caller's order. */
  readonly command: (caller: number) => Promise<void>;
  /** How often a command on a stream that exists asks the database. */
  readonly tripsOfOne: () => Promise<number>;
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
        trips += 1;
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
