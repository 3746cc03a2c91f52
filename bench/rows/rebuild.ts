import pg from 'pg';
import { openStore, rebuild } from 'stele';

import { createFilled } from '../filled.ts';
import { Order, type Line } from '../order.ts';
import { compare, measure } from '../result.ts';
import { rounds } from '../rounds.ts';
import type { Row } from '../row.ts';
import { addOne, batchTotals, totalOf, totals, totalsTable } from '../totals.ts';

/** How many may work on it at once, where it is split. */
const partitions = 4;

/**
 * A read model made of a long history. It is compared with how it is made by hand: one event after
 * another, each in a transaction with the position it stands at.
 */
export const rebuilding: Row = {
  numbers: ['10'],
  run: async (bench, row) => {
    const events = bench.size(1_000_000);
    const connection = await createFilled(bench, events);
    await using store = await openStore({ connection, aggregates: [Order] });
    await using byHand = await openByHand(connection);
    const readModels = {
      'event by event': totals('totals-1', 1),
      [`event by event, ${partitions} partitions`]: totals('totals-2', partitions),
      'in batches': batchTotals('totals-3', 1),
      [`in batches, ${partitions} partitions`]: batchTotals('totals-4', partitions),
    };
    const names = Object.keys(readModels);
    // Long pieces, so a few are enough.
    const figures = await rounds(Math.ceil(bench.rounds / 5), [
      ...Object.entries(readModels).map(([name, readModel]) => ({
        name,
        slice: async () => {
          const started = performance.now();
          const { events: handled } = await rebuild(store, readModel, { keepMs: 0 });
          if (handled !== events) throw new Error(`${name}: ${handled} of ${events} events.`);
          return (events * 1_000) / (performance.now() - started);
        },
      })),
      { name: 'one by one', slice: () => byHand.handle(bench.sliceMs) },
    ]);
    const size = `${(events / 1e6).toLocaleString('en')} M events`;
    const line = { row, unit: 'events/s', base: 'one by one' } as const;
    const inBatches = names.filter((name) => name.startsWith('in batches'));
    return [
      ...names.map((subject) =>
        compare({ ...line, work: `rebuild ${subject}, ${size}`, subject, atLeast: 10 }, figures),
      ),
      ...inBatches.map((subject) =>
        measure(
          { ...line, work: `rebuild ${subject}, ${size}`, subject, atLeast: 60_000 },
          figures[subject] ?? [],
        ),
      ),
    ];
  },
};

interface ByHand extends AsyncDisposable {
  /** Handles events for a while, and returns how many in a second. */
  readonly handle: (ms: number) => Promise<number>;
}

async function openByHand(connectionString: string): Promise<ByHand> {
  const client = new pg.Client({ connectionString, options: '-c search_path=by_hand' });
  await client.connect();
  await client.query(`
    create schema by_hand;
    ${totalsTable};
    create table checkpoint (position bigint not null);
    insert into checkpoint values (0);
  `);
  return {
    handle: async (ms) => {
      const started = performance.now();
      let handled = 0;
      while (performance.now() - started < ms) {
        const { rows } = await client.query<{ position: string; stream_id: string; data: Line }>(`
          select position, stream_id, data from stele.events
          where position > (select position from checkpoint) order by position limit 1000`);
        if (rows.length === 0) await client.query('update checkpoint set position = 0');
        for (const { position, stream_id: streamId, data } of rows) {
          await client.query('begin');
          await client.query(addOne, [streamId.slice('order-'.length), totalOf(data)]);
          await client.query('update checkpoint set position = $1', [position]);
          await client.query('commit');
          handled += 1;
          if (performance.now() - started >= ms) break;
        }
      }
      return (handled * 1_000) / (performance.now() - started);
    },
    [Symbol.asyncDispose]: () => client.end(),
  };
}
