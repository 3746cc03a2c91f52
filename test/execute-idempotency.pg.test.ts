import { aggregate, event } from 'stele';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

import { ada, Counter, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { signal, times, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);

describe('a command that is sent again with the same idempotency key', () => {
  const input = { email: 'ada@example.com', username: 'ada' };
  const options = { idempotencyKey: 'sign-up' };

  test('returns its first result, also when it would be rejected by now', async () => {
    const store = await open();
    const first = await store.execute(User, 'again', 'register', input, options);
    await store.execute(User, 'again', 'changeEmail', { email: 'b@example.com' });
    for (const again of [store, await open()]) {
      const result = await again.execute(User, 'again', 'register', input, options);
      expect(result).toEqual({ ...first, deduplicated: true });
      expect(result.state).toMatchObject({ email: input.email });
    }
  });

  test('does not hide another command that comes with its key', async () => {
    const store = await open();
    await store.execute(User, 'other', 'register', input, options);
    const other = { email: 'other@example.com' };
    const changed = await store.execute(User, 'other', 'changeEmail', other, options);
    expect(changed).toMatchObject({ ok: true, deduplicated: false, version: 2, state: other });
  });

  test('returns its first result when its expected version has moved on', async () => {
    const store = await open();
    const expecting = { ...options, expectedVersion: 'no-stream' as const };
    const first = await store.execute(User, 'expecting', 'register', input, expecting);
    const again = await store.execute(User, 'expecting', 'register', input, expecting);
    expect(again).toEqual({ ...first, deduplicated: true });
  });

  test.each([1, 3])('is executed once when 12 send it at once, from %i stores', async (count) => {
    const stores = await times(count, () => open());
    const id = `command-at-once-${count}`;
    const results = await times(12, async (sender) =>
      stores[sender % count]?.execute(User, id, 'register', input, {
        ...options,
        expectedVersion: 'no-stream',
      }),
    );
    const state = { status: 'active', tags: [], ...ada() };
    expect(
      results.map((result) => ({
        ...result,
        events: undefined,
        position: undefined,
        deduplicated: undefined,
      })),
    ).toEqual(results.map(() => ({ ok: true, state, version: 1 })));
    expect(results.filter((result) => result?.ok && !result.deduplicated)).toHaveLength(1);
  });

  test('is another one when its name is another', async () => {
    const store = await open();
    await store.execute(User, 'names', 'register', input, options);
    const change = { email: 'b@example.com' };
    const changed = await store.execute(User, 'names', 'changeEmail', change, options);
    expect(changed).toMatchObject({ ok: true, version: 2, deduplicated: false });
  });

  test('counts once, whatever it was decided on', async () => {
    const stores = await times(3, () => open());
    const results = await times(24, async (sender) => {
      const idempotencyKey = `increment ${sender % 4}`;
      return stores[sender % 3]?.execute(Counter, 'counted', 'increment', {}, { idempotencyKey });
    });
    for (const result of results) {
      expect(result).toMatchObject({ ok: true, state: { count: result?.version } });
    }
    expect(await stores[0]?.load(Counter, 'counted')).toEqual({ state: { count: 4 }, version: 4 });
  });
});

describe('a command whose first sending is stored while it decides', () => {
  /** Sums what is added; the first decision of all waits, and then decides `first`. */
  function adding(first: 'add' | 'nothing') {
    const [decides, mayGoOn] = [signal(), signal()];
    let decisions = 0;
    const Sum = aggregate(`sum_${first}`, {
      events: { Added: event(z.object({ amount: z.int() })) },
      initialState: () => ({ sum: 0 }),
      evolve: { Added: ({ sum }, { data }) => ({ sum: sum + data.amount }) },
      errors: { Enough: z.object({}) },
      commands: {
        add: {
          input: z.object({ amount: z.int() }),
          decide: async (input, { sum }, { emit, reject }) => {
            decisions += 1;
            if (decisions > 1) return sum > 100 ? reject.Enough() : emit.Added(input);
            decides.give();
            await mayGoOn.given;
            return first === 'add' ? emit.Added(input) : [];
          },
        },
      },
    });
    return { Sum, decides, mayGoOn, options: { aggregates: [Sum] as never } };
  }
  const key = { idempotencyKey: 'k' };

  test('returns the state after that, with what others have stored before it', async () => {
    const { Sum, decides, mayGoOn, options } = adding('add');
    const [store, other] = [await open(options), await open(options)];
    const second = store.execute(Sum, '1', 'add', { amount: 10 }, key);
    await decides.given;
    await other.execute(Sum, '1', 'add', { amount: 1 });
    const first = await other.execute(Sum, '1', 'add', { amount: 10 }, key);
    mayGoOn.give();
    expect(await second).toEqual({ ...first, deduplicated: true });
    expect(first).toMatchObject({ ok: true, state: { sum: 11 }, version: 2 });
  });

  test('returns its result, and not that it is rejected by now', async () => {
    const { Sum, decides, mayGoOn, options } = adding('nothing');
    const [store, other] = [await open(options), await open(options)];
    await store.append(Sum.stream('1'), [Sum.emit.Added({ amount: 100 })]);
    await store.load(Sum, '1');
    const second = store.execute(Sum, '1', 'add', { amount: 10 }, key);
    await decides.given;
    const first = await other.execute(Sum, '1', 'add', { amount: 10 }, key);
    mayGoOn.give();
    expect(await second).toEqual({ ...first, deduplicated: true });
    expect(first).toMatchObject({ ok: true, state: { sum: 110 }, version: 2 });
  });
});
