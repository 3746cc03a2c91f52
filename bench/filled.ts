import pg from 'pg';
import { migrate } from 'stele';

import { metadata, someLine } from './order.ts';
import type { Bench } from './row.ts';

/** How many events each stream of a filled store has. */
export const streamLength = 100;

/**
 * Makes a database whose store is full of orders. The events of a stream lie far apart, as they do when
 * many streams grow at the same time.
 */
export async function createFilled(bench: Bench, events: number): Promise<string> {
  const connection = await bench.createDatabase();
  await migrate({ connection });
  await fill(connection, events);
  return connection;
}

/**
 * Fills a store by SQL, set by set, without indexes, which are made at the end: a tenth of the time
 * that appending takes.
 */
async function fill(connectionString: string, events: number): Promise<void> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  const { rows: indexes } = await client.query<{
    name: string;
    constraint: string | null;
    definition: string;
  }>(
    `select i.indexrelid::regclass::text as name, c.conname as constraint,
       coalesce(pg_get_constraintdef(c.oid), pg_get_indexdef(i.indexrelid)) as definition
     from pg_index i left join pg_constraint c on c.conindid = i.indexrelid
     where i.indrelid = 'stele.events'::regclass`,
  );
  for (const { name, constraint } of indexes) {
    await client.query(
      constraint === null
        ? `drop index ${name}`
        : `alter table stele.events drop constraint ${constraint}`,
    );
  }
  const streams = Math.ceil(events / streamLength);
  const chunk = 500_000;
  for (let from = 1; from <= events; from += chunk) {
    const to = Math.min(events, from + chunk - 1);
    await client.query(
      `insert into stele.events
         (position, version, recorded_at, id, schema_version, stream_id, category, type, data, metadata)
       select n, (n - 1) / $3::bigint + 1, now(), ${timeOrderedId}, 1, 'order-' || (n - 1) % $3::bigint, 'order', 'LineAdded',
         jsonb_set($4::jsonb, '{quantity}', to_jsonb(1 + n % 9)), $5::jsonb
       from generate_series($1::bigint, $2::bigint) n`,
      [from, to, streams, JSON.stringify(someLine()), JSON.stringify(metadata)],
    );
  }
  await client.query(
    `insert into stele.streams (stream_id, category, version, recorded_at)
     select 'order-' || n, 'order', ($2::bigint - 1 - n) / $1::bigint + 1, now()
     from generate_series(0, $1::bigint - 1) n`,
    [streams, events],
  );
  await client.query(`select setval('stele.positions', $1)`, [events]);
  await client.query(`set maintenance_work_mem = '1GB'`);
  for (const { constraint, definition } of indexes) {
    await client.query(
      constraint === null
        ? definition
        : `alter table stele.events add constraint ${constraint} ${definition}`,
    );
  }
  await client.query('vacuum analyze');
  await client.query('checkpoint');
  await client.end();
}

/** A UUID of version 7 whose time goes on by a millisecond every ten events. */
const timeOrderedId = `(lpad(to_hex(1700000000000 + n / 10), 12, '0') || '7' ||
  substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid`;
