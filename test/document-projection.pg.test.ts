import { documentProjection, readModel, type DocumentProjection } from 'stele';
import { describe, expect, expectTypeOf, test } from 'vitest';

import { ada, Counter, Note, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { useEmptyStore } from './support/empty-store.ts';
import {
  collect,
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

interface Profile {
  readonly status: 'new' | 'active';
  readonly email: string;
  readonly changes: number;
  readonly tags?: readonly string[];
}

const Profiles = documentProjection('profiles', {
  aggregates: [User],
  key: ({ streamId }) => User.idOf(streamId),
  initialState: (): Profile => ({ status: 'new', email: '', changes: 0 }),
  evolve: {
    UserCreated: (profile, { data }) => ({ ...profile, status: 'active', email: data.email }),
    EmailChanged: (profile, { data }) => ({
      ...profile,
      email: data.email,
      changes: profile.changes + 1,
    }),
    Tagged: (profile, { data }) =>
      data.tags.includes('gone') ? null : { ...profile, tags: data.tags },
  },
});

/** Counts how often each stream was incremented, or all of them under one key. */
const countsBy = (
  name: string,
  key: (streamId: string) => string | null,
): DocumentProjection<{ count: number; last: number }> =>
  documentProjection(name, {
    aggregates: [Counter],
    key: ({ streamId }) => key(streamId),
    initialState: () => ({ count: 0, last: 0 }),
    evolve: { Incremented: ({ count }, { data }) => ({ count: count + 1, last: data.to }) },
  });

const increment = (to: number) => Counter.emit.Incremented({ to });
const documentsOf = (name: string): Promise<object[]> =>
  database.query(`select * from "stele_${name}".documents order by key`);

describe('a document projection', () => {
  test('makes, changes and removes documents with the append', async () => {
    const store = await open({ projections: [Profiles] });
    await store.append(User.stream('a'), [emit.UserCreated(ada('a@example.com'))]);
    await store.append(User.stream('b'), [
      emit.UserCreated(ada('b@example.com')),
      emit.EmailChanged({ email: 'c@example.com' }),
    ]);
    expect(await documentsOf('profiles')).toEqual([
      { key: 'a', document: { status: 'active', email: 'a@example.com', changes: 0 } },
      { key: 'b', document: { status: 'active', email: 'c@example.com', changes: 1 } },
    ]);
    await store.append(User.stream('a'), [emit.Tagged({ tags: ['gone'] })]);
    expect(await documentsOf('profiles')).toMatchObject([{ key: 'b' }]);
  });

  test('begins again with the initial state after a document was removed', async () => {
    const store = await open({ projections: [Profiles] });
    await store.append(User.stream('a'), [
      emit.UserCreated(ada('a@example.com')),
      emit.Tagged({ tags: ['gone'] }),
      emit.EmailChanged({ email: 'b@example.com' }),
    ]);
    expect(await documentsOf('profiles')).toEqual([
      { key: 'a', document: { status: 'new', email: 'b@example.com', changes: 1 } },
    ]);
  });

  test('takes the stream’s id for a key unless told otherwise, and none for no document', async () => {
    const ByStream = documentProjection('by-stream', {
      aggregates: [Counter],
      initialState: () => ({ count: 0 }),
      evolve: { Incremented: ({ count }) => ({ count: count + 1 }) },
    });
    const Some = countsBy('some', (streamId) => (streamId === 'counter-a' ? 'a' : null));
    const store = await open({ projections: [ByStream, Some] });
    await store.append(Counter.stream('a'), [increment(1)]);
    await store.append(Counter.stream('b'), [increment(1)]);
    expect(await documentsOf('by-stream')).toMatchObject([
      { key: 'counter-a' },
      { key: 'counter-b' },
    ]);
    expect(await documentsOf('some')).toMatchObject([{ key: 'a' }]);
  });

  test('loads all documents of an append in one statement, and stores them in one', async () => {
    const pool = pools();
    const { sent } = countStatements(pool);
    const store = await open({ pool, projections: [countsBy('counts', (streamId) => streamId)] });
    const appendAll = (ids: readonly string[]) =>
      store.appendAll(
        ids.map((id) => ({ stream: Counter.stream(id), events: [increment(1), increment(2)] })),
      );
    await appendAll(['a', 'b', 'c']);
    sent.length = 0;
    await appendAll(['b', 'c', 'd']);
    expect(sent.filter((text) => text.includes('documents'))).toHaveLength(2);
    expect(await documentsOf('counts')).toHaveLength(4);
  });

  test('is exact when transactions make the same document at the same moment', async () => {
    const store = await open({ projections: [countsBy('all', () => 'all')] });
    await times(30, (id) => store.append(Counter.stream(`${id}`), [increment(id)]));
    expect(await documentsOf('all')).toMatchObject([{ document: { count: 30 } }]);
  });

  test('evolves what another transaction has made meanwhile', async () => {
    const store = await open({ projections: [countsBy('all', () => 'all')] });
    const client = await database.connect();
    await client.query('begin');
    await store.append(Counter.stream('a'), [increment(1)], { transaction: client });
    const append = store.append(Counter.stream('b'), [increment(1)]);
    await untilWaiting(database);
    await client.query('commit');
    await append;
    expect(await documentsOf('all')).toMatchObject([{ document: { count: 2 } }]);
    await client.end();
  });

  test('does not deadlock when two appends have the same documents in another order', async () => {
    const all = countsBy('all', (streamId) => streamId.slice(-1));
    const store = await open({ projections: [all] });
    const append = (from: number, ids: readonly string[]) =>
      store.appendAll(
        ids.map((id) => ({ stream: Counter.stream(`${from}${id}`), events: [increment(1)] })),
      );
    await times(20, (from) => append(from, from % 2 === 0 ? ['a', 'b', 'c'] : ['c', 'b', 'a']));
    expect(await documentsOf('all')).toMatchObject(
      ['a', 'b', 'c'].map((key) => ({ key, document: { count: 20 } })),
    );
  });
});

describe('a document that cannot be stored', () => {
  const Notes = documentProjection('notes', {
    aggregates: [Note],
    initialState: (): { readonly body: unknown } => ({ body: null }),
    evolve: {
      Written: (_, { data }) => ({ body: data.body === 'cycle' ? new Date() : data.body }),
    },
  });

  test('is refused with its path and the event, and nothing is stored', async () => {
    const store = await open({ projections: [Notes] });
    const written = (body: string) => Note.emit.Written({ body });
    const error = await rejectionOf(
      store.append(Note.stream('a'), [written('fine'), written('cycle')]),
    );
    expect(error).toMatchObject({
      code: 'projection-failed',
      version: 2,
      cause: { code: 'unstorable-value', path: ['body'] },
    });
    expect(String(error)).toContain(
      "Document 'note-a' of projection 'notes' cannot be stored: a Date at body",
    );
    expect(await store.load(Note, 'a')).toMatchObject({ version: 0 });
  });

  test('is refused where evolve returned nothing, changed the document in place, or threw', async () => {
    const wrong = (name: string, evolve: (document: { list: number[] }) => { list: number[] }) =>
      documentProjection(name, {
        aggregates: [Counter],
        initialState: () => ({ list: [0] }),
        evolve: { Incremented: evolve },
      });
    const failing = async (projection: DocumentProjection<{ list: number[] }>) => {
      const store = await open({ projections: [projection] });
      return rejectionOf(store.append(Counter.stream('a'), [increment(1)]));
    };
    // As JavaScript does that forgets to return.
    const nothing = wrong('nothing', () => undefined as unknown as { list: number[] });
    expect(String(await failing(nothing))).toContain('evolve returned undefined');
    const inPlace = wrong('in-place', (document) => {
      document.list.push(1);
      return document;
    });
    expect(String(await failing(inPlace))).toContain('object is not extensible');
    const throwing = wrong('throwing', () => {
      throw new Error('out of ink');
    });
    expect(await failing(throwing)).toMatchObject({ cause: { message: 'out of ink' } });
  });

  test('is refused where its key is none', async () => {
    const Keyless = countsBy('keyless', () => 'a\0b');
    const store = await open({ projections: [Keyless] });
    const error = await rejectionOf(store.append(Counter.stream('a'), [increment(1)]));
    expect(error).toMatchObject({
      code: 'projection-failed',
      cause: { code: 'invalid-argument' },
    });
  });
});

describe('reading documents', () => {
  const filled = async () => {
    const store = await open({ projections: [Profiles] });
    for (const [id, tags] of [
      ['ann', ['x', 'y']],
      ['bob', ['y']],
      ['cid', []],
    ] as const) {
      await store.append(User.stream(id), [
        emit.UserCreated(ada(`${id}@example.com`)),
        ...tags.map((tag) => emit.EmailChanged({ email: `${id}.${tag}@example.com` })),
        emit.Tagged({ tags: [...tags] }),
      ]);
    }
    return store;
  };

  test('finds one by its key', async () => {
    const store = await filled();
    const ann = await readModel(store, Profiles, (profiles) => profiles.get('ann'));
    expectTypeOf(ann).toEqualTypeOf<Profile | undefined>();
    expect(ann).toMatchObject({ email: 'ann.y@example.com', tags: ['x', 'y'] });
    expect(await readModel(store, Profiles, (profiles) => profiles.get('eve'))).toBeUndefined();
  });

  test('finds and counts those that contain something', async () => {
    const store = await filled();
    const found = await readModel(store, Profiles, async (profiles) => ({
      y: await profiles.find({ tags: ['y'] }),
      count: await profiles.count({ tags: ['y'] }),
      all: await profiles.count(),
      none: await profiles.find({ status: 'new' }),
    }));
    expect(found.y.map(({ key }) => key)).toEqual(['ann', 'bob']);
    expect(found).toMatchObject({ count: 2, all: 3, none: [] });
  });

  test('orders by a field, with those that do not have it last, and limits', async () => {
    const store = await filled();
    await store.append(User.stream('eve'), [emit.UserCreated(ada('eve@example.com'))]);
    const keys = await readModel(store, Profiles, async ({ find }) => {
      const queries = [
        () => find({}, { orderBy: 'changes', descending: true, limit: 2 }),
        () => find({}, { orderBy: 'tags' }),
        () => find({}, { orderBy: 'tags', descending: true }),
        () => find(undefined, { descending: true, limit: 1 }),
        () => find({ status: 'active' }, { limit: 0 }),
      ];
      const found = [];
      for (const query of queries) found.push((await query()).map(({ key }) => key));
      return found;
    });
    expect(keys[0]).toEqual(['ann', 'bob']);
    expect(keys[1]?.at(-1)).toBe('eve');
    expect(keys[2]?.at(-1)).toBe('eve');
    expect(keys.slice(3)).toEqual([['eve'], []]);
  });

  test('gives every one, page by page, and SQL for the rest', async () => {
    const store = await open({ projections: [countsBy('counts', (streamId) => streamId)] });
    const Counts = countsBy('counts', (streamId) => streamId);
    await store.appendAll(
      Array.from({ length: 2_500 }, (_, id) => ({
        stream: Counter.stream(`${id}`),
        events: [increment(id)],
      })),
    );
    const [keys, sum] = await readModel(store, Counts, async (counts) => {
      const { rows } = await counts.sql.query<{ sum: string }>(
        `select sum((document ->> 'last')::int) as sum from documents`,
      );
      return [(await collect(counts.all())).map(({ key }) => key), rows[0]?.sum] as const;
    });
    expect(new Set(keys).size).toBe(2_500);
    expect(keys).toEqual(keys.toSorted());
    expect(sum).toBe(String((2_499 * 2_500) / 2));
  });

  test('sees one moment, whatever is stored meanwhile', async () => {
    const store = await filled();
    const [reading, mayGoOn] = [signal(), signal()];
    const counts = readModel(store, Profiles, async (profiles) => {
      const before = await profiles.count();
      reading.give();
      await mayGoOn.given;
      return [before, await profiles.count()];
    });
    await reading.given;
    await store.append(User.stream('eve'), [emit.UserCreated(ada())]);
    mayGoOn.give();
    expect(await counts).toEqual([3, 3]);
  });

  test('is done through an index', async () => {
    await filled();
    const client = await database.connect();
    await client.query('set search_path = stele_profiles; set enable_seqscan = off');
    const { rows } = await client.query<{ 'QUERY PLAN': string }>(
      `explain select from documents where document @> '{"email": "x"}'`,
    );
    expect(JSON.stringify(rows)).toContain('documents_document');
    await client.end();
  });
});
