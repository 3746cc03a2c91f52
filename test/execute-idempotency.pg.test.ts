import { describe, expect, test } from 'vitest';

import { ada, Counter, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { times, useStores } from './support/store.ts';

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
