import { DuplicateEventError } from 'stele';
import { v4 as uuidV4, v7 as uuidV7 } from 'uuid';
import { describe, expect, test } from 'vitest';

import { Counter, Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { collect, rejectionOf, times, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const { Incremented } = Counter.emit;

async function versionOf(id: string): Promise<number> {
  return (await (await open()).load(Counter, id)).version;
}

describe('an append that is sent again with the same event ids', () => {
  const named = (...counts: number[]) => counts.map((to) => Incremented({ to }, { id: uuidV7() }));

  test('stores nothing, and returns the first result', async () => {
    const store = await open();
    const stream = Counter.stream('same-ids');
    const events = named(1, 2);
    const first = await store.append(stream, events, { metadata: { userId: 'first' } });
    await store.append(stream, [Incremented({ to: 3 })]);
    const again = await store.append(stream, events, { metadata: { userId: 'again' } });
    expect(again).toEqual({ ...first, deduplicated: true });
    expect(await versionOf('same-ids')).toBe(3);
  });

  test('returns the first result when its expected version has moved on, by itself or by others', async () => {
    const store = await open();
    const stream = Counter.stream('moved-on');
    const events = named(1);
    const options = { expectedVersion: 'no-stream' } as const;
    const first = await store.append(stream, events, options);
    expect(await store.append(stream, events, options)).toEqual({ ...first, deduplicated: true });
    await store.append(stream, named(2));
    expect(await store.append(stream, events, options)).toEqual({ ...first, deduplicated: true });
  });

  test.each([1, 3])('stores it once when 12 send it at once, from %i stores', async (count) => {
    const stores = await times(count, () => open());
    const id = `at-once-${count}`;
    const events = named(1, 2);
    const results = await times(12, async (sender) =>
      stores[sender % count]?.append(Counter.stream(id), events),
    );
    expect(results.filter((result) => result?.deduplicated === false)).toHaveLength(1);
    expect(new Set(results.map((result) => result?.position)).size).toBe(1);
    expect(await versionOf(id)).toBe(2);
  });

  test('does not disturb those who append to the stream at the same moment', async () => {
    const store = await open();
    const stream = Counter.stream('undisturbed');
    const events = named(1);
    await Promise.all([
      ...Array.from({ length: 6 }, () => store.append(stream, events)),
      ...Array.from({ length: 6 }, () => store.append(stream, [Incremented({ to: 2 })])),
    ]);
    expect(await versionOf('undisturbed')).toBe(7);
  });

  test('is a DuplicateEventError when the content differs', async () => {
    const store = await open();
    const stream = Counter.stream('content');
    const id = uuidV4();
    await store.append(stream, [Incremented({ to: 1 }, { id })]);
    const error = await rejectionOf(store.append(stream, [Incremented({ to: 2 }, { id })]));
    expect(error).toBeInstanceOf(DuplicateEventError);
    expect(error).toMatchObject({ code: 'duplicate-event', streamId: 'counter-content' });
    expect(await versionOf('content')).toBe(1);
  });

  test('is a DuplicateEventError when only some of the events are the same', async () => {
    const store = await open();
    const stream = Counter.stream('overlap');
    const [first, second, third] = [named(1)[0], named(2)[0], named(3)[0]] as const;
    if (first === undefined || second === undefined || third === undefined) throw new Error();
    await store.append(stream, [first, second]);
    for (const events of [
      [second, third],
      [third, first],
      [second, first],
    ]) {
      const error = await rejectionOf(store.append(stream, events));
      expect(error).toMatchObject({ code: 'duplicate-event', streamId: 'counter-overlap' });
    }
    expect(await versionOf('overlap')).toBe(2);
  });

  test('may use the same ids in another stream', async () => {
    const store = await open();
    const events = named(1);
    const [one, other] = [Counter.stream('ids-here'), Counter.stream('ids-there')];
    const results = [await store.append(one, events), await store.append(other, events)];
    expect(results.map(({ deduplicated }) => deduplicated)).toEqual([false, false]);
  });

  test('gives the ids back as they are stored, in lower case', async () => {
    const store = await open();
    const id = uuidV4().toUpperCase();
    const stream = Counter.stream('upper-case');
    const [event] = (await store.append(stream, [Incremented({ to: 1 }, { id })])).events;
    expect(event?.id).toBe(id.toLowerCase());
    const again = await store.append(stream, [Incremented({ to: 1 }, { id })]);
    expect(again.deduplicated).toBe(true);
  });

  test.each([
    ['no UUID', 'an-id', 'another-id'],
    [
      'one UUID twice',
      '018f0000-0000-7000-8000-00000000000a',
      '018f0000-0000-7000-8000-00000000000A',
    ],
  ])('is refused for %s', async (_, ...ids) => {
    const store = await open();
    const events = ids.map((id) => Incremented({ to: 1 }, { id }));
    const append = store.append(Counter.stream('refused'), events);
    expect(await rejectionOf(append)).toMatchObject({ code: 'invalid-argument' });
    expect(await versionOf('refused')).toBe(0);
  });
});

describe('an append to several streams that is sent again', () => {
  const ids = [uuidV7(), uuidV7()];
  const appends = [
    { stream: Counter.stream('left'), events: [Incremented({ to: 1 }, { id: ids[0] ?? '' })] },
    { stream: Counter.stream('right'), events: [Incremented({ to: 2 }, { id: ids[1] ?? '' })] },
  ] as const;

  test('with the same ids stores nothing, and returns the first result of each stream', async () => {
    const store = await open();
    const first = await store.appendAll(appends);
    const again = await store.appendAll(appends);
    expect(again).toEqual(first.map((result) => ({ ...result, deduplicated: true })));
  });

  test('with a stream more is a DuplicateEventError, and stores nothing there', async () => {
    const store = await open();
    const more = { stream: Counter.stream('more'), events: [Incremented({ to: 3 })] };
    const error = await rejectionOf(store.appendAll([more, ...appends]));
    expect(error).toMatchObject({ code: 'duplicate-event' });
    expect(await versionOf('more')).toBe(0);
  });

  test('with the same key stores nothing, and returns the first result of each stream', async () => {
    const store = await open();
    const options = { idempotencyKey: 'both' };
    const keyed = ['key-left', 'key-right'].map((id) => ({
      stream: Counter.stream(id),
      events: [Incremented({ to: 1 }), Incremented({ to: 2 })],
      expectedVersion: 'no-stream' as const,
    }));
    const first = await store.appendAll(keyed, options);
    const again = await store.appendAll(keyed, options);
    expect(again).toEqual(first.map((result) => ({ ...result, deduplicated: true })));
    const counts = await Promise.all(['key-left', 'key-right'].map(versionOf));
    expect(counts).toEqual([2, 2]);
  });
});

describe('an append that is sent again with the same idempotency key', () => {
  const options = { idempotencyKey: 'request-1', expectedVersion: 0 };

  test('stores nothing, and returns the first result, all events of it and no more', async () => {
    const store = await open();
    const stream = Counter.stream('key');
    const first = await store.append(
      stream,
      [1, 2, 3].map((to) => Incremented({ to })),
      options,
    );
    await store.append(stream, [Incremented({ to: 4 })]);
    await store.append(stream, [Incremented({ to: 5 })], { idempotencyKey: 'request-2' });
    const again = await store.append(stream, [Incremented({ to: 9 })], options);
    expect(again).toEqual({ ...first, deduplicated: true });
    expect(again.events.map(({ data }) => data)).toEqual([{ to: 1 }, { to: 2 }, { to: 3 }]);
    expect(await versionOf('key')).toBe(5);
  });

  test.each([1, 3])('stores it once when 12 send it at once, from %i stores', async (count) => {
    const stores = await times(count, () => open());
    const id = `key-at-once-${count}`;
    const events = [Incremented({ to: 1 }), Incremented({ to: 2 })];
    const results = await times(12, async (sender) =>
      stores[sender % count]?.append(Counter.stream(id), events, { idempotencyKey: 'k' }),
    );
    expect(results.filter((result) => result?.deduplicated === false)).toHaveLength(1);
    expect(new Set(results.map((result) => result?.position)).size).toBe(1);
    expect(await versionOf(id)).toBe(2);
  });

  test('keeps the key in the metadata of its events', async () => {
    const store = await open();
    await store.append(Counter.stream('kept'), [Incremented({ to: 1 })], {
      idempotencyKey: 'a\'"\\ü',
    });
    const [event] = await collect(store.readStream(Counter, 'kept'));
    expect(event?.metadata.idempotencyKey).toBe('a\'"\\ü');
  });

  test('is another append with another key, or in another stream', async () => {
    const store = await open();
    const events = [Incremented({ to: 1 })];
    const keys: [string, string][] = [
      ['apart', 'a'],
      ['apart', 'b'],
      ['apart-2', 'a'],
      ['a', 'apart-a'],
    ];
    for (const [id, idempotencyKey] of keys) {
      const { deduplicated } = await store.append(Counter.stream(id), events, { idempotencyKey });
      expect(deduplicated).toBe(false);
    }
  });

  test.each([
    ['is empty', '', {}],
    ['stands beside ids of its own', 'k', { id: uuidV7() }],
  ])('is refused when the key %s', async (_, idempotencyKey, event) => {
    const store = await open();
    const events = [Incremented({ to: 1 }, event)];
    const append = store.append(Counter.stream('no-key'), events, { idempotencyKey });
    expect(await rejectionOf(append)).toMatchObject({ code: 'invalid-argument' });
  });
});

test('payloads are compared as they are stored, whatever the order of their keys', async () => {
  const store = await open();
  const id = uuidV7();
  const bodies = [
    { a: 1, b: { c: [1.0, -0] } },
    { b: { c: [1, 0] }, a: 1, dropped: undefined },
  ];
  const results = [];
  for (const body of bodies) {
    results.push(
      await store.append(Note.stream('compared'), [Note.emit.Written({ body }, { id })]),
    );
  }
  expect(results.map(({ deduplicated }) => deduplicated)).toEqual([false, true]);
});
