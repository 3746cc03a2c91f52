import {
  batchProjection,
  openStore,
  projection,
  SteleError,
  type Projection,
  type Transaction,
} from 'stele';
import { describe, expect, test } from 'vitest';

import { ada, aggregates, Counter, Note, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { useEmptyStore } from './support/empty-store.ts';
import {
  countStatements,
  rejectionOf,
  signal,
  times,
  untilWaiting,
  usePools,
  useStores,
} from './support/store.ts';

const database = useDatabase();
useEmptyStore(database);
const pools = usePools(database);
const open = useStores(database);
const { emit } = User;
const increment = [Counter.emit.Incremented({ to: 1 })];

/** A projection of users whose tables are its own, under a name of the test's. */
function usersAs(name: string, options: { readonly version?: number } = {}): Projection {
  return projection(name, {
    ...options,
    aggregates: [User],
    others: 'ignore',
    tables: `
      create table users (id text primary key, email text unique);
      create index on users (lower(email))`,
    on: {
      UserCreated: async ({ streamId, data }, transaction) => {
        await transaction.query('insert into users values ($1, $2)', [streamId, data.email]);
      },
      EmailChanged: async ({ streamId, data }, transaction) => {
        const values = [streamId, data.email];
        await transaction.query('update users set email = $2 where id = $1', values);
      },
    },
  });
}

const counted = (name: string): Projection =>
  projection(name, {
    aggregates: [Counter],
    tables: 'create table counts (id text primary key, count integer)',
    on: {
      Incremented: async ({ streamId, data }, transaction) => {
        await transaction.query(
          `insert into counts values ($1, $2) on conflict (id) do update set count = excluded.count`,
          [streamId, data.to],
        );
      },
    },
  });

/** A projection whose tables are the application's. */
const without = projection('without', {
  aggregates: [Counter],
  on: {
    Incremented: async (_, transaction) => {
      await transaction.query('select 1');
    },
  },
});

const rowsOf = (schema: string): Promise<object[]> =>
  database.query(`select * from ${schema}.users order by id`);

describe('an inline projection with tables', () => {
  test('has them made when a store is first opened, in a schema of its own', async () => {
    const store = await open({ projections: [usersAs('users')] });
    await store.append(User.stream('a'), [
      emit.UserCreated(ada('a@example.com')),
      emit.EmailChanged({ email: 'b@example.com' }),
    ]);
    expect(await rowsOf('stele_users')).toEqual([{ id: 'user-a', email: 'b@example.com' }]);
    expect(await database.query('select name, mode from stele.projections')).toEqual([
      { name: 'users', mode: 'inline' },
    ]);
  });

  test('is found as it was left when a store is opened again', async () => {
    const first = await open({ projections: [usersAs('users')] });
    await first.append(User.stream('a'), [emit.UserCreated(ada('a@example.com'))]);
    const second = await open({ projections: [usersAs('users')] });
    await second.append(User.stream('b'), [emit.UserCreated(ada('b@example.com'))]);
    expect(await rowsOf('stele_users')).toHaveLength(2);
  });

  test('has them made once by ten stores that open at the same moment', async () => {
    const stores = await times(10, () => open({ projections: [usersAs('users')] }));
    await Promise.all(
      stores.map((store, index) =>
        store.append(User.stream(`${index}`), [emit.UserCreated(ada(`${index}@example.com`))]),
      ),
    );
    expect(await rowsOf('stele_users')).toHaveLength(10);
  });

  test('finds tables of the session after its own, and shares names with other projections', async () => {
    await database.query('create table public.log (line text)');
    const logging = (name: string): Projection =>
      projection(name, {
        aggregates: [Counter],
        tables: 'create table lines (line text)',
        on: {
          Incremented: async ({ data }, transaction) => {
            await transaction.query('insert into lines values ($1)', [`${name} ${data.to}`]);
            await transaction.query('insert into log select line from lines');
          },
        },
      });
    const store = await open({ projections: [logging('one'), logging('two')] });
    await store.append(Counter.stream('a'), increment);
    expect(await database.query('select line from log order by 1')).toEqual([
      { line: 'one 1' },
      { line: 'two 1' },
    ]);
    await database.query('drop table public.log');
  });

  test('runs after those whose tables are the application’s, which keep the session’s path', async () => {
    const paths: string[] = [];
    const noting = (name: string, tables?: string): Projection =>
      projection(name, {
        aggregates: [Counter],
        tables,
        on: {
          Incremented: async (_, transaction) => {
            const { rows } = await transaction.query<{ search_path: string }>('show search_path');
            paths.push(`${name}: ${rows[0]?.search_path}`);
          },
        },
      });
    const own = 'create table own (id text)';
    const store = await open({ projections: [noting('a', own), noting('b'), noting('c', own)] });
    await store.append(Counter.stream('a'), increment);
    const session = '"$user", public';
    expect(paths).toEqual([`b: ${session}`, `a: stele_a, ${session}`, `c: stele_c, ${session}`]);
  });

  test('costs an append one statement more, and without tables none', async () => {
    const pool = pools();
    const { sent } = countStatements(pool);
    const store = await open({ pool, projections: [counted('counts')] });
    await store.append(Counter.stream('a'), increment);
    const statementsOf = async (append: Promise<unknown>): Promise<number> => {
      sent.length = 0;
      await append;
      return sent.filter((text) => !text.includes('pg_notify')).length;
    };
    // begin, append, fence, the handler's own, commit
    expect(await statementsOf(store.append(Counter.stream('b'), increment))).toBe(5);
    const plain = await open({ pool, projections: [without] });
    expect(await statementsOf(plain.append(Counter.stream('c'), increment))).toBe(4);
  });

  test('of a batch gets all events of an append at once', async () => {
    const batches: string[][] = [];
    const Batches = batchProjection('batches', {
      aggregates: [User, Counter],
      types: ['EmailChanged', 'Incremented'],
      batch: (events) => void batches.push(events.map(({ type }) => type)),
    });
    const store = await open({ projections: [Batches] });
    await store.appendAll([
      {
        stream: User.stream('a'),
        events: [emit.UserCreated(ada()), emit.EmailChanged({ email: 'b@example.com' })],
      },
      { stream: Counter.stream('a'), events: increment },
    ]);
    expect(batches).toEqual([['EmailChanged', 'Incremented']]);
  });

  test('is undone with the append when a handler fails', async () => {
    const store = await open({ projections: [usersAs('users'), counted('counts')] });
    await store.append(User.stream('a'), [emit.UserCreated(ada('same@example.com'))]);
    const failing = store.appendAll([
      { stream: Counter.stream('a'), events: increment },
      { stream: User.stream('b'), events: [emit.UserCreated(ada('same@example.com'))] },
    ]);
    expect(await rejectionOf(failing)).toMatchObject({
      code: 'projection-failed',
      projection: 'users',
      streamId: 'user-b',
      cause: { constraint: 'users_email_key' },
    });
    expect(await database.query('select * from stele_counts.counts')).toEqual([]);
    expect(await rowsOf('stele_users')).toHaveLength(1);
  });

  test('can be told as a rejection by the name of its constraint', async () => {
    const store = await open({ projections: [usersAs('users')] });
    const register = (id: string) =>
      store.execute(User, id, 'register', { email: 'a@example.com', username: id });
    expect(await register('a')).toMatchObject({ ok: true });
    expect(await register('b')).toMatchObject({ ok: false, error: { type: 'EmailTaken' } });
  });
});

describe('in the caller’s transaction', () => {
  test('the search path is the caller’s again, also after a failure', async () => {
    const store = await open({ projections: [usersAs('users')] });
    const client = await database.connect();
    const path = async (): Promise<unknown> => {
      const { rows } = await client.query<{ search_path: string }>('show search_path');
      return rows[0]?.search_path;
    };
    await client.query('begin; set local search_path = pg_temp, public');
    const append = (id: string) =>
      store.append(User.stream(id), [emit.UserCreated(ada())], { transaction: client });
    await append('a');
    expect(await path()).toBe('pg_temp, public');
    expect(await rejectionOf(append('b'))).toMatchObject({ code: 'projection-failed' });
    expect(await path()).toBe('pg_temp, public');
    await client.query('commit');
    expect(await path()).toBe('"$user", public');
    expect(await rowsOf('stele_users')).toMatchObject([{ id: 'user-a' }]);
    await client.end();
  });

  test('what a handler appends is projected under the session’s path, and the handler goes on under its own', async () => {
    let store = await open();
    const paths: string[] = [];
    const note = async (name: string, transaction: Transaction): Promise<void> => {
      const { rows } = await transaction.query<{ search_path: string }>('show search_path');
      paths.push(`${name}: ${rows[0]?.search_path}`);
    };
    const Following = projection('following', {
      aggregates: [User],
      others: 'ignore',
      tables: 'create table own (id text)',
      on: {
        UserCreated: async (_, transaction) => {
          await store.append(Counter.stream('follows'), increment, { transaction });
          await note('following', transaction);
        },
      },
    });
    const tables = ['create table own (id text)', undefined];
    const inner = tables.map((tables, index) =>
      projection(`inner-${index}`, {
        aggregates: [Counter],
        tables,
        on: { Incremented: async (_, transaction) => note(`inner-${index}`, transaction) },
      }),
    );
    store = await open({ projections: [Following, ...inner] });
    await store.append(User.stream('a'), [emit.UserCreated(ada())]);
    expect(paths).toEqual([
      'inner-1: "$user", public',
      'inner-0: "stele_inner-0", "$user", public',
      'following: stele_following, "$user", public',
    ]);
  });
});

describe('tables that another definition has built', () => {
  const [Old, New] = [usersAs('users', { version: 1 }), usersAs('users', { version: 2 })];
  const create = [emit.UserCreated(ada())];

  test('are refused when a store is opened, and by every append where that was ignored', async () => {
    await open({ projections: [Old] });
    const opening = open({ projections: [New] });
    expect(await rejectionOf(opening)).toMatchObject({ code: 'projection-changed' });
    const store = await open({ projections: [New], changedProjections: 'ignore' });
    const append = store.append(User.stream('a'), create);
    expect(await rejectionOf(append)).toMatchObject({ code: 'projection-changed' });
    expect(await store.load(User, 'a')).toMatchObject({ version: 0 });
    expect(await store.append(Counter.stream('a'), increment)).toMatchObject({ version: 1 });
  });

  test('are refused when they are exchanged under an open store', async () => {
    const store = await open({ projections: [Old] });
    await store.append(User.stream('a'), create);
    await database.query(`update stele.projections set fingerprint = 'another'`);
    const append = store.append(User.stream('b'), [emit.UserCreated(ada('b@example.com'))]);
    expect(await rejectionOf(append)).toMatchObject({ code: 'projection-changed' });
    expect(await store.load(User, 'b')).toMatchObject({ version: 0 });
  });

  test('are refused when they run behind the appends', async () => {
    await open({ projections: [Old] });
    await database.query(`update stele.projections set mode = 'async'`);
    const opening = open({ projections: [Old] });
    expect(await rejectionOf(opening)).toMatchObject({ code: 'projection-changed' });
  });

  test('are refused to a transaction whose snapshot is older than they are', async () => {
    const store = await open({ projections: [Old] });
    const client = await database.connect();
    await client.query('begin isolation level repeatable read');
    await client.query('select count(*) from stele.events');
    await database.query(`
      begin;
      alter schema stele_users rename to stele_users__old;
      create schema stele_users create table users (id text, email text);
      update stele.projections set fingerprint = 'another';
      commit`);
    const append = store.append(User.stream('a'), create, { transaction: client });
    expect(await rejectionOf(append)).toMatchObject({ code: 'projection-changed' });
    await client.query('rollback');
    expect(await rowsOf('stele_users')).toEqual([]);
    await client.end();
  });

  test('are exchanged only when appends that passed the fence have ended', async () => {
    const [handling, mayGoOn] = [signal(), signal()];
    const Slow = projection('slow', {
      aggregates: [Counter],
      tables: 'create table own (id text)',
      on: {
        Incremented: async (_, transaction) => {
          handling.give();
          await mayGoOn.given;
          await transaction.query(`insert into own values ('by the old definition')`);
        },
      },
    });
    const store = await open({ projections: [Slow] });
    const append = store.append(Counter.stream('a'), increment);
    await handling.given;
    const swap = database.query(`
      begin;
      lock table stele.projections in access exclusive mode;
      alter schema stele_slow rename to stele_slow__old;
      create schema stele_slow create table own (id text);
      commit`);
    await untilWaiting(database);
    mayGoOn.give();
    await Promise.all([append, swap]);
    expect(await database.query('select count(*)::int from stele_slow__old.own')).toEqual([
      { count: 1 },
    ]);
  });
});

describe('a projection that is new to a store with events', () => {
  test('is opened when none of them is for it', async () => {
    const first = await open();
    await first.append(Counter.stream('a'), increment);
    await first.append(User.stream('a'), [emit.Tagged({ tags: [] })]);
    await expect(open({ projections: [usersAs('users')] })).resolves.toBeDefined();
  });

  test('is refused when some are, and appends fail where that was ignored', async () => {
    const first = await open();
    await first.append(User.stream('a'), [emit.UserCreated(ada())]);
    const opening = open({ projections: [usersAs('users')] });
    const error = await rejectionOf(opening);
    expect(error).toMatchObject({ code: 'projection-not-built' });
    expect(String(error)).toContain('rebuild');
    const projections = [usersAs('users')];
    const store = await open({ projections, changedProjections: 'ignore' });
    const append = store.append(User.stream('b'), [emit.UserCreated(ada())]);
    expect(await rejectionOf(append)).toMatchObject({ code: 'projection-not-built' });
  });

  test('takes the names that events are stored under for its own', async () => {
    const first = await open();
    await first.append(Note.stream('a'), [Note.emit.Written({ body: 1 })]);
    const Notes = projection('notes', {
      aggregates: [Note],
      tables: 'create table notes (id text)',
      on: { Written: () => undefined },
    });
    const opening = open({ projections: [Notes] });
    expect(await rejectionOf(opening)).toMatchObject({ code: 'projection-not-built' });
  });
});

describe('making tables', () => {
  test('fails with what the database says, and leaves nothing', async () => {
    const Wrong = projection('wrong', {
      aggregates: [Counter],
      tables: 'create table fine (id text); create table wrong (id nonsense)',
      on: { Incremented: () => undefined },
    });
    const error = await rejectionOf(open({ projections: [Wrong] }));
    expect(error).toMatchObject({ code: 'database', sqlState: '42704' });
    expect(String(error)).toContain('type "nonsense" does not exist');
    expect(await database.query(`select from pg_namespace where nspname = 'stele_wrong'`)).toEqual(
      [],
    );
  });

  test('refuses a schema that is somebody else’s', async () => {
    await database.query('create schema stele_users');
    const error = await rejectionOf(open({ projections: [usersAs('users')] }));
    expect(error).toMatchObject({ code: 'database', sqlState: '42P06' });
  });

  test('grants them to the roles of the store', async () => {
    await open({ projections: [counted('counts')] });
    const [rights] = await database.query(`
      select has_table_privilege('stele_writer', 'stele_counts.counts', 'insert, update, delete') as writer,
        has_table_privilege('stele_reader', 'stele_counts.counts', 'select') as reader,
        has_table_privilege('stele_reader', 'stele_counts.counts', 'insert') as reader_writes`);
    expect(rights).toEqual({ writer: true, reader: true, reader_writes: false });
  });

  test('refuses names that would be too long with the store’s schema', async () => {
    const schema = 'a_schema_with_a_long_name';
    const store = openStore({
      connection: database.connectionString,
      schema,
      aggregates,
      projections: [usersAs('a-projection-with-a-long-name')],
    });
    const error = await rejectionOf(store);
    expect(error).toBeInstanceOf(SteleError);
    expect(error).toMatchObject({ code: 'invalid-argument' });
    await database.query(`drop schema ${schema} cascade`);
  });

  test.each(['', 'a b', 'a__b', 'ä', 'x'.repeat(31), 'a/b'])('refuses the name %j', (name) => {
    expect(() => usersAs(name)).toThrow("A projection's name");
  });
});
