import pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';

import { openStore } from 'stele';
import type { Store } from 'stele';
import { Note } from './support/aggregates.ts';
import { runChild } from './support/child.ts';
import { useDatabase } from './support/database.ts';

const database = useDatabase();
const count = 100_000;

beforeAll(async () => {
  // Some 2.3 kB each, which the database keeps compressed: 230 MB for who reads them all.
  await database.query(
    `insert into stele.events (position, version, recorded_at, id, schema_version, stream_id,
       category, type, data, metadata)
     select nextval('stele.positions'), n, now(), gen_random_uuid(), 1, 'note-long', 'note',
       'note.written.v0', jsonb_build_object('body', repeat(md5(n::text), 72)), '{}'
     from generate_series(1, ${count}) n order by n`,
  );
  await database.query(`insert into stele.streams values ('note-long', 'note', ${count}, now())`);
});

const slow = 90_000;
test(
  'reading 230 MB takes no more than a process with a heap of 64 MB has',
  async () => {
    const { code, stdout, stderr } = await runChild(
      `
    import { aggregate, event, openStore } from 'stele';
    const Note = aggregate('note', {
      events: { Written: event().storedAs('note.written.v0') },
      initialState: () => 0,
      evolve: { Written: (characters, { data }) => characters + data.body.length },
    });
    const store = await openStore({ connection: process.env.CONNECTION, aggregates: [Note] });
    const readings = [
      () => store.readStream(Note, 'long'),
      () => store.read(),
    ];
    for (const read of readings) {
      let events = 0;
      let characters = 0;
      for await (const { data } of read()) {
        events += 1;
        characters += data.body.length;
      }
      console.log(events, characters);
    }
    await store.close();`,
      database.connectionString,
      ['--max-old-space-size=64'],
    );
    const all = count * 72 * 32;
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: `${count} ${all}\n`.repeat(2),
      stderr: '',
    });
  },
  slow,
);

describe('a slow consumer', () => {
  const page = 1_000;
  const readings: [string, (store: Store) => AsyncGenerator, number][] = [
    ['of a stream', (store) => store.readStream(Note, 'long'), 0],
    ['of a stream, backwards', (store) => store.readStream(Note, 'long', { backwards: true }), 0],
    ['of the store', (store) => store.read(), 1],
  ];
  test.each(readings)('%s has one page fetched ahead, and no more', async (_, read, before) => {
    const pool = new pg.Pool({ connectionString: database.connectionString });
    const store = await openStore({ pool, aggregates: [Note] });
    let queries = -before;
    pool.on('acquire', () => {
      queries += 1;
    });
    const reading = read(store);
    let seen = 0;
    for (const [consumed, fetched] of [
      [1, 2],
      [page, 2],
      [page + 1, 3],
      [2 * page + 1, 4],
    ] as const) {
      for (; seen < consumed; seen += 1) await reading.next();
      await expect.poll(() => queries).toBe(fetched);
      // Nothing follows: one more query is one more query.
      await pool.query('select');
      queries -= 1;
      expect(queries).toBe(fetched);
    }
    await reading.return(undefined);
    await store.close();
    await pool.end();
  });
});

test('a reading that is limited fetches only what it gives', async () => {
  const pool = new pg.Pool({ connectionString: database.connectionString });
  const store = await openStore({ pool, aggregates: [Note] });
  let queries = 0;
  pool.on('acquire', () => {
    queries += 1;
  });
  const versions: number[] = [];
  for await (const { version } of store.readStream(Note, 'long', { from: 500, limit: 1_500 })) {
    versions.push(version);
  }
  expect(versions).toEqual(Array.from({ length: 1_500 }, (_, n) => n + 500));
  expect(queries).toBe(2);
  await store.close();
  await pool.end();
});
