import { aggregate, event, openStore, projection, type Store } from 'stele';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

import { ada, aggregates, Counter, Note, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import {
  collect,
  countStatements,
  rejectionOf,
  signal,
  times,
  usePools,
  useStores,
} from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const pools = usePools(database);
const { Incremented } = Counter.emit;
const one = [Incremented({ to: 1 })];

async function sessions(application: string): Promise<number> {
  const [row] = await database.query<{ count: number }>(
    'select count(*)::int as count from pg_stat_activity where application_name = $1',
    [application],
  );
  return row?.count ?? 0;
}

/** The server notices the end of a session a moment later. */
async function untilNone(application: string): Promise<void> {
  while ((await sessions(application)) > 0);
}

describe('a store', () => {
  test('that opened its pool closes it', async () => {
    const connection = {
      connectionString: database.connectionString,
      application_name: 'own pool',
    };
    const store = await openStore({ connection, aggregates });
    await times(4, (id) => store.append(Counter.stream(`own-${id}`), one));
    expect(await sessions('own pool')).toBeGreaterThan(0);
    await store.close();
    await untilNone('own pool');
    expect(await sessions('own pool')).toBe(0);
  });

  test('that was given a pool leaves it open, and as it was', async () => {
    const pool = pools();
    const listeners = pool.listenerCount('error');
    const store = await openStore({ pool, aggregates });
    await store.append(Counter.stream('given'), one);
    await store.close();
    expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    expect(pool.listenerCount('error')).toBe(listeners);
  });

  test('that is closed says so, whatever it is asked, and sends nothing', async () => {
    const pool = pools();
    const { sent } = countStatements(pool);
    const store = await openStore({ pool, aggregates });
    await store.append(Counter.stream('closed'), one);
    await store.close();
    sent.length = 0;
    const asked = [
      store.append(Counter.stream('closed'), one),
      store.appendAll([{ stream: Counter.stream('closed'), events: one }]),
      store.load(Counter, 'closed'),
      store.execute(Counter, 'closed', 'increment', {}),
      store.executeAll(Counter, 'closed', []),
      store.event('00000000-0000-7000-8000-000000000000'),
      store.correlation('c'),
      store.blame(Counter, 'closed'),
      collect(store.readStream(Counter, 'closed')),
      collect(store.read()),
      collect(store.history(Counter, 'closed')),
    ];
    for (const error of await Promise.all(asked.map(rejectionOf))) {
      expect(error).toMatchObject({ code: 'store-closed' });
    }
    expect(sent).toEqual([]);
  });

  test('may be closed twice, at once and later', async () => {
    const store = await open();
    await Promise.all([store.close(), store.close()]);
    expect(await store.close()).toBeUndefined();
  });

  test('finishes what is in flight when it is closed', async () => {
    const [deciding, mayDecide] = [signal(), signal()];
    const seen = async (): Promise<number> => (await store.load(Counter, 'seen')).version;
    const Slow = aggregate('slow', {
      events: { Done: event(z.object({ seen: z.int() })) },
      initialState: () => ({ seen: -1 }),
      evolve: { Done: (_, { data }) => data },
      commands: {
        finish: {
          input: z.object({}),
          decide: async (_, __, { emit }) => {
            deciding.give();
            await mayDecide.given;
            // What an operation in flight asks for belongs to it.
            return emit.Done({ seen: await seen() });
          },
        },
      },
    });
    const connection = { connectionString: database.connectionString, max: 1 };
    const Inline = projection('inline', {
      aggregates: [Counter],
      on: { Incremented: () => undefined },
    });
    const store: Store = await openStore({
      connection,
      aggregates: [...aggregates, Slow],
      projections: [Inline],
    });
    await store.append(Counter.stream('seen'), one);
    const done = store.execute(Slow, '1', 'finish', {});
    await deciding.given;
    const appends = times(50, (id) => store.append(Counter.stream(`flight-${id}`), one));
    const notes = times(50, (id) =>
      store.append(Note.stream(`${id}`), [Note.emit.Written({ body: id })]),
    );
    const loads = times(20, (id) => store.load(Counter, `flight-${id}`));
    const reads = times(20, () => collect(store.readStream(Counter, 'seen')));
    let isClosed = false;
    const closing = store.close().then(() => (isClosed = true));
    await Promise.all([appends, notes, loads]);
    expect((await reads).flat()).toHaveLength(20);
    expect(isClosed).toBe(false);
    expect(await rejectionOf(store.load(Counter, 'seen'))).toMatchObject({ code: 'store-closed' });
    mayDecide.give();
    expect(await done).toMatchObject({ ok: true, state: { seen: 1 } });
    await closing;
  });

  test('leaves nobody waiting who was about to read when it was closed', async () => {
    const connection = { connectionString: database.connectionString, max: 1 };
    const store = await openStore({ connection, aggregates });
    await store.append(Counter.stream('about'), one);
    const reads = Array.from({ length: 10 }, () => collect(store.readStream(Counter, 'about')));
    await store.close();
    const settled = await Promise.allSettled(reads);
    expect(settled.map(({ status }) => status)).toEqual(settled.map(() => 'fulfilled'));
  });

  test('is closed at the end of its block', async () => {
    let outer;
    {
      await using store = await openStore({ connection: database.connectionString, aggregates });
      outer = store;
    }
    expect(await rejectionOf(outer.load(Counter, '1'))).toMatchObject({ code: 'store-closed' });
  });

  test('that cannot be opened leaves no connection', async () => {
    const connection = {
      connectionString: database.connectionString,
      application_name: 'not opened',
    };
    const options = { connection, aggregates, schema: 'absent', migrate: false };
    expect(await rejectionOf(openStore(options))).toMatchObject({ code: 'schema-not-migrated' });
    await untilNone('not opened');
    expect(await sessions('not opened')).toBe(0);
  });
});

describe('without prepared statements', () => {
  test('everything works, and nothing is prepared', async () => {
    const pool = pools({ max: 1 });
    const store = await open({ pool, prepare: false });
    await store.execute(User, 'unprepared', 'register', { email: 'a@example.com', username: 'a' });
    await times(5, (id) => store.append(Counter.stream(`unprepared-${id}`), one));
    await store.append(Counter.stream('unprepared-0'), one, { idempotencyKey: 'k' });
    await store.append(Counter.stream('unprepared-0'), one, { idempotencyKey: 'k' });
    expect(await collect(store.readStream(Counter, 'unprepared-0'))).toHaveLength(2);
    expect((await collect(store.read({ aggregates: [Counter] }))).length).toBeGreaterThan(5);
    expect((await pool.query('select name from pg_prepared_statements')).rows).toEqual([]);
  });
});

describe("the application's own type parsers", () => {
  test('do not disturb, and are not disturbed', async () => {
    const types = [16, 20, 23, 25, 114, 701, 1009, 1016, 1114, 1184, 2950, 3802];
    const parsers = types.map((oid) => [oid, pg.types.getTypeParser(oid)] as const);
    for (const oid of types) pg.types.setTypeParser(oid, (text) => `parsed ${text}`);
    try {
      const store = await open();
      await store.execute(User, 'parsers', 'register', { email: 'a@example.com', username: 'a' });
      await store.append(User.stream('parsers'), [User.emit.Tagged({ tags: ['x'] })]);
      expect(await store.load(User, 'parsers')).toEqual({
        state: { status: 'active', ...ada('a@example.com'), username: 'a', tags: ['x'] },
        version: 2,
      });
      const events = await collect(store.readStream(User, 'parsers'));
      expect(events.map(({ version }) => version)).toEqual([1, 2]);
      const stores = { connection: database.connectionString, aggregates, migrate: false };
      await (await openStore(stores)).close();
      expect(await database.query('select true as yes')).toEqual([{ yes: 'parsed t' }]);
    } finally {
      for (const [oid, parser] of parsers) pg.types.setTypeParser(oid, parser);
    }
  });
});

describe('stores with schemas of their own on one pool', () => {
  const names = [
    'Upper Case',
    'quo"ted',
    "o'clock",
    '100%',
    'dollar$$sign',
    'back\\slash',
    'ünïcödé',
  ];

  test('never see each other, whatever the schemas are called', async () => {
    const pool = pools();
    const stores = await Promise.all(names.map((schema) => open({ pool, schema })));
    for (const [index, store] of stores.entries()) {
      await store.append(
        Counter.stream('same'),
        Array.from({ length: index + 1 }, () => one[0] as never),
      );
      await store.execute(User, 'same', 'register', { email: 'a@example.com', username: 'a' });
      await store.appendAll([
        { stream: Counter.stream('same'), events: one },
        { stream: Counter.stream('other'), events: one },
      ]);
    }
    for (const [index, store] of stores.entries()) {
      expect(await store.load(Counter, 'same')).toMatchObject({ version: index + 2 });
      expect(await collect(store.read())).toHaveLength(index + 4);
      expect((await store.blame(Counter, 'same'))[0]?.value).toBe(1);
    }
    expect(await (await open({ pool })).load(Counter, 'same')).toMatchObject({ version: 0 });
  });

  test.each(['', 'a\u0000b', 'x'.repeat(64)])(
    'are refused a name that Postgres has not: %j',
    async (schema) => {
      expect(await rejectionOf(open({ schema }))).toMatchObject({ code: 'invalid-argument' });
    },
  );
});
