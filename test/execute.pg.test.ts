import { aggregate, event, type } from 'stele';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

import { ada, Counter, Note, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { collect, countStatements, rejectionOf, usePools, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const pools = usePools(database);
const input = { email: 'ada@example.com', username: 'ada' };
const active = { status: 'active', tags: [], ...ada() };

describe('a command', () => {
  test('that is accepted stores its events, and answers with the state after them', async () => {
    const store = await open();
    const done = await store.execute(User, 'accepted', 'register', input, {
      metadata: { userId: 'clerk' },
    });
    const [stored] = await collect(store.readStream(User, 'accepted'));
    expect(stored).toMatchObject({
      type: 'UserCreated',
      data: ada(),
      metadata: { userId: 'clerk' },
    });
    expect(done).toEqual({
      ok: true,
      state: active,
      version: 1,
      events: [stored],
      position: stored?.position,
      deduplicated: false,
    });
  });

  test('that is rejected stores nothing, and answers with the typed reason', async () => {
    const store = await open();
    const done = await store.execute(User, 'rejected', 'changeEmail', { email: 'b@example.com' });
    const error = { rejected: true, type: 'NotActive', data: {} };
    expect(done).toEqual({ ok: false, error, state: { status: 'absent' }, version: 0 });
    expect(await collect(store.readStream(User, 'rejected'))).toEqual([]);
  });

  test('that decides nothing is accepted and stores nothing', async () => {
    const store = await open();
    await store.execute(User, 'same', 'register', input);
    const done = await store.execute(User, 'same', 'changeEmail', { email: input.email });
    const nothing = { events: [], position: undefined, deduplicated: false };
    expect(done).toEqual({ ok: true, state: active, version: 1, ...nothing });
  });

  test('with a wrong input is a ValidationError before anything is sent', async () => {
    const pool = pools();
    const { sent } = countStatements(pool);
    const store = await open({ pool });
    sent.length = 0;
    const done = store.execute(User, 'invalid', 'register', { email: 'no', username: 'ada' });
    expect(await rejectionOf(done)).toMatchObject({
      code: 'validation',
      issues: [{ path: ['email'] }],
    });
    expect(sent).toEqual([]);
  });

  test('that throws passes its error on as it is', async () => {
    const failure = new Error('the tax service is down');
    const Failing = aggregate('failing', {
      events: { Done: event<{ by: string }>() },
      initialState: () => ({ done: false }),
      evolve: { Done: () => ({ done: true }) },
      commands: {
        fail: {
          input: type<{}>(),
          decide: () => {
            throw failure;
          },
        },
      },
    });
    const store = await open({ aggregates: [Failing] as never });
    expect(await rejectionOf(store.execute(Failing, '1', 'fail', {}))).toBe(failure);
  });
});

describe('a state in memory that another store has made stale', () => {
  test('does not reject what would be accepted now', async () => {
    const [store, other] = [await open(), await open()];
    await store.execute(User, 'stale-1', 'register', input);
    await other.append(User.stream('stale-1'), [
      User.emit.EmailChanged({ email: 'b@example.com' }),
    ]);
    // On the stale state, going back to the first address is nothing to do.
    const done = await store.execute(User, 'stale-1', 'changeEmail', { email: input.email });
    expect(done).toMatchObject({ ok: true, version: 3, events: [{ type: 'EmailChanged' }] });
  });

  test('does not accept what would be rejected now', async () => {
    const [store, other] = [await open(), await open()];
    await store.load(User, 'stale-2');
    await other.execute(User, 'stale-2', 'register', input);
    const done = await store.execute(User, 'stale-2', 'register', input);
    expect(done).toMatchObject({ ok: false, error: { type: 'AlreadyRegistered' }, version: 1 });
  });

  test('costs no attempt', async () => {
    const [store, other] = [await open(), await open()];
    await store.execute(Counter, 'stale-3', 'increment', {});
    await other.execute(Counter, 'stale-3', 'increment', {});
    const done = await store.execute(Counter, 'stale-3', 'increment', {}, { attempts: 1 });
    expect(done).toMatchObject({ ok: true, state: { count: 3 }, version: 3 });
  });
});

describe('an expected version of a command', () => {
  test.each(['from memory', 'read'])('is judged when the state is %s', async (source) => {
    const store = await open(source === 'read' ? { cachedStates: 0 } : {});
    const id = `expected ${source}`;
    for (const _ of [1, 2]) await store.execute(Counter, id, 'increment', {});
    const increment = (expectedVersion: 0 | 1 | 2 | 'no-stream' | 'stream-exists' | 'any') =>
      store.execute(Counter, id, 'increment', {}, { expectedVersion });
    for (const expectedVersion of [0, 1, 'no-stream'] as const) {
      const conflict = { code: 'concurrency', expectedVersion, actualVersion: 2 };
      expect(await rejectionOf(increment(expectedVersion))).toMatchObject(conflict);
    }
    expect(await increment(2)).toMatchObject({ ok: true, version: 3 });
    expect(await increment('stream-exists')).toMatchObject({ ok: true, version: 4 });
    expect(await increment('any')).toMatchObject({ ok: true, version: 5 });
  });

  test('that only the stale state in memory meets is a ConcurrencyError', async () => {
    const [store, other] = [await open(), await open()];
    await store.execute(Counter, 'expected-stale', 'increment', {});
    await other.execute(Counter, 'expected-stale', 'increment', {});
    const outdated = store.execute(
      Counter,
      'expected-stale',
      'increment',
      {},
      { expectedVersion: 1 },
    );
    expect(await rejectionOf(outdated)).toMatchObject({ code: 'concurrency', actualVersion: 2 });
  });

  test('that the newest state meets is accepted though the one in memory does not', async () => {
    const [store, other] = [await open(), await open()];
    await store.execute(Counter, 'expected-newer', 'increment', {});
    await other.execute(Counter, 'expected-newer', 'increment', {});
    const done = await store.execute(
      Counter,
      'expected-newer',
      'increment',
      {},
      { expectedVersion: 2 },
    );
    expect(done).toMatchObject({ ok: true, version: 3 });
  });

  test('is a ConcurrencyError also for a command that would be rejected', async () => {
    const store = await open();
    await store.execute(User, 'expected-rejected', 'register', input);
    const again = store.execute(User, 'expected-rejected', 'register', input, {
      expectedVersion: 0,
    });
    expect(await rejectionOf(again)).toMatchObject({ code: 'concurrency', actualVersion: 1 });
  });
});

describe('several commands on one stream', () => {
  const changeTo = (email: string) => User.command.changeEmail({ email });

  test('each decide on the state that the ones before them leave', async () => {
    const store = await open();
    const commands = [
      User.command.register(input),
      changeTo('b@example.com'),
      changeTo('c@example.com'),
    ];
    const done = await store.executeAll(User, 'several', commands);
    expect(done).toMatchObject({ ok: true, version: 3, state: { email: 'c@example.com' } });
    expect(done.ok && done.events.map(({ version }) => version)).toEqual([1, 2, 3]);
  });

  test('are all rejected with the first that is', async () => {
    const store = await open();
    const commands = [
      User.command.register(input),
      User.command.register(input),
      changeTo('b@example.com'),
    ];
    const done = await store.executeAll(User, 'first-rejection', commands);
    expect(done).toMatchObject({ ok: false, error: { type: 'AlreadyRegistered' }, version: 0 });
    expect(await store.load(User, 'first-rejection')).toMatchObject({ version: 0 });
  });

  test('must be commands of this aggregate', async () => {
    const store = await open();
    const foreign = [{ category: 'counter', name: 'register', input }] as never;
    expect(await rejectionOf(store.executeAll(User, 'foreign', foreign))).toMatchObject({
      code: 'invalid-argument',
    });
  });

  test('of which there are none are accepted, and store nothing', async () => {
    const store = await open();
    expect(await store.executeAll(User, 'none', [])).toMatchObject({ ok: true, events: [] });
  });
});

describe('the state in memory', () => {
  test('is frozen all the way down, so that a caller cannot change it for others', async () => {
    const store = await open();
    const body = { list: [{ deep: 1 }] };
    const { state } = await store.execute(Note, 'frozen', 'write', { body });
    const { list } = state.body as typeof body;
    expect(() => list.push({ deep: 2 })).toThrow(TypeError);
    expect(() => Object.assign(list[0] ?? {}, { deep: 2 })).toThrow(TypeError);
    expect(await store.load(Note, 'frozen')).toEqual({ state: { body }, version: 1 });
  });

  test('is apart from what the caller has put in', async () => {
    const store = await open();
    const body = { list: [1] };
    await store.execute(Note, 'apart', 'write', { body });
    body.list.push(2);
    const { state } = await store.load(Note, 'apart');
    expect(state.body).toEqual({ list: [1] });
  });

  test('is what reading the events would give', async () => {
    const store = await open();
    const body = { dropped: undefined, kept: -0 };
    const done = await store.execute(Note, 'same-as-read', 'write', { body });
    const fresh = await (await open()).load(Note, 'same-as-read');
    expect(done.state).toStrictEqual(fresh.state);
  });

  test('is dropped for the stream that was used longest ago', async () => {
    const pool = pools();
    const { sent } = countStatements(pool);
    const store = await open({ pool, cachedStates: 2 });
    for (const id of ['lru-1', 'lru-2', 'lru-3']) await store.execute(Counter, id, 'increment', {});
    const trips = async (id: string): Promise<number> => {
      sent.length = 0;
      await store.execute(Counter, id, 'increment', {});
      return sent.length;
    };
    expect([await trips('lru-3'), await trips('lru-2'), await trips('lru-1')]).toEqual([1, 1, 2]);
  });
});

describe('the round trips of a command', () => {
  test('are two with no state in memory, and one with it', async () => {
    const pool = pools({ max: 1 });
    const { sent } = countStatements(pool);
    const store = await open({ pool });
    const trips = async (task: Promise<unknown>): Promise<number> => {
      sent.length = 0;
      await task;
      return sent.length;
    };
    expect(await trips(store.execute(User, 'trips', 'register', input))).toBe(2);
    const change = store.execute(User, 'trips', 'changeEmail', { email: 'b@example.com' });
    expect(await trips(change)).toBe(1);
  });
});

test('while a command decides, no connection is held', async () => {
  const pool = pools({ max: 1 });
  const Asking = aggregate('asking', {
    events: { Asked: event(z.object({ count: z.int() })) },
    initialState: () => ({ count: 0 }),
    evolve: { Asked: (_, { data }) => data },
    commands: {
      ask: {
        input: z.object({}),
        decide: async (_, { count }, { emit }) => {
          await pool.query('select 1');
          return emit.Asked({ count: count + 1 });
        },
      },
    },
  });
  const store = await open({ pool, aggregates: [Asking] as never });
  const asked = [1, 2, 3].map((id) => store.execute(Asking, `${id}`, 'ask', {}));
  expect(await Promise.all(asked)).toMatchObject([{ ok: true }, { ok: true }, { ok: true }]);
});
