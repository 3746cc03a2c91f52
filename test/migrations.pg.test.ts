import type pg from 'pg';
import { describe, expect, test } from 'vitest';

import { isSteleError, migrate, migrationSql, openStore } from 'stele';
import { describeSchema } from '../scripts/schema-catalog.ts';
import { Counter, Note } from './support/aggregates.ts';
import { createTestDatabase } from './support/database.ts';
import type { TestDatabase } from './support/database.ts';
import { runChild } from './support/child.ts';

const empty = (): Promise<TestDatabase> => createTestDatabase({ migrated: false });

async function dump(database: TestDatabase, schema = 'stele'): Promise<string> {
  const client: pg.Client = await database.connect();
  try {
    return await describeSchema(client, schema);
  } finally {
    await client.end();
  }
}

const open = (connection: string, migrate: boolean): Promise<unknown> =>
  openStore({ connection, migrate, aggregates: [Note] });

const names = [
  '0001_streams_and_events',
  '0002_append',
  '0003_watermark',
  '0004_append_only',
  '0005_roles',
  '0006_subscriptions',
  '0007_projections',
];
const newest = names.length;

describe('ten that start at once on an empty database', () => {
  test('stores: all open, and each migration is applied once', async () => {
    await using database = await empty();
    const stores = await Promise.all(
      Array.from({ length: 10 }, () =>
        openStore({ connection: database.connectionString, aggregates: [Note] }),
      ),
    );
    await Promise.all(
      stores.map((store) => store.append(Note.stream('1'), [Note.emit.Written({ body: 1 })])),
    );
    await Promise.all(stores.map((store) => store.close()));
    const applied = await database.query('select name from stele.migrations order by number');
    expect(applied).toEqual(names.map((name) => ({ name })));
    expect(await database.query('select version from stele.streams')).toEqual([{ version: '10' }]);
  });

  test('processes: one does the work, the others wait for it', async () => {
    await using database = await empty();
    const script = `
      import { migrate } from 'stele';
      const { applied, version } = await migrate({ connection: process.env.CONNECTION });
      console.log(applied.length, version);`;
    const results = await Promise.all(
      Array.from({ length: 4 }, () => runChild(script, database.connectionString)),
    );
    expect(results.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
      results.map(() => ({ code: 0, stderr: '' })),
    );
    expect(results.map(({ stdout }) => stdout).toSorted()).toEqual([
      ...Array.from({ length: 3 }, () => `0 ${names.length}\n`),
      `${names.length} ${names.length}\n`,
    ]);
  });

  test('with an application whose isolation is stricter', async () => {
    await using database = await empty();
    const url = new URL(database.connectionString);
    url.searchParams.set('options', '-c default_transaction_isolation=serializable');
    const reports = await Promise.all(
      Array.from({ length: 5 }, () => migrate({ connection: url.href })),
    );
    expect(reports.map(({ applied }) => applied.length).toSorted((a, b) => a - b)).toEqual([
      0,
      0,
      0,
      0,
      names.length,
    ]);
  });
});

describe('migrate', () => {
  test('says what it has applied, and does nothing the second time', async () => {
    await using database = await empty();
    const connection = database.connectionString;
    expect(await migrate({ connection })).toEqual({
      schema: 'stele',
      applied: names,
      version: newest,
    });
    expect(await migrate({ connection })).toEqual({
      schema: 'stele',
      applied: [],
      version: newest,
    });
  });

  test('makes what the printed SQL makes', async () => {
    await using migrated = await createTestDatabase();
    await using printed = await empty();
    await printed.query(await migrationSql());
    expect(await dump(printed)).toBe(await dump(migrated));
    expect(await printed.query('select name from stele.migrations order by number')).toEqual(
      names.map((name) => ({ name })),
    );
    const store = await openStore({
      connection: printed.connectionString,
      migrate: false,
      aggregates: [Counter],
    });
    await expect(store.execute(Counter, '1', 'increment', {})).resolves.toMatchObject({ ok: true });
    await store.close();
  });

  test('goes on from the version that is there', async () => {
    await using whole = await createTestDatabase();
    await using stepwise = await empty();
    const all = await migrationSql();
    const rest = await migrationSql({ from: 2 });
    expect(all.endsWith(rest.slice(rest.indexOf('-- How far')))).toBe(true);
    await stepwise.query(all.slice(0, all.indexOf('-- How far')));
    expect(await migrate({ connection: stepwise.connectionString })).toMatchObject({
      applied: names.slice(2),
    });
    expect(await dump(stepwise)).toBe(await dump(whole));
  });
});

describe('a store', () => {
  test('refuses a schema that a newer library has migrated', async () => {
    await using database = await createTestDatabase();
    await database.query(`insert into stele.migrations (number, name) values ($1, 'later')`, [
      newest + 1,
    ]);
    for (const allowed of [true, false]) {
      await expect(open(database.connectionString, allowed)).rejects.toMatchObject({
        code: 'schema-newer-than-library',
        message: expect.stringContaining(
          `at version ${newest + 1}, but this library knows versions up to ${newest}`,
        ) as string,
      });
    }
    await expect(migrate({ connection: database.connectionString })).rejects.toMatchObject({
      code: 'schema-newer-than-library',
    });
  });

  test('that must not migrate refuses an empty database, and leaves it empty', async () => {
    await using database = await empty();
    await expect(open(database.connectionString, false)).rejects.toMatchObject({
      code: 'schema-not-migrated',
      message: expect.stringContaining(`at version 0, but this library needs ${newest}`) as string,
    });
    expect(await database.query(`select from pg_namespace where nspname = 'stele'`)).toEqual([]);
  });

  test('that must not migrate refuses a schema that is behind', async () => {
    await using database = await createTestDatabase();
    await database.query(`delete from stele.migrations where number = ${newest}`);
    await expect(open(database.connectionString, false)).rejects.toMatchObject({
      code: 'schema-not-migrated',
    });
  });
});

describe('a migration that fails', () => {
  test('names its step and leaves everything as it was', async () => {
    await using database = await empty();
    // The third step will not find its own name free.
    await database.query('create schema stele');
    await database.query(
      `create function stele.watermark(out "position" bigint, out visible bigint, out transactions text[])
       language sql as $$ select 0::bigint, 0::bigint, '{}'::text[] $$`,
    );
    const before = await dump(database);
    const error = await migrate({ connection: database.connectionString }).catch(
      (reason: unknown) => reason,
    );
    if (!isSteleError(error, 'migration-failed')) throw error;
    expect(error.message).toContain('migration 0003_watermark failed');
    expect(await dump(database)).toBe(before);
  });
});
