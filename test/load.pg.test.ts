import { aggregate, event, openStore, type } from 'stele';
import { beforeAll, describe, expect, test } from 'vitest';

import { aggregates, Counter, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { rejectionOf, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const { Incremented } = Counter.emit;

describe('the state of a stream', () => {
  test('that does not exist is its initial state, at version 0', async () => {
    const store = await open();
    expect(await store.load(User, 'absent')).toEqual({ state: { status: 'absent' }, version: 0 });
    const past = await store.load(User, 'absent', { at: new Date(0) });
    expect(past).toEqual({ state: { status: 'absent' }, version: 0 });
    expect(await store.load(User, 'absent', { version: 0 })).toMatchObject({ version: 0 });
  });

  test('is newest for whoever loads it, whoever has appended', async () => {
    const [store, other] = [await open(), await open()];
    for (const to of [1, 2, 3]) {
      await other.append(Counter.stream('newest'), [Incremented({ to })]);
      expect(await store.load(Counter, 'newest')).toEqual({ state: { count: to }, version: to });
    }
  });
});

describe('the state as it was', () => {
  const moments: Date[] = [];
  beforeAll(async () => {
    await using store = await openStore({ connection: database.connectionString, aggregates });
    for (const to of [1, 2, 3]) {
      const { events } = await store.append(Counter.stream('past'), [Incremented({ to })]);
      moments.push(...events.map(({ metadata }) => metadata.timestamp));
      await database.query('select pg_sleep(0.002)');
    }
  });

  test.each([0, 1, 2, 3])('at version %i', async (version) => {
    const store = await open();
    const past = { state: { count: version }, version };
    expect(await store.load(Counter, 'past', { version })).toEqual(past);
    // Also when the newest state is in memory.
    await store.load(Counter, 'past');
    expect(await store.load(Counter, 'past', { version })).toEqual(past);
  });

  test('at a time: an event counts from its very timestamp on', async () => {
    const store = await open();
    for (const [index, at] of moments.entries()) {
      const before = new Date(at.getTime() - 1);
      expect(await store.load(Counter, 'past', { at })).toMatchObject({ version: index + 1 });
      expect(await store.load(Counter, 'past', { at: before })).toMatchObject({ version: index });
    }
    const future = await store.load(Counter, 'past', { at: new Date(8.64e15) });
    expect(future).toMatchObject({ version: 3 });
    expect(await store.load(Counter, 'past', { at: new Date(-8.64e15) })).toMatchObject({
      version: 0,
    });
  });

  test('at a time and a version is the earlier of the two', async () => {
    const store = await open();
    const [, at] = moments as [Date, Date];
    expect(await store.load(Counter, 'past', { at, version: 3 })).toMatchObject({ version: 2 });
    expect(await store.load(Counter, 'past', { at, version: 1 })).toMatchObject({ version: 1 });
  });

  test('is no newest state for whoever executes next', async () => {
    const store = await open();
    await store.load(Counter, 'past', { version: 1 });
    const done = await store.execute(Counter, 'past', 'increment', {});
    expect(done).toMatchObject({ state: { count: 4 }, version: 4 });
  });

  test.each([{ version: 99 }, { version: -1 }, { version: 1.5 }, { at: new Date(Number.NaN) }])(
    'is refused at %j',
    async (moment) => {
      const store = await open();
      const loading = store.load(Counter, 'past', moment);
      expect(await rejectionOf(loading)).toMatchObject({ code: 'invalid-argument' });
    },
  );
});

test('a handler that throws is an error that names the event', async () => {
  const failure = new Error('what is this?');
  const Fragile = aggregate('counter', {
    events: { Incremented: event(type<{ to: number }>()) },
    initialState: () => ({ count: 0 }),
    evolve: {
      Incremented: () => {
        throw failure;
      },
    },
  });
  await (await open()).append(Counter.stream('fragile'), [Incremented({ to: 1 })]);
  const store = await open({ aggregates: [Fragile] as never });
  expect(await rejectionOf(store.load(Fragile, 'fragile'))).toMatchObject({
    code: 'evolve-failed',
    message: expect.stringContaining("event 1 of stream 'counter-fragile'"),
    cause: failure,
  });
});

test('another aggregate of the same category than the one opened with is refused', async () => {
  const store = await open();
  const Other = aggregate('user', {
    events: { UserCreated: event(type<{ email: string }>()) },
    initialState: () => 0,
    evolve: { UserCreated: () => 1 },
  });
  expect(await rejectionOf(store.load(Other, '1'))).toMatchObject({ code: 'unknown-aggregate' });
});
