import { DatabaseError, projection } from 'stele';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type pg from 'pg';

import { Counter, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { collect, rejectionOf, usePools, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const pools = usePools(database);
const { Incremented } = Counter.emit;
const one = [Incremented({ to: 1 })];

let transaction: pg.Client;
beforeEach(async () => {
  transaction = await database.connect();
  await transaction.query('begin');
});
afterEach(() => transaction.end());

async function versionOf(id: string): Promise<number> {
  return (await (await open()).load(Counter, id)).version;
}

describe('an append in a transaction of the caller', () => {
  test('is stored when that commits, with what else it did', async () => {
    const store = await open();
    await transaction.query('create table letters (text text)');
    const { version, events } = await store.append(Counter.stream('commit'), one, { transaction });
    expect([version, events[0]?.data]).toEqual([1, { to: 1 }]);
    expect(await versionOf('commit')).toBe(0);
    await transaction.query('commit');
    expect(await versionOf('commit')).toBe(1);
    expect(await database.query('select from letters')).toEqual([]);
  });

  test('is gone when that rolls back, and leaves its version free', async () => {
    const store = await open();
    await store.append(Counter.stream('rollback'), one, { transaction });
    await transaction.query('rollback');
    expect(await versionOf('rollback')).toBe(0);
    const { version } = await store.append(Counter.stream('rollback'), one, { expectedVersion: 0 });
    expect(version).toBe(1);
  });

  test('is seen by load, execute and further appends in the same transaction', async () => {
    const store = await open();
    await store.append(Counter.stream('own'), one);
    await store.append(Counter.stream('own'), [Incremented({ to: 2 })], { transaction });
    const own = { state: { count: 2 }, version: 2 };
    expect(await store.load(Counter, 'own', { transaction })).toEqual(own);
    expect(await store.load(Counter, 'own', { transaction, version: 1 })).toMatchObject({
      version: 1,
    });
    const done = await store.execute(Counter, 'own', 'increment', {}, { transaction });
    expect(done).toMatchObject({ ok: true, state: { count: 3 }, version: 3 });
    await store.appendAll([{ stream: Counter.stream('own'), events: one, expectedVersion: 3 }], {
      transaction,
    });
    expect(await versionOf('own')).toBe(1);
    await transaction.query('commit');
    expect(await versionOf('own')).toBe(4);
  });

  test('does not leak into memory when it is rolled back', async () => {
    const store = await open();
    await store.execute(Counter, 'leak', 'increment', {});
    await store.execute(Counter, 'leak', 'increment', {}, { transaction });
    await store.load(Counter, 'leak', { transaction });
    await transaction.query('rollback');
    expect(await store.load(Counter, 'leak')).toEqual({ state: { count: 1 }, version: 1 });
    const done = await store.execute(Counter, 'leak', 'increment', {});
    expect(done).toMatchObject({ state: { count: 2 }, version: 2 });
  });

  test('that meets a conflict leaves the transaction usable', async () => {
    const store = await open();
    await store.append(Counter.stream('conflict'), one);
    const options = { transaction, expectedVersion: 'no-stream' } as const;
    const conflict = { code: 'concurrency', actualVersion: 1 };
    const append = store.append(Counter.stream('conflict'), one, options);
    expect(await rejectionOf(append)).toMatchObject(conflict);
    const execution = store.execute(Counter, 'conflict', 'increment', {}, options);
    expect(await rejectionOf(execution)).toMatchObject(conflict);
    await store.append(Counter.stream('conflict'), one, { transaction });
    await transaction.query('commit');
    expect(await versionOf('conflict')).toBe(2);
  });

  test('that meets a rejected command leaves the transaction usable', async () => {
    const store = await open();
    const change = { email: 'b@example.com' };
    const done = await store.execute(User, 'rejected', 'changeEmail', change, { transaction });
    expect(done).toMatchObject({ ok: false, error: { type: 'NotActive' } });
    await transaction.query('commit');
  });

  test('is stored once under one key, in the transaction and after it', async () => {
    const store = await open();
    const options = { idempotencyKey: 'k' };
    const inside = { ...options, transaction };
    const first = await store.execute(Counter, 'key', 'increment', {}, inside);
    const again = await store.execute(Counter, 'key', 'increment', {}, inside);
    expect(again).toEqual({ ...first, deduplicated: true });
    await transaction.query('commit');
    const after = await store.execute(Counter, 'key', 'increment', {}, options);
    expect(after).toEqual({ ...first, deduplicated: true });
    expect(await versionOf('key')).toBe(1);
  });

  test('that the database refuses is a DatabaseError', async () => {
    const store = await open();
    await database.query(
      `alter table stele.events add constraint refused check (stream_id <> 'counter-refused')`,
    );
    const error = await rejectionOf(store.append(Counter.stream('refused'), one, { transaction }));
    expect(error).toBeInstanceOf(DatabaseError);
    expect(error).toMatchObject({ sqlState: '23514' });
    expect(
      await rejectionOf(store.append(Counter.stream('next'), one, { transaction })),
    ).toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining('failed already'),
    });
  });
});

