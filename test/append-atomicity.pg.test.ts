import { DatabaseError, isSteleError } from 'stele';
import { afterEach, describe, expect, test } from 'vitest';

import { Counter, Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { rejectionOf, times, untilWaiting, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const { Incremented } = Counter.emit;
const one = [Incremented({ to: 1 })];

/** The versions of streams, by what their events and their heads say. */
async function versionsOf(prefix: string): Promise<Record<string, number>> {
  const rows = await database.query<{ id: string; events: number; head: number }>(
    `select substr(s.stream_id, length('counter-') + 1) as id, s.version::int as head,
       (select count(*)::int from stele.events e where e.stream_id = s.stream_id) as events
     from stele.streams s where starts_with(s.stream_id, 'counter-' || $1) order by 1`,
    [prefix],
  );
  for (const { head, events } of rows) expect(head).toBe(events);
  return Object.fromEntries(rows.map(({ id, events }) => [id, events]));
}

describe('an append to several streams', () => {
  test('stores all of it, in the order given', async () => {
    const store = await open();
    await store.append(Counter.stream('all-b'), one);
    const ids = ['all-c', 'all-a', 'all-b'];
    const results = await store.appendAll(
      ids.map((id) => ({ stream: Counter.stream(id), events: [...one, ...one] })),
    );
    expect(results.map(({ version }) => version)).toEqual([2, 2, 3]);
    const events = results.flatMap((result) => result.events);
    expect(events.map(({ streamId }) => streamId)).toEqual(
      ids.flatMap((id) => [`counter-${id}`, `counter-${id}`]),
    );
    const positions = events.map(({ position }) => position);
    expect(positions).toEqual(positions.toSorted((a, b) => a - b));
    expect(await versionsOf('all-')).toEqual({ 'all-a': 2, 'all-b': 3, 'all-c': 2 });
  });

  test('stores nothing when one condition does not hold, and names the stream', async () => {
    const store = await open();
    await store.append(Counter.stream('one-b'), one);
    const appends = ['one-a', 'one-b', 'one-c'].map((id) => ({
      stream: Counter.stream(id),
      events: one,
      expectedVersion: 'no-stream' as const,
    }));
    expect(await rejectionOf(store.appendAll(appends))).toMatchObject({
      code: 'concurrency',
      streamId: 'counter-one-b',
      expectedVersion: 'no-stream',
      actualVersion: 1,
    });
    expect(await versionsOf('one-')).toEqual({ 'one-a': 0, 'one-b': 1, 'one-c': 0 });
  });

  test('never leaves half of it, when two who move between two streams overtake each other', async () => {
    const stores = await times(2, () => open());
    let conflicts = 0;
    await times(8, async (mover) => {
      const store = stores[mover % 2] ?? (await open());
      const ids = mover % 2 === 0 ? ['move-a', 'move-b'] : ['move-b', 'move-a'];
      for (let round = 0; round < 15; round += 1) {
        const { version } = await store.load(Counter, 'move-a');
        const appends = ids.map((id) => ({
          stream: Counter.stream(id),
          events: one,
          ...(id === 'move-a' && { expectedVersion: version }),
        }));
        await store.appendAll(appends).catch((error: unknown) => {
          if (!isSteleError(error, 'concurrency')) throw error;
          conflicts += 1;
        });
      }
    });
    const stored = 8 * 15 - conflicts;
    expect(conflicts).toBeGreaterThan(0);
    expect(await versionsOf('move-')).toEqual({ 'move-a': stored, 'move-b': stored });
  });

  test.each([1, 4])(
    'does not deadlock with others in the opposite order, from %i stores',
    async (count) => {
      const stores = await times(count, () => open());
      const prefix = `opposite-${count}-`;
      const ids = Array.from({ length: 10 }, (_, index) => `${prefix}${index}`);
      // Half of the streams exist, the others are made by whoever comes first.
      for (const id of ids.slice(5)) await stores[0]?.append(Counter.stream(id), one);
      for (let round = 0; round < 5; round += 1) {
        await times(8, async (caller) => {
          const order = caller % 2 === 0 ? ids : ids.toReversed();
          const appends = order.map((id) => ({ stream: Counter.stream(id), events: one }));
          await stores[caller % count]?.appendAll(appends);
        });
      }
      const versions = Object.values(await versionsOf(prefix));
      expect(versions.toSorted((a, b) => a - b)).toEqual([
        ...Array(5).fill(40),
        ...Array(5).fill(41),
      ]);
    },
  );

  test.each(['as given', 'reversed'])('locks them in one order: %s', async (order) => {
    const store = await open();
    const ids = Array.from({ length: 9 }, (_, index) => `locked-${order}-${index}`);
    const last = `locked-${order}-9`;
    for (const id of [...ids, last]) await store.append(Counter.stream(id), one);
    const holder = await database.connect();
    await holder.query('begin');
    await store.append(Counter.stream(last), one, { transaction: holder });
    const streams = [...ids, last].map((id) => ({ stream: Counter.stream(id), events: one }));
    const waiting = store.appendAll(order === 'as given' ? streams : streams.toReversed());
    await untilWaiting(database);
    // It waits for the last one, and has locked all those before.
    const free = await database.query(
      `select stream_id from stele.streams where starts_with(stream_id, 'counter-locked-' || $1)
       for update skip locked`,
      [order],
    );
    expect(free).toEqual([]);
    await holder.query('commit');
    await waiting;
  });

  test.each(['as given', 'reversed'])('makes them in one order: %s', async (order) => {
    const store = await open();
    const ids = Array.from({ length: 10 }, (_, index) => `made-${order}-${index}`);
    const holder = await database.connect();
    await holder.query('begin');
    await store.append(Counter.stream(ids[5] ?? ''), one, { transaction: holder });
    const streams = ids.map((id) => ({ stream: Counter.stream(id), events: one }));
    const waiting = store.appendAll(order === 'as given' ? streams : streams.toReversed());
    await untilWaiting(database);
    // It waits for the sixth, has made the five before it, and none of those behind.
    const probe = await database.connect();
    await probe.query(`set lock_timeout = '30ms'`);
    const free: number[] = [];
    for (const [index, id] of ids.entries()) {
      await probe.query('begin');
      const insert = `insert into stele.streams values ($1, 'counter', 1, now())`;
      await probe.query(insert, [`counter-${id}`]).then(
        () => free.push(index),
        () => undefined,
      );
      await probe.query('rollback');
    }
    expect(free).toEqual([6, 7, 8, 9]);
    await holder.query('commit');
    await waiting;
  });

  test('names each stream once, and has events for each', async () => {
    const store = await open();
    const append = { stream: Counter.stream('twice'), events: one };
    const wrong = [[append, append], [{ ...append, events: [] }]];
    for (const appends of wrong) {
      expect(await rejectionOf(store.appendAll(appends))).toMatchObject({
        code: 'invalid-argument',
      });
    }
    expect(await versionsOf('twice')).toEqual({});
    expect(await store.appendAll([])).toEqual([]);
  });
});

describe('appends that travel together', () => {
  afterEach(() => database.query('alter table stele.events drop constraint if exists refused'));

  test('each have a verdict of their own', async () => {
    const store = await open();
    await store.append(Counter.stream('own-1'), one);
    const expecting = (id: string, expectedVersion: number | 'any' | 'no-stream') =>
      store.append(Counter.stream(id), one, { expectedVersion }).then(
        ({ version }) => version,
        (error: unknown) => {
          if (!isSteleError(error, 'concurrency')) throw error;
          return [error.code, error.actualVersion];
        },
      );
    const verdicts = await Promise.all([
      expecting('own-1', 1),
      expecting('own-2', 1),
      expecting('own-3', 'no-stream'),
      expecting('own-4', 'any'),
      expecting('own-1', 1),
      expecting('own-4', 'any'),
      expecting('own-3', 'no-stream'),
      expecting('own-1', 2),
    ]);
    const conflict = (actual: number): [string, number] => ['concurrency', actual];
    expect(verdicts).toEqual([2, conflict(0), 1, 1, conflict(2), 2, conflict(1), 3]);
    expect(await versionsOf('own-')).toMatchObject({ 'own-1': 3, 'own-3': 1, 'own-4': 2 });
  });

  test.each([
    ['a payload that the database refuses', `data ->> 'to' <> '666'`],
    ['a stream that the database refuses', `stream_id not like '%-culprit'`],
  ])('do not suffer from %s', async (_, condition) => {
    await database.query(
      `alter table stele.events add constraint refused check (${condition}) not valid`,
    );
    const store = await open();
    const prefix = `suffer-${condition.length}-`;
    const bad = rejectionOf(
      store.append(Counter.stream(`${prefix}culprit`), [Incremented({ to: 666 })]),
    );
    const good = times(100, (index) =>
      store.append(Counter.stream(`${prefix}${index % 50}`), [Incremented({ to: index })]),
    );
    const error = await bad;
    expect(error).toBeInstanceOf(DatabaseError);
    expect(error).toMatchObject({ sqlState: '23514', cause: { constraint: 'refused' } });
    expect((await good).every(({ deduplicated }) => !deduplicated)).toBe(true);
    const versions = await versionsOf(prefix);
    expect(versions[`${prefix}culprit`]).toBeUndefined();
    expect(Object.values(versions)).toEqual(Array.from({ length: 50 }, () => 2));
  });

  test('are stored whole or not at all, when one of them has several streams', async () => {
    await database.query(
      `alter table stele.events add constraint refused check (data ->> 'to' <> '666') not valid`,
    );
    const store = await open();
    const several = ['whole-a', 'whole-b'].map((id, index) => ({
      stream: Counter.stream(id),
      events: [Incremented({ to: index * 666 })],
    }));
    const [refused, ...others] = await Promise.allSettled([
      store.appendAll(several),
      store.append(Counter.stream('whole-a'), one),
      store.append(Counter.stream('whole-b'), one, { expectedVersion: 'no-stream' }),
    ]);
    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'database' } });
    expect(others).toMatchObject([{ value: { version: 1 } }, { value: { version: 1 } }]);
    expect(await versionsOf('whole-')).toEqual({ 'whole-a': 1, 'whole-b': 1 });
  });

  test('may be more, and larger, than one statement takes', async () => {
    const store = await open();
    const body = 'x'.repeat(100_000);
    const large = times(60, (index) =>
      store.append(Note.stream(`large-${index}`), [Note.emit.Written({ body })]),
    );
    const many = store.append(
      Counter.stream('many'),
      Array.from({ length: 2_500 }, (_, index) => Incremented({ to: index + 1 })),
    );
    const small = times(3_000, (index) => store.append(Counter.stream(`small-${index % 7}`), one));
    expect((await large).every(({ version }) => version === 1)).toBe(true);
    expect(await many).toMatchObject({ version: 2_500 });
    await small;
    expect(await store.load(Counter, 'many')).toEqual({ state: { count: 2_500 }, version: 2_500 });
  });
});
