import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';

import { openStore } from 'stele';
import type { Store } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';

const database = useDatabase();
let store: Store;
beforeAll(async () => {
  store = await openStore({ connection: database.connectionString, aggregates: [Note] });
});
afterAll(() => store.close());

let names = 0;
const newStream = (): string => `s${(names += 1)}`;

async function begin(): Promise<pg.Client> {
  const client = await database.connect();
  await client.query('begin');
  return client;
}

/** Appends one event in an open transaction, so that it has taken its position; returns that. */
async function appendIn(client: pg.Client, body: unknown): Promise<number> {
  const stream = Note.stream(newStream());
  const { position } = await store.append(stream, [Note.emit.Written({ body })], {
    transaction: client,
  });
  return position;
}

async function end(client: pg.Client, how: 'commit' | 'rollback'): Promise<void> {
  await client.query(how);
  await client.end();
}

/** What the store gives after a position, until there is no more; with the last position. */
async function catchUp(after: number): Promise<{ bodies: unknown[]; last: number }> {
  const bodies: unknown[] = [];
  let last = after;
  for await (const event of store.read({ aggregates: [Note], after })) {
    expect(event.position).toBeGreaterThan(last);
    last = event.position;
    bodies.push(event.data.body);
  }
  return { bodies, last };
}

async function newestPosition(): Promise<number> {
  return (await catchUp(0)).last;
}

describe('reading the store by position', () => {
  test('waits for an append with a lower position that commits later', async () => {
    const start = await newestPosition();
    const early = await begin();
    const late = await begin();
    expect(await appendIn(early, 'first')).toBeLessThan(await appendIn(late, 'second'));
    await end(late, 'commit');

    const reading = catchUp(start);
    // The reader has to look at least once while `early` is open, or the test shows nothing.
    await untilReaderHasAsked();
    await end(early, 'commit');
    expect((await reading).bodies).toEqual(['first', 'second']);
  });

  test('goes on behind an append that was rolled back', async () => {
    const start = await newestPosition();
    const early = await begin();
    const late = await begin();
    await appendIn(early, 'never');
    await appendIn(late, 'after a hole');
    await end(late, 'commit');
    const reading = catchUp(start);
    await untilReaderHasAsked();
    await end(early, 'rollback');
    expect((await reading).bodies).toEqual(['after a hole']);
  });

  test('waits for nobody who began to append after the reading', async () => {
    const start = await newestPosition();
    const early = await begin();
    await appendIn(early, 'early');
    const reading = catchUp(start);
    await untilReaderHasAsked();
    const later = await begin();
    await appendIn(later, 'later');
    await end(early, 'commit');
    expect((await reading).bodies).toEqual(['early']);
    await end(later, 'commit');
    expect((await catchUp(start)).bodies).toEqual(['early', 'later']);
  });

  test('sees an append that was undone to a savepoint as over', async () => {
    const start = await newestPosition();
    const client = await begin();
    await client.query('savepoint before');
    await appendIn(client, 'undone');
    await client.query('rollback to savepoint before');
    expect((await catchUp(start)).bodies).toEqual([]);
    await appendIn(client, 'kept');
    await end(client, 'commit');
    expect((await catchUp(start)).bodies).toEqual(['kept']);
  });

  test('is held up by no transaction that has not appended, here or in another database', async () => {
    const start = await newestPosition();
    await database.query('create table elsewhere (n int)');
    const here = await begin();
    await here.query('insert into elsewhere values (1)');
    const reads = await begin();
    await reads.query('select * from stele.events');
    const there = new pg.Client(inject('server').connectionString);
    await there.connect();
    await there.query('begin');
    await there.query('create temporary table something as select 1');

    await store.append(Note.stream(newStream()), [Note.emit.Written({ body: 'seen' })]);
    const { bodies } = await catchUp(start);
    expect(bodies).toEqual(['seen']);
    await Promise.all([end(here, 'rollback'), end(reads, 'rollback'), end(there, 'rollback')]);
  });

  test('ends when its signal is aborted while it waits', async () => {
    const client = await begin();
    await appendIn(client, 'open');
    const controller = new AbortController();
    const reading = store.read({ signal: controller.signal }).next();
    await untilReaderHasAsked();
    const reason = new Error('no longer wanted');
    controller.abort(reason);
    await expect(reading).rejects.toBe(reason);
    await end(client, 'rollback');
  });
});

/** Until a reader of this database has asked for the watermark once more. */
async function untilReaderHasAsked(): Promise<void> {
  const asked = async (): Promise<string> => {
    const rows = await database.query<{ last: string | null }>(
      `select max(query_start)::text as last from pg_stat_activity
        where application_name = 'stele' and state = 'idle' and query like '%watermark()%'
          and datname = current_database()`,
    );
    return rows[0]?.last ?? '';
  };
  const before = await asked();
  await expect.poll(asked, { interval: 5 }).not.toBe(before);
}
