import pg from 'pg';

import { openContestants, peersOf } from '../contestants.ts';
import { someLines } from '../order.ts';
import { compare } from '../result.ts';
import { rounds, timesOf } from '../rounds.ts';
import type { Row } from '../row.ts';
import { median } from '../statistics.ts';

const length = 10_000;

/** A long stream from its first event to its last, each as an object with its parsed payload. */
export const readStream: Row = {
  numbers: ['7'],
  run: async (bench, row) => {
    let database = '';
    await using contestants = await openContestants({
      ...bench,
      createDatabase: async () => (database = await bench.createDatabase()),
    });
    const { all } = contestants;
    const order = crypto.randomUUID();
    // Plain SQL reads the rows that Stele has stored.
    for (const { name, appendBatch } of all) {
      if (name !== 'plain SQL') await appendBatch(order, someLines(length));
    }
    await settle(database);
    const figures = await rounds(
      bench.rounds,
      all.map(({ name, read }) => ({
        name,
        slice: async () => {
          const times = await timesOf(bench.sliceMs / 80, async () => {
            const count = await read(order);
            if (count !== length) throw new Error(`${name} read ${count} of ${length} events.`);
          });
          return (length * 1e6) / median(times);
        },
      })),
    );
    const line = {
      row,
      work: 'read one stream of 10,000 events',
      unit: 'events/s',
      subject: 'Stele',
    } as const;
    return [
      compare({ ...line, base: 'plain SQL', atLeast: 0.8 }, figures),
      ...peersOf(all).map((base) => compare({ ...line, base }, figures)),
    ];
  },
};

/** What autovacuum would do soon: only the first reader pays for it. */
async function settle(connectionString: string): Promise<void> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  await client.query('vacuum analyze');
  await client.end();
}
