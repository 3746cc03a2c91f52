import pg from 'pg';
import { v7 as uuid } from 'uuid';

import type { Contestant } from './contestant.ts';
import { metadata, type Line } from './order.ts';

/**
 * The practical limit: prepared statements through the same driver, into a table with the same
 * columns, indexes and rows as Stele's. It has no heads, checks no version and gives no position back.
 *
 * @param connectionString - of a database that Stele has been opened on
 */
export async function openPlain(connectionString: string, size = 10): Promise<Contestant> {
  const pool = new pg.Pool({ connectionString, max: size });
  await pool.query(`
    create schema if not exists plain;
    create sequence if not exists plain.positions;
    create table if not exists plain.events (like stele.events including all);
  `);
  return {
    name: 'plain SQL',
    append: (order, version, line) =>
      pool.query({
        name: 'insert-one',
        text: `
          insert into plain.events
            (position, version, recorded_at, id, schema_version, stream_id, category, type, data, metadata)
          values (nextval('plain.positions'), $1, clock_timestamp(), $2, 1, $3, 'order', 'LineAdded', $4, $5)`,
        values: [version, uuid(), `order-${order}`, JSON.stringify(line), JSON.stringify(metadata)],
      }),
    appendBatch: (order, lines) =>
      pool.query({
        name: 'insert-many',
        text: `
          insert into plain.events
            (position, version, recorded_at, id, schema_version, stream_id, category, type, data, metadata)
          select nextval('plain.positions'), e.n, clock_timestamp(), e.id, 1, $1, 'order', 'LineAdded', e.data, $2
          from unnest($3::uuid[], $4::jsonb[]) with ordinality e (id, data, n)`,
        values: [
          `order-${order}`,
          JSON.stringify(metadata),
          lines.map(() => uuid()),
          lines.map((line) => JSON.stringify(line)),
        ],
      }),
    // Stele's own table, so that both read the same rows.
    read: async (order) => {
      const { rows } = await pool.query<{ version: string; data: Line }>({
        name: 'select-stream',
        text: 'select * from stele.events where stream_id = $1 order by version',
        values: [`order-${order}`],
      });
      let count = 0;
      for (const { version } of rows) count = Number(version);
      return count;
    },
    [Symbol.asyncDispose]: () => pool.end(),
  };
}
