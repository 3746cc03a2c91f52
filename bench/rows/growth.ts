import pg from 'pg';
import { migrate, openStore, type Store } from 'stele';

import { metadata, Order, someLine } from '../order.ts';
import { compare } from '../result.ts';
import { rateOf, rounds, type Side } from '../rounds.ts';
import type { Bench, Row } from '../row.ts';

const callers = 64;
const streamLength = 100;
const pageLength = 1_000;

/**
 * The same work on a store a hundred times larger. The events of a stream lie far apart, as they do
 * when many streams grow at the same time, and every piece of work picks its stream at random.
 */
export const growth: Row = {
  numbers: ['growth'],
  run: async (bench, row) => {
    const sizes = { small: bench.largeStore / 100, large: bench.largeStore };
    await using small = await openFilled(bench, sizes.small);
    await using large = await openFilled(bench, sizes.large);
    const line = { row, subject: 'large', base: 'small', atLeast: 0.9 } as const;
    const size = `${(sizes.large / 1e6).toLocaleString('en')} M events against ${(sizes.small / 1e6).toLocaleString('en')} M`;
    const sides = (work: (filled: Filled) => Promise<number>): readonly Side[] =>
      Object.entries({ small, large }).map(([name, filled]) => ({
        name,
        slice: () => work(filled),
      }));
    const append = await rounds(
      bench.rounds,
      sides(({ store, someOrder }) =>
        rateOf(callers, bench.sliceMs, () =>
          store.append(Order.stream(someOrder()), [Order.emit.LineAdded(someLine())], { metadata }),
        ),
      ),
    );
    const streams = await rounds(
      bench.rounds,
      sides(({ store, someOrder }) =>
        rateOf(1, bench.sliceMs, async () => {
          for await (const { version } of store.readStream(Order, someOrder())) void version;
        }),
      ),
    );
    const pages = await rounds(
      bench.rounds,
      sides(async ({ store, somePosition }) => {
        const rate = await rateOf(1, bench.sliceMs, async () => {
          const range = { after: somePosition(), limit: pageLength };
          for await (const { version } of store.read(range)) void version;
        });
        return rate * pageLength;
      }),
    );
    return [
      compare({ ...line, work: `append, 64 callers, ${size}`, unit: 'events/s' }, append),
      compare({ ...line, work: `read a stream of 100, ${size}`, unit: 'streams/s' }, streams),
      compare({ ...line, work: `read in order of positions, ${size}`, unit: 'events/s' }, pages),
    ];
  },
};

interface Filled extends AsyncDisposable {
  readonly store: Store;
  readonly someOrder: () => string;
  readonly somePosition: () => number;
}

async function openFilled(bench: Bench, events: number): Promise<Filled> {
  const connection = await bench.createDatabase();
  await migrate({ connection });
  await fill(connection, events);
  const store = await openStore({ connection, aggregates: [Order] });
  const streams = events / streamLength;
  return {
    store,
    someOrder: () => String(Math.floor(Math.random() * streams)),
    somePosition: () => Math.floor(Math.random() * (events - pageLength)),
    [Symbol.asyncDispose]: () => store.close(),
  };
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
  const streams = events / streamLength;
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
     select 'order-' || n, 'order', $2, now() from generate_series(0, $1::bigint - 1) n`,
    [streams, streamLength],
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
