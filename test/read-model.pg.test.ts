import {
  aggregate,
  batchProjection,
  documentProjection,
  event,
  liveDocuments,
  openStore,
  projection,
  readModel,
  type Projection,
  type Store,
  type Transaction,
} from 'stele';
import { describe, expect, expectTypeOf, test } from 'vitest';

import { aggregates, Counter, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { useEmptyStore } from './support/empty-store.ts';
import {
  countStatements,
  rejectionOf,
  signal,
  untilWaiting,
  usePools,
  useStores,
} from './support/store.ts';

const database = useDatabase();
useEmptyStore(database);
const pools = usePools(database);
const open = useStores(database);
const { emit } = User;
const increment = (to: number) => Counter.emit.Incremented({ to });

const Counts = projection('counts', {
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

const Totals = documentProjection('totals', {
  aggregates: [Counter],
  initialState: () => ({ total: 0 }),
  evolve: { Incremented: ({ total }, { data }) => ({ total: total + data.to }) },
});

const counts = async (sql: Transaction): Promise<{ id: string; count: number }[]> =>
  (await sql.query<{ id: string; count: number }>('select * from counts order by id')).rows;

const schemas = async (): Promise<unknown[]> =>
  (
    await database.query<{ name: string }>(
      `select nspname as name from pg_namespace where nspname like 'stele\\_%'`,
    )
  ).map(({ name }) => name);

/** Three events of two streams, each stored at a time of its own. */
async function history(store: Store): Promise<{ positions: number[]; times: Date[] }> {
  const stored = [];
  for (const [id, to] of [
    ['a', 1],
    ['b', 5],
    ['a', 2],
  ] as const) {
    stored.push(await store.append(Counter.stream(id), [increment(to)]));
    // The clock moves on: events are told apart by time in what follows.
    await database.query(`select pg_sleep(0.005)`);
  }
  const times = stored.map(({ events }) => events[0]?.metadata.timestamp ?? new Date(0));
  return { positions: stored.map(({ position }) => position), times };
}

describe('the live read model', () => {
  test('is read through the tables’ own names', async () => {
    const store = await open({ projections: [Counts] });
    await history(store);
    const rows = await readModel(store, Counts, counts);
    expectTypeOf(rows).toEqualTypeOf<{ id: string; count: number }[]>();
    expect(rows).toEqual([
      { id: 'counter-a', count: 2 },
      { id: 'counter-b', count: 5 },
    ]);
  });

  test('is of one moment, and cannot be written to', async () => {
    const store = await open({ projections: [Counts] });
    const [reading, mayGoOn] = [signal(), signal()];
    const both = readModel(store, Counts, async (sql) => {
      const before = await counts(sql);
      reading.give();
      await mayGoOn.given;
      return [before, await counts(sql)];
    });
    await reading.given;
    await history(store);
    mayGoOn.give();
    expect(await both).toEqual([[], []]);
    const writing = readModel(store, Counts, (sql) => sql.query('delete from counts'));
    expect(await rejectionOf(writing)).toMatchObject({ code: '25006' });
  });

  test('is never of tables that are newer than what it sees', async () => {
    const store = await open({ projections: [Counts] });
    await history(store);
    const client = await database.connect();
    await client.query('begin; lock table stele.projections in access exclusive mode');
    const reading = readModel(store, Counts, counts);
    await untilWaiting(database);
    await client.query(`
      alter schema stele_counts rename to stele_counts__old;
      create schema stele_counts create table counts (id text, count integer);
      insert into stele_counts.counts values ('new', 1);
      commit`);
    expect(await reading).toEqual([{ id: 'new', count: 1 }]);
    await client.end();
  });

  test('is not there before it was built, or when the tables are the application’s', async () => {
    const store = await open();
    const reading = readModel(store, Counts, counts);
    expect(await rejectionOf(reading)).toMatchObject({ code: 'projection-not-built' });
    const Own = projection('own', { aggregates: [Counter], others: 'ignore', on: {} });
    for (const moment of [undefined, 'live'] as const) {
      const own = readModel(store, Own, () => undefined, moment);
      expect(await rejectionOf(own)).toMatchObject({ code: 'invalid-argument' });
    }
  });
});

describe('a read model of the past', () => {
  test('is that of a position, of a time, or of all that there is', async () => {
    const store = await open();
    const { positions, times } = await history(store);
    const read = (moment: Parameters<typeof readModel>[3]) =>
      readModel(store, Counts, counts, moment);
    expect(await read({ position: 0 })).toEqual([]);
    expect(await read({ position: positions[1] })).toEqual([
      { id: 'counter-a', count: 1 },
      { id: 'counter-b', count: 5 },
    ]);
    expect(await read({ at: times[0] })).toEqual([{ id: 'counter-a', count: 1 }]);
    expect(await read({ at: new Date((times[0]?.getTime() ?? 0) - 1) })).toEqual([]);
    expect(await read('live')).toEqual([
      { id: 'counter-a', count: 2 },
      { id: 'counter-b', count: 5 },
    ]);
    expect(await read({ position: Number.MAX_SAFE_INTEGER })).toHaveLength(2);
  });

  test('is of documents, too, which are read by the same reader', async () => {
    const store = await open();
    const { positions } = await history(store);
    const read = (moment: Parameters<typeof readModel>[3]) =>
      readModel(store, Totals, (totals) => totals.get('counter-a'), moment);
    expect(await read({ position: positions[0] })).toEqual({ total: 1 });
    expect(await read('live')).toEqual({ total: 3 });
  });

  test('leaves nothing, neither when it is read nor when it fails', async () => {
    const store = await open();
    await history(store);
    await readModel(store, Counts, counts, 'live');
    const failing = projection('failing', {
      aggregates: [Counter],
      tables: 'create table lost (id text)',
      on: {
        Incremented: ({ version }) => {
          if (version === 2) throw new Error('out of ink');
        },
      },
    });
    const error = await rejectionOf(readModel(store, failing, () => 1, 'live'));
    expect(error).toMatchObject({ code: 'rebuild-failed', cause: { message: 'out of ink' } });
    expect(String(error)).toContain("Incremented (event 2 of stream 'counter-a'): out of ink");
    const readerFails = readModel(
      store,
      Counts,
      () => {
        throw new RangeError('mine');
      },
      'live',
    );
    expect(await rejectionOf(readerFails)).toBeInstanceOf(RangeError);
    expect(await schemas()).toEqual([]);
  });

  test('does not touch the live tables', async () => {
    const store = await open({ projections: [Counts] });
    const { positions } = await history(store);
    await readModel(store, Counts, (sql) => sql.query('delete from counts'), {
      position: positions[0],
    });
    expect(await readModel(store, Counts, counts)).toHaveLength(2);
    expect(await schemas()).toEqual(['stele_counts']);
  });

  test('may not append, since it would store events twice', async () => {
    const store: Store = await open();
    const Appending = projection('appending', {
      aggregates: [Counter],
      tables: 'create table own (id text)',
      on: {
        Incremented: async (_, transaction) => {
          await store.append(User.stream('a'), [emit.Tagged({ tags: [] })], { transaction });
        },
      },
    });
    await store.append(Counter.stream('a'), [increment(1)]);
    const error = await rejectionOf(readModel(store, Appending, () => 1, 'live'));
    expect(error).toMatchObject({
      code: 'rebuild-failed',
      cause: { code: 'invalid-argument' },
    });
  });

  test('waits for appends in flight, so that none is missing', async () => {
    const pool = pools();
    const { sent } = countStatements(pool);
    const store = await open({ pool });
    const client = await database.connect();
    await client.query('begin');
    await store.append(Counter.stream('a'), [increment(1)], { transaction: client });
    await store.append(Counter.stream('b'), [increment(2)]);
    sent.length = 0;
    const reading = readModel(store, Counts, counts, 'live');
    const looks = (): number => sent.filter((text) => text.includes('watermark')).length;
    while (looks() < 3) await database.query('select 1');
    await client.query('commit');
    expect(await reading).toHaveLength(2);
    await client.end();
  });

  test('is read page by page, of several aggregates in the order of positions', async () => {
    const seen: { pages: number; positions: number[]; types: Set<string> } = {
      pages: 0,
      positions: [],
      types: new Set(),
    };
    const Batches: Projection = batchProjection('batches', {
      aggregates: [User, Counter],
      tables: 'create table own (id text)',
      types: ['Incremented', 'EmailChanged'],
      batch: (events) => {
        seen.pages += 1;
        for (const { position, type } of events) {
          seen.positions.push(position);
          seen.types.add(type);
        }
      },
    });
    const store = await open();
    for (let page = 0; page < 3; page += 1) {
      await store.append(
        Counter.stream('a'),
        Array.from({ length: 500 }, (_, to) => increment(to)),
      );
      await store.append(
        User.stream('a'),
        Array.from({ length: 500 }, (_, index) =>
          index % 2 === 0
            ? emit.EmailChanged({ email: 'a@example.com' })
            : emit.Tagged({ tags: [] }),
        ),
      );
    }
    await readModel(store, Batches, () => undefined, 'live');
    expect(seen.pages).toBe(3);
    expect(seen.positions).toHaveLength(2_250);
    expect(seen.positions).toEqual(seen.positions.toSorted((a, b) => a - b));
    expect([...seen.types].toSorted()).toEqual(['EmailChanged', 'Incremented']);
  });

  test('refuses what is no moment', async () => {
    const store = await open();
    for (const moment of [{ at: new Date('never') }, { position: -1 }, { position: 0.5 }]) {
      const reading = readModel(store, Counts, counts, moment);
      expect(await rejectionOf(reading)).toMatchObject({ code: 'invalid-argument' });
    }
  });
});

describe('documents in memory', () => {
  test('are those of now, of a time, or of a position', async () => {
    const store = await open();
    const { times, positions } = await history(store);
    const now = await liveDocuments(store, Totals);
    expectTypeOf(now).toEqualTypeOf<ReadonlyMap<string, { total: number }>>();
    expect(now).toEqual(
      new Map([
        ['counter-a', { total: 3 }],
        ['counter-b', { total: 5 }],
      ]),
    );
    expect(await liveDocuments(store, Totals, { at: times[0] })).toEqual(
      new Map([['counter-a', { total: 1 }]]),
    );
    expect(await liveDocuments(store, Totals, { position: positions[1] })).toEqual(
      new Map([
        ['counter-a', { total: 1 }],
        ['counter-b', { total: 5 }],
      ]),
    );
  });

  test('say which event they failed on', async () => {
    const Failing = documentProjection('failing', {
      aggregates: [Counter],
      initialState: () => ({ total: 0 }),
      evolve: {
        Incremented: () => {
          throw new Error('out of ink');
        },
      },
    });
    const store = await open();
    await store.append(Counter.stream('a'), [increment(1)]);
    const error = await rejectionOf(liveDocuments(store, Failing));
    expect(error).toMatchObject({ code: 'rebuild-failed' });
    expect(String(error)).toContain("event 1 of stream 'counter-a'");
  });

  test('do not mind events of other types that only newer code knows', async () => {
    const store = await open();
    await store.append(User.stream('a'), [emit.Tagged({ tags: ['x'] })]);
    await store.append(Counter.stream('a'), [increment(1)]);
    const Older = aggregate('user', {
      events: { EmailChanged: event<{ email: string }>() },
      initialState: () => 0,
      evolve: { EmailChanged: (state) => state },
    });
    const Emails = documentProjection('emails', {
      aggregates: [Older],
      initialState: () => ({ email: '' }),
      evolve: { EmailChanged: (_, { data }) => data },
    });
    const [, ...others] = aggregates;
    await using older = await openStore({
      connection: database.connectionString,
      aggregates: [Older, ...others],
    });
    expect(await liveDocuments(older, Emails)).toEqual(new Map());
  });
});
