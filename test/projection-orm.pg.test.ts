import { eq } from 'drizzle-orm';
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { integer, pgTable, text } from 'drizzle-orm/pg-core';
import { Kysely, PostgresDialect, sql } from 'kysely';
import pg from 'pg';
import { batchProjection, poolOf, projection, readModel, type Transaction } from 'stele';
import { describe, expect, expectTypeOf, test } from 'vitest';

import { Counter } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { useEmptyStore } from './support/empty-store.ts';
import { rejectionOf, useStores } from './support/store.ts';

const database = useDatabase();
useEmptyStore(database);
const open = useStores(database);
const increment = (to: number) => Counter.emit.Incremented({ to });
const tables = 'create table counts (id text primary key, count integer not null)';

interface Tables {
  readonly counts: { readonly id: string; readonly count: number };
}
const counts = pgTable('counts', { id: text().primaryKey(), count: integer().notNull() });

const kyselyOf = (transaction: Transaction): Kysely<Tables> =>
  new Kysely<Tables>({ dialect: new PostgresDialect({ pool: poolOf(transaction) }) });

describe.each([
  [
    'Kysely',
    projection('orm', {
      aggregates: [Counter],
      tables,
      client: (transaction) => kyselyOf(transaction),
      on: {
        Incremented: async ({ streamId, data }, db) => {
          expectTypeOf(db).toEqualTypeOf<Kysely<Tables>>();
          await db.transaction().execute(async (inner) => {
            await inner
              .insertInto('counts')
              .values({ id: streamId, count: data.to })
              .onConflict((conflict) => conflict.column('id').doUpdateSet({ count: data.to }))
              .execute();
          });
          const tooMuch = db.transaction().execute(async (inner) => {
            await inner.updateTable('counts').set({ count: -1 }).execute();
            if (data.to < 100) throw new RangeError('undone');
            await sql`select 1 / 0`.execute(inner);
          });
          await tooMuch.catch((error: unknown) => {
            if (!(error instanceof RangeError)) throw error;
          });
        },
      },
    }),
  ],
  [
    'Drizzle',
    projection('orm', {
      aggregates: [Counter],
      tables,
      client: (transaction) => drizzle({ client: poolOf(transaction) }),
      on: {
        Incremented: async ({ streamId, data }, db) => {
          expectTypeOf(db).toExtend<NodePgDatabase>();
          const row = { id: streamId, count: data.to };
          await db.transaction(async (inner) => {
            await inner
              .insert(counts)
              .values(row)
              .onConflictDoUpdate({ target: counts.id, set: { count: data.to } });
          });
          const tooMuch = db.transaction(async (inner) => {
            await inner.transaction((innermost) => innermost.update(counts).set({ count: -1 }));
            if (data.to < 100) throw new RangeError('undone');
            await inner.execute('select 1 / 0');
          });
          await tooMuch.catch((error: unknown) => {
            if (!(error instanceof RangeError)) throw error;
          });
        },
      },
    }),
  ],
])('a projection with %s', (_, Counts) => {
  const read = () =>
    database.query<{ id: string; count: number }>('select * from stele_orm.counts order by id');

  test('writes in the append’s transaction, and undoes a nested one that fails', async () => {
    const store = await open({ projections: [Counts] });
    await store.append(Counter.stream('a'), [increment(1), increment(2)]);
    await store.append(Counter.stream('b'), [increment(3)]);
    expect(await read()).toEqual([
      { id: 'counter-a', count: 2 },
      { id: 'counter-b', count: 3 },
    ]);
  });

  test('is undone with the append, and works on the same connection afterwards', async () => {
    const pool = new pg.Pool({ connectionString: database.connectionString, max: 1 });
    const store = await open({ pool, projections: [Counts] });
    await store.append(Counter.stream('a'), [increment(1)]);
    const failing = store.append(Counter.stream('a'), [increment(2), increment(100)]);
    expect(await rejectionOf(failing)).toMatchObject({ code: 'projection-failed', version: 3 });
    await store.append(Counter.stream('a'), [increment(4)]);
    expect(await read()).toEqual([{ id: 'counter-a', count: 4 }]);
    await store.close();
    await pool.end();
  });

  test('is built for a moment of the past', async () => {
    const store = await open();
    const { position } = await store.append(Counter.stream('a'), [increment(1)]);
    await store.append(Counter.stream('a'), [increment(2)]);
    const rows = await readModel(
      store,
      Counts,
      (sql) =>
        drizzle({ client: poolOf(sql) })
          .select()
          .from(counts)
          .where(eq(counts.count, 1)),
      { position },
    );
    expect(rows).toEqual([{ id: 'counter-a', count: 1 }]);
  });
});

