import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { isSteleError, openStore } from 'stele';
import type { Store } from 'stele';
import { openDatabase } from '../src/db/client.ts';
import { storeStatements } from '../src/store/statements.ts';
import { safePosition } from '../src/store/visibility.ts';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';

const database = useDatabase();
let store: Store;
let session: pg.Client;
beforeAll(async () => {
  store = await openStore({ connection: database.connectionString, aggregates: [Note] });
  session = await database.connect();
  await session.query(`set application_name = 'nightly import'`);
});
afterAll(() => store.close());

const append = (transaction?: pg.Client): Promise<unknown> =>
  store.append(Note.stream('1'), [Note.emit.Written({ body: 1 })], { transaction });

/** What reading as this role fails with, after waiting for 100 ms. */
async function stalledReading(connection: string): Promise<unknown> {
  const reader = openDatabase({ connection });
  try {
    return await safePosition(reader, storeStatements('stele'), { patienceMs: 100 }).catch(
      (error: unknown) => error,
    );
  } finally {
    await reader.close();
  }
}

test('a transaction that has appended and stays open is named, with its age', async () => {
  await session.query('begin');
  await append(session);
  const { rows } = await session.query<{ pid: number }>('select pg_backend_pid() as pid');
  const error = await stalledReading(database.connectionString);

  if (!isSteleError(error, 'read-stalled')) throw error;
  expect(error.blockers).toEqual([
    {
      pid: rows[0]?.pid,
      application: 'nightly import',
      state: 'idle in transaction',
      ageMs: expect.any(Number) as number,
    },
  ]);
  expect(error.blockers[0]?.ageMs).toBeGreaterThan(100);
  expect(error.message).toMatch(/pid \d+ \('nightly import', idle in transaction, open for \d+ ms/);
  await session.query('rollback');
});

test('a reader that may not see others’ sessions is still told the process and the application', async () => {
  const role = `reader_${process.pid}_${Date.now()}`;
  await database.query(`create role ${role} login password 'r' in role stele_reader`);
  try {
    await session.query('begin');
    await append(session);
    const url = new URL(database.connectionString);
    url.username = role;
    url.password = 'r';
    const error = await stalledReading(url.href);
    if (!isSteleError(error, 'read-stalled')) throw error;
    expect(error.blockers).toMatchObject([{ application: 'nightly import', state: 'unknown' }]);
    expect(error.blockers[0]?.ageMs).toBeGreaterThan(100);
    await session.query('rollback');
  } finally {
    await database.query(`drop role ${role}`);
  }
});

test('reading goes on when that transaction ends', async () => {
  await session.query('begin');
  await append(session);
  await append(session);
  const reading = store.read().next();
  await session.query('commit');
  expect((await reading).value).toMatchObject({ streamId: 'note-1', version: 1 });
});
