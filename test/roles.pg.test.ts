import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { migrate, openStore } from 'stele';
import { Counter, Note } from './support/aggregates.ts';
import { createTestDatabase, useDatabase } from './support/database.ts';
import type { TestDatabase } from './support/database.ts';
import { createTestRole } from './support/role.ts';
import type { TestRole } from './support/role.ts';

const written = (body: unknown): ReturnType<typeof Note.emit.Written> =>
  Note.emit.Written({ body });

async function runAs(connectionString: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

const nameOf = ({ connectionString }: TestDatabase): string =>
  new URL(connectionString).pathname.slice(1);

describe('on a migrated database', () => {
  const database = useDatabase();
  let writer: TestRole;
  let reader: TestRole;
  let nobody: TestRole;
  beforeAll(async () => {
    writer = await createTestRole(database, 'in role stele_writer');
    reader = await createTestRole(database, 'in role stele_reader');
    nobody = await createTestRole(database);
  });
  afterAll(async () => {
    for (const role of [writer, reader, nobody]) await role[Symbol.asyncDispose]();
  });
  const open = ({ connectionString }: TestRole): ReturnType<typeof openStore> =>
    openStore({ connection: connectionString, migrate: false, aggregates: [Note, Counter] });

  test('stele_writer can do all that a store does', async () => {
    await using store = await open(writer);
    const first = await store.append(Note.stream('1'), [written(1)], {
      expectedVersion: 'no-stream',
    });
    await store.append(Note.stream('1'), [written(2), written(3)], { idempotencyKey: 'k' });
    await store.append(Note.stream('1'), [written(2), written(3)], { idempotencyKey: 'k' });
    await Promise.all([1, 2, 3].map((n) => store.append(Note.stream(`many-${n}`), [written(n)])));
    await store.appendAll([
      { stream: Note.stream('1'), events: [written(4)], expectedVersion: 'stream-exists' },
      { stream: Note.stream('2'), events: [written(5)], expectedVersion: 0 },
    ]);
    await expect(
      store.execute(Counter, '1', 'increment', {}, { metadata: { correlationId: 'c' } }),
    ).resolves.toMatchObject({ ok: true, version: 1 });
    expect(await store.load(Note, '1')).toEqual({ state: { body: 4 }, version: 4 });
    expect(await store.load(Note, '1', { version: 2 })).toMatchObject({ state: { body: 2 } });
    expect(await store.correlation('c')).toHaveLength(1);
    expect(await store.event(first.events[0]?.id ?? '')).toMatchObject({ streamId: 'note-1' });
    expect(await store.blame(Note, '1')).toHaveLength(1);
    const seen: unknown[] = [];
    for await (const event of store.read()) seen.push(event.streamId);
    expect(seen).toHaveLength(9);
  });

  test('stele_reader can read, and can append in no way', async () => {
    await using store = await open(reader);
    expect((await store.load(Note, '1')).version).toBeGreaterThan(0);
    expect((await store.read().next()).done).toBe(false);
    expect((await store.readStream(Note, '1', { backwards: true }).next()).done).toBe(false);
    const denied = { code: 'database', sqlState: '42501' };
    await expect(store.append(Note.stream('r'), [written(1)])).rejects.toMatchObject(denied);
    await expect(store.append(Note.stream('r'), [written(1), written(2)])).rejects.toMatchObject(
      denied,
    );
    await expect(
      store.appendAll([
        { stream: Note.stream('r'), events: [written(1)] },
        { stream: Note.stream('s'), events: [written(1)] },
      ]),
    ).rejects.toMatchObject(denied);
    await expect(store.execute(Counter, 'r', 'increment', {})).rejects.toMatchObject(denied);
  });

  test('a login of neither role can do nothing', async () => {
    await expect(open(nobody)).rejects.toMatchObject({ code: 'database', sqlState: '42501' });
  });

  test('neither role may change what it does not need to', async () => {
    for (const { connectionString } of [writer, reader]) {
      for (const sql of [
        'delete from stele.streams',
        'truncate stele.streams',
        `insert into stele.migrations values (9, 'x')`,
        `select setval('stele.positions', 1)`,
        'create table stele.mine ()',
        'alter table stele.events disable trigger append_only',
        'drop function stele.append',
      ]) {
        await expect(runAs(connectionString, sql)).rejects.toMatchObject({ code: '42501' });
      }
    }
  });
});

describe('a role that migrates', () => {
  test('need not be allowed to make roles', async () => {
    await using database = await createTestDatabase({ migrated: false });
    await using owner = await createTestRole(database);
    await database.query(`grant create on database ${nameOf(database)} to ${owner.name}`);
    const schema = `plain_${owner.name.slice(-8)}`;
    await expect(migrate({ connection: owner.connectionString, schema })).resolves.toMatchObject({
      applied: { length: 7 },
    });
    expect(
      await database.query('select from pg_roles where starts_with(rolname, $1)', [schema]),
    ).toEqual([]);
    await using store = await openStore({
      connection: owner.connectionString,
      schema,
      aggregates: [Note],
    });
    await expect(store.append(Note.stream('1'), [written(1)])).resolves.toMatchObject({
      version: 1,
    });
  });

  test('gives the rights to roles that are there already', async () => {
    await using database = await createTestDatabase({ migrated: false });
    await using owner = await createTestRole(database);
    await using writer = await createTestRole(database, 'in role stele_writer');
    await database.query(`grant create on database ${nameOf(database)} to ${owner.name}`);
    await migrate({ connection: owner.connectionString });
    await using store = await openStore({
      connection: writer.connectionString,
      migrate: false,
      aggregates: [Note],
    });
    await expect(store.append(Note.stream('1'), [written(1)])).resolves.toMatchObject({
      version: 1,
    });
  });

  test('may own nothing but a schema that was made for it', async () => {
    await using database = await createTestDatabase({ migrated: false });
    await using owner = await createTestRole(database);
    await database.query(`create schema stele authorization ${owner.name}`);
    await expect(migrate({ connection: owner.connectionString })).resolves.toMatchObject({
      applied: { length: 7 },
    });
  });

  test('is told what to do when it may not, and changes nothing', async () => {
    await using database = await createTestDatabase({ migrated: false });
    await using nobody = await createTestRole(database);
    await expect(
      openStore({ connection: nobody.connectionString, aggregates: [Note] }),
    ).rejects.toMatchObject({
      code: 'migration-failed',
      message: expect.stringMatching(
        /permission denied.*run the migration once as the owner/,
      ) as string,
    });
    await database.query('create schema stele');
    await database.query(`grant usage on schema stele to ${nobody.name}`);
    await expect(migrate({ connection: nobody.connectionString })).rejects.toMatchObject({
      code: 'migration-failed',
      message: expect.stringContaining('migration 0001_streams_and_events failed') as string,
    });
    expect(
      await database.query(`select from pg_class where relnamespace = 'stele'::regnamespace`),
    ).toEqual([]);
  });
});
