import pg from 'pg';
import { batchProjection, openStore, subscription, type Runnable } from 'stele';

import { catchUp as catchUpWith, newName } from '../catch-up.ts';
import { createFilled } from '../filled.ts';
import { Order } from '../order.ts';
import { compare } from '../result.ts';
import { rounds, type Side } from '../rounds.ts';
import type { Row } from '../row.ts';

const pageLength = 1_000;

/** All events of a store by something new whose handler does nothing: what delivering them costs. */
export const catchUp: Row = {
  numbers: ['8'],
  run: async (bench, row) => {
    const events = bench.size(200_000);
    const connection = await createFilled(bench, events);
    await using store = await openStore({ connection, aggregates: [Order] });
    const side = (name: string, make: () => Runnable): Side => ({
      name,
      slice: () => catchUpWith(store, make(), events),
    });
    const figures = await rounds(bench.rounds, [
      side('Stele', () =>
        subscription(newName('empty'), { aggregates: [Order], on: { LineAdded: async () => {} } }),
      ),
      side('batch projection', () =>
        batchProjection(newName('empty'), { aggregates: [Order], batch: async () => {} }),
      ),
      { name: 'plain SQL', slice: () => plainly(connection, events) },
    ]);
    const line = { row, unit: 'events/s', base: 'plain SQL' } as const;
    return [
      compare(
        {
          ...line,
          work: `subscription catch-up, ${events.toLocaleString('en')} events, empty handler`,
          subject: 'Stele',
          atLeast: 0.8,
        },
        figures,
      ),
      compare(
        { ...line, work: 'the same of a batch projection', subject: 'batch projection' },
        figures,
      ),
    ];
  },
};

/** Page after page in order of positions, each row as the driver gives it. */
async function plainly(connectionString: string, events: number): Promise<number> {
  const client = new pg.Client({ connectionString });
  const started = performance.now();
  await client.connect();
  let position = '0';
  let count = 0;
  for (let more = true; more;) {
    const { rows } = await client.query<{ position: string }>({
      name: 'page',
      text: `
        select position, stream_id, version, id, type, schema_version, data, metadata, recorded_at
        from stele.events where position > $1 order by position limit $2`,
      values: [position, pageLength],
    });
    count += rows.length;
    position = rows.at(-1)?.position ?? position;
    more = rows.length === pageLength;
  }
  const rate = (events * 1_000) / (performance.now() - started);
  await client.end();
  if (count !== events) throw new Error(`Plain SQL read ${count} of ${events} events.`);
  return rate;
}