test('a client is made once for each connection, for batches too', async () => {
  let made = 0;
  const Batches = batchProjection('orm', {
    aggregates: [Counter],
    tables,
    client: (transaction) => {
      made += 1;
      return kyselyOf(transaction);
    },
    batch: async (events, db) => {
      expectTypeOf(db).toEqualTypeOf<Kysely<Tables>>();
      const rows = events.map(({ streamId, data }) => ({ id: streamId, count: data.to }));
      await db.insertInto('counts').values(rows).execute();
    },
  });
  const pool = new pg.Pool({ connectionString: database.connectionString, max: 1 });
  const store = await open({ pool, projections: [Batches] });
  for (const id of ['a', 'b', 'c']) await store.append(Counter.stream(id), [increment(1)]);
  expect(made).toBe(1);
  await store.close();
  await pool.end();
});

describe('the pool of a transaction', () => {
  const inTransaction = async <T>(
    task: (pool: pg.Pool, client: pg.Client) => Promise<T>,
  ): Promise<T> => {
    const client = await database.connect();
    await client.query('begin');
    try {
      return await task(poolOf(client), client);
    } finally {
      await client.query('rollback');
      await client.end();
    }
  };
  const txid = async (queryable: Pick<pg.Client, 'query'>): Promise<unknown> =>
    (await queryable.query<{ id: string }>('select pg_current_xact_id()::text as id')).rows[0]?.id;

  test('lends that transaction, however often, and ends nothing', async () => {
    await inTransaction(async (pool, client) => {
      const id = await txid(client);
      const lent = await pool.connect();
      const lentByCallback = await new Promise<pg.PoolClient | undefined>((resolve, reject) => {
        pool.connect((error, client, done) => {
          done();
          if (error === undefined) resolve(client);
          else reject(error);
        });
      });
      expect([await txid(pool), await txid(lent)]).toEqual([id, id]);
      lent.release();
      await pool.end();
      expect(lentByCallback).toBeDefined();
      expect(await txid(pool)).toBe(id);
    });
  });

  test('answers callbacks and configurations as a pool does', async () => {
    await inTransaction(async (pool) => {
      const rows = await new Promise<unknown>((resolve, reject) => {
        pool.query('select $1::int as n', [1], (error, result) => {
          // `pg` gives null where its types say undefined.
          if (error == null) resolve(result.rows);
          else reject(error);
        });
      });
      expect(rows).toEqual([{ n: 1 }]);
      const array = await pool.query({ text: 'select $1::int', values: [2], rowMode: 'array' });
      expect(array.rows).toEqual([[2]]);
    });
  });

  test.each(['begin', 'BEGIN;', 'start transaction', ' -- one\n begin work'])(
    'turns %j into a savepoint',
    async (begin) => {
      await inTransaction(async (pool, client) => {
        const lent = await pool.connect();
        const id = await txid(client);
        await client.query('create temporary table t (n int) on commit drop');
        await lent.query(begin);
        await lent.query('insert into t values (1)');
        await lent.query('rollback');
        await lent.query(begin);
        await lent.query('insert into t values (2)');
        await lent.query({ text: 'commit' });
        lent.release();
        expect(await txid(client)).toBe(id);
        expect((await client.query('select n from t')).rows).toEqual([{ n: 2 }]);
      });
    },
  );

  test.each([
    'commit',
    'rollback',
    'abort',
    'end',
    'begin isolation level serializable',
    'start transaction read only',
    'set transaction read only',
    'commit and chain',
    `prepare transaction 'x'`,
    '/* one */ commit',
  ])('refuses %j, which would end the transaction or change it', async (text) => {
    await inTransaction(async (pool, client) => {
      const id = await txid(client);
      const lent = await pool.connect();
      for (const queryable of [pool, lent]) {
        const error = await rejectionOf(queryable.query(text));
        expect(error).toMatchObject({ code: 'invalid-argument' });
      }
      const byCallback = new Promise<unknown>((resolve) => {
        lent.query(text, (error: Error) => resolve(error));
      });
      expect(await byCallback).toMatchObject({ code: 'invalid-argument' });
      expect(await txid(client)).toBe(id);
    });
  });

  test('refuses to end nested transactions in another order, and forgets those left open', async () => {
    await inTransaction(async (pool) => {
      const [first, second] = [await pool.connect(), await pool.connect()];
      await first.query('begin');
      await second.query('begin');
      const early = first.query('commit');
      expect(await rejectionOf(early)).toMatchObject({ code: 'invalid-argument' });
      second.release();
      await first.query('commit');
      await first.query('savepoint mine');
      await first.query('rollback to savepoint mine');
      first.release();
    });
  });
});
