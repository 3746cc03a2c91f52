import { aggregate, event, type } from 'stele';
import { describe, expect, test } from 'vitest';

import { Counter, Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { collect, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);

/** Appends each body, and returns what history says of each. */
async function changesOf(id: string, bodies: readonly unknown[]): Promise<unknown[]> {
  const store = await open();
  await store.append(
    Note.stream(id),
    bodies.map((body) => Note.emit.Written({ body })),
  );
  const entries = await collect(store.history(Note, id));
  return entries.map(({ changes }) =>
    changes.map(({ kind, path, before, after }) => [kind, path.slice(1).join('.'), before, after]),
  );
}

describe('the history of a stream', () => {
  test('is empty when it does not exist', async () => {
    const store = await open();
    expect(await collect(store.history(Counter, 'absent'))).toEqual([]);
  });

  test('gives each event with the state before and after it', async () => {
    const store = await open();
    const { events } = await store.append(
      Counter.stream('steps'),
      [1, 2, 2].map((to) => Counter.emit.Incremented({ to })),
    );
    const change = (before: number, after: number) => ({
      kind: 'changed',
      path: ['count'],
      before,
      after,
    });
    const entry = (index: number, before: number, after: number, changes: object[]): object => ({
      event: events[index],
      before: { count: before },
      after: { count: after },
      changes,
    });
    expect(await collect(store.history(Counter, 'steps'))).toEqual([
      entry(0, 0, 1, [change(0, 1)]),
      entry(1, 1, 2, [change(1, 2)]),
      entry(2, 2, 2, []),
    ]);
    expect(await collect(store.history(Counter, 'steps', { to: 1 }))).toHaveLength(1);
    const until = events[2]?.metadata.timestamp;
    expect(await collect(store.history(Counter, 'steps', { until }))).toHaveLength(3);
  });

  test.each<[string, unknown[], unknown[]]>([
    ['nested values', [{ a: { b: 1, c: 1 } }, { a: { b: 2, c: 1 } }], [['changed', 'a.b', 1, 2]]],
    [
      'a key that is added',
      [{ a: 1 }, { a: 1, b: { c: 2 } }],
      [['added', 'b', undefined, { c: 2 }]],
    ],
    ['a key that is removed', [{ a: 1, b: [2] }, { a: 1 }], [['removed', 'b', [2], undefined]]],
    [
      'elements of arrays',
      [
        [1, [2]],
        [1, [3]],
      ],
      [['changed', '1.0', 2, 3]],
    ],
    ['an array that grows', [[1], [1, 2]], [['added', '1', undefined, 2]]],
    [
      'an array that shrinks',
      [[1, 2], [2]],
      [
        ['changed', '0', 1, 2],
        ['removed', '1', 2, undefined],
      ],
    ],
    ['an array that becomes an object', [[1], { 0: 1 }], [['changed', '', [1], { 0: 1 }]]],
    ['a value that becomes null', [{ a: {} }, { a: null }], [['changed', 'a', {}, null]]],
    ['a bare value', ['a', 'b'], [['changed', '', 'a', 'b']]],
    [
      'keys that every object inherits',
      [{}, { constructor: 1, toString: 2 }],
      [
        ['added', 'toString', undefined, 2],
        ['added', 'constructor', undefined, 1],
      ],
    ],
    ['nothing', [{ a: [1, { b: null }] }, { a: [1, { b: null }] }], []],
  ])('tells of %s', async (name, bodies, changes) => {
    const [, second] = await changesOf(name, bodies);
    expect(second).toEqual(changes);
  });

  test('counts what is no plain object as one value', async () => {
    type State = { at: Date; members: Map<string, number>; tags: Set<string> };
    const Rich = aggregate('rich', {
      events: { Joined: event(type<{ name: string; at: number }>()) },
      initialState: (): State => ({ at: new Date(0), members: new Map(), tags: new Set() }),
      evolve: {
        Joined: ({ members, tags }, { data }) => ({
          at: new Date(data.at),
          members: new Map(members).set(data.name, 1),
          tags: new Set(tags),
        }),
      },
    });
    const store = await open({ aggregates: [Rich] as never });
    const joined = (name: string, at: number) => Rich.emit.Joined({ name, at });
    await store.append(Rich.stream('1'), [joined('ann', 0), joined('ann', 5)]);
    const paths = (await collect(store.history(Rich, '1'))).map(({ changes }) =>
      changes.map(({ path }) => path.join('.')),
    );
    expect(paths).toEqual([['members'], ['at']]);
    const blame = await store.blame(Rich, '1');
    expect(blame.map(({ path, event }) => [path.join('.'), event?.version])).toEqual([
      ['at', 2],
      ['members', 1],
      ['tags', undefined],
    ]);
  });
});

describe('blame', () => {
  /** For each value, the version of the event that last set it. */
  async function blameOf(id: string, bodies: readonly unknown[]): Promise<unknown> {
    const store = await open();
    if (bodies.length > 0) {
      await store.append(
        Note.stream(id),
        bodies.map((body) => Note.emit.Written({ body })),
      );
    }
    const blame = await store.blame(Note, id);
    return Object.fromEntries(
      blame.map(({ path, event }) => [path.slice(1).join('.'), event?.version]),
    );
  }

  test.each<[string, unknown[], object]>([
    ['a stream that does not exist', [], { '': undefined }],
    [
      'values that were never set again',
      [
        { a: 1, b: 1 },
        { a: 1, b: 2 },
      ],
      { a: 1, b: 2 },
    ],
    ['a value that is set back', [{ a: 1 }, { a: 2 }, { a: 1 }], { a: 3 }],
    [
      'values that came with their object',
      [{ a: { b: 1, c: 1 } }, { a: { b: 1, c: 2 } }],
      { 'a.b': 1, 'a.c': 2 },
    ],
    ['an object that was replaced', [{ a: 1 }, { a: { b: 1 } }], { 'a.b': 2 }],
    [
      'a key that was removed and came again',
      [{ a: 1, b: 1 }, { b: 1 }, { a: 1, b: 1 }],
      { a: 3, b: 1 },
    ],
    ['elements that moved', [[1, 2], [2]], { 0: 2 }],
    ['an object that lost all it had', [{ a: { b: 1 } }, { a: {} }], { a: 2 }],
    [
      'an object that lost all and got something',
      [{ a: { b: 1 } }, { a: {} }, { a: { c: 1 } }],
      { 'a.c': 3 },
    ],
    ['an empty array', [[], [1], []], { '': 3 }],
    ['a bare value', [1, 2, 2], { '': 2 }],
  ])('of %s', async (name, bodies, blame) => {
    expect(await blameOf(`blame: ${name}`, bodies)).toEqual(blame);
  });

  test('up to a version or a moment tells of then', async () => {
    const store = await open();
    const bodies = [1, 2, 3].map((body) => Note.emit.Written({ body }));
    const { events } = await store.append(Note.stream('then'), bodies);
    const [entry] = await store.blame(Note, 'then', { to: 2 });
    expect(entry).toEqual({ path: ['body'], value: 2, event: events[1] });
    const [before] = await store.blame(Note, 'then', { until: new Date(0) });
    expect(before).toEqual({ path: ['body'], value: null, event: undefined });
  });
});