describe('what is no transaction', () => {
  test('is refused: a client outside of one', async () => {
    const store = await open();
    await transaction.query('rollback');
    const refused = {
      code: 'invalid-argument',
      message: expect.stringContaining('not in a transaction'),
    };
    const append = store.append(Counter.stream('outside'), one, { transaction });
    expect(await rejectionOf(append)).toMatchObject(refused);
    const execution = store.execute(Counter, 'outside', 'increment', {}, { transaction });
    expect(await rejectionOf(execution)).toMatchObject(refused);
    expect(await versionOf('outside')).toBe(0);
  });

  test('is refused: a pool', async () => {
    const store = await open();
    const append = store.append(Counter.stream('pool'), one, { transaction: pools() });
    expect(await rejectionOf(append)).toMatchObject({ code: 'invalid-argument' });
    expect(await versionOf('pool')).toBe(0);
  });
});

describe('an inline projection in a transaction of the caller', () => {
  const Counts = projection('counts', {
    aggregates: [Counter],
    on: {
      Incremented: async ({ streamId, data }, tx) => {
        await tx.query('insert into counts values ($1, $2)', [streamId, data.to]);
      },
    },
  });
  const Swallowing = projection('swallowing', {
    aggregates: [Counter],
    on: {
      Incremented: async (_, tx) => {
        await tx.query('select 1 / 0').catch(() => undefined);
      },
    },
  });
  beforeEach(() =>
    database.query('create table if not exists counts (id text, count int check (count < 100))'),
  );

  test('commits with it', async () => {
    const store = await open({ projections: [Counts] });
    await store.append(Counter.stream('inline'), one, { transaction });
    await transaction.query('commit');
    expect(await database.query(`select * from counts where id = 'counter-inline'`)).toEqual([
      { id: 'counter-inline', count: 1 },
    ]);
  });

  test('that fails undoes the append, and leaves the transaction usable', async () => {
    const store = await open({ projections: [Counts] });
    await store.append(Counter.stream('before'), one, { transaction });
    const failing = store.append(Counter.stream('failing'), [Incremented({ to: 100 })], {
      transaction,
    });
    expect(await rejectionOf(failing)).toMatchObject({
      code: 'projection-failed',
      projection: 'counts',
    });
    await store.append(Counter.stream('after'), one, { transaction });
    await transaction.query('commit');
    const versions = await Promise.all(['before', 'failing', 'after'].map(versionOf));
    expect(versions).toEqual([1, 0, 1]);
  });

  test('that swallows an error of SQL undoes the append, and says so', async () => {
    const store = await open({ projections: [Swallowing] });
    const swallowing = store.append(Counter.stream('swallowing'), one, { transaction });
    expect(await rejectionOf(swallowing)).toMatchObject({ code: 'transaction-lost' });
    await transaction.query('commit');
    expect(await versionOf('swallowing')).toBe(0);
  });

  test('sees nothing of it in memory when it is rolled back', async () => {
    const store = await open({ projections: [Counts] });
    await store.execute(Counter, 'inline-leak', 'increment', {}, { transaction });
    await transaction.query('rollback');
    expect(await store.load(Counter, 'inline-leak')).toEqual({ state: { count: 0 }, version: 0 });
    expect(await collect(store.readStream(Counter, 'inline-leak'))).toEqual([]);
  });
});
