import { aggregate, event, type } from 'stele';
import { describe, expect, test } from 'vitest';

import { Counter, Note, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { collect, countStatements, rejectionOf, usePools, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const pools = usePools(database);

const circle: { self?: unknown } = {};
circle.self = circle;
const deep = Array.from({ length: 2_000 }).reduce<unknown>((inner) => [inner], 1);

describe('a payload that JSON or Postgres cannot hold', () => {
  test.each<[string, unknown, string]>([
    ['a NUL', { text: 'a\u0000b' }, 'body.text'],
    ['a lone surrogate', ['ok', '\ud800'], 'body[1]'],
    ['a lone surrogate in a key', { '\udc00': 1 }, 'body'],
    ['NaN', { n: Number.NaN }, 'body.n'],
    ['Infinity', [[Infinity]], 'body[0][0]'],
    ['a bigint', { big: 1n }, 'body.big'],
    ['a Date', { at: new Date() }, 'body.at'],
    ['a Map', { map: new Map() }, 'body.map'],
    ['undefined in an array', [1, undefined], 'body[1]'],
    ['a function', { f: () => 1 }, 'body.f'],
    ['a circle', circle, 'body.self'],
    ['too much depth', deep, 'body[0][0]'],
  ])('is refused before anything is sent, and its place is named: %s', async (_, body, path) => {
    const pool = pools();
    const { sent } = countStatements(pool);
    const store = await open({ pool });
    sent.length = 0;
    const written = [Note.emit.Written({ body: 1 }), Note.emit.Written({ body })];
    const refused = { code: 'unstorable-value', message: expect.stringContaining(path) };
    const appends = [
      store.append(Note.stream('refused'), written),
      store.appendAll([
        { stream: Counter.stream('beside'), events: [Counter.emit.Incremented({ to: 1 })] },
        { stream: Note.stream('refused'), events: written },
      ]),
    ];
    for (const error of await Promise.all(appends.map(rejectionOf))) {
      expect(error).toMatchObject(refused);
    }
    expect(sent).toEqual([]);
    expect(await rejectionOf(store.execute(Note, 'refused', 'write', { body }))).toMatchObject(
      refused,
    );
    expect(sent.filter((text) => text.includes('insert'))).toEqual([]);
  });

  test('is refused in metadata too', async () => {
    const store = await open();
    const append = store.append(Note.stream('metadata'), [Note.emit.Written({ body: 1 })], {
      metadata: { userId: 'a\u0000' },
    });
    expect(await rejectionOf(append)).toMatchObject({ code: 'unstorable-value', path: ['userId'] });
  });
});

describe('a payload that its schema refuses', () => {
  test('is a ValidationError before anything is sent, with every place', async () => {
    const pool = pools();
    const { sent } = countStatements(pool);
    const store = await open({ pool });
    sent.length = 0;
    const wrong = User.emit.UserCreated({ email: 'no', username: 7 } as never);
    const error = await rejectionOf(store.append(User.stream('wrong'), [wrong]));
    const paths = ['email', 'username', 'hashedPassword'].map((key) => ({ path: [key] }));
    expect(error).toMatchObject({ code: 'validation', issues: paths });
    expect(error).toHaveProperty(
      'message',
      expect.stringContaining("event UserCreated of stream 'user-wrong'"),
    );
    expect(sent).toEqual([]);
  });

  test('is stored as the schema returns it', async () => {
    const store = await open();
    const extra = { email: 'a@example.com', extra: 1 };
    await store.append(User.stream('extra'), [User.emit.EmailChanged(extra)]);
    const [stored] = await collect(store.readStream(User, 'extra'));
    expect(stored?.data).toEqual({ email: 'a@example.com' });
  });

  test.each([
    ['of another aggregate', { category: 'user', type: 'Incremented', data: { to: 1 } }],
    ['that the aggregate does not declare', { category: 'counter', type: 'Vanished', data: {} }],
    ['that every object inherits', { category: 'counter', type: 'constructor', data: {} }],
  ])('is refused when it is an event %s', async (_, foreign) => {
    const store = await open();
    const append = store.append(Counter.stream('foreign'), [foreign as never]);
    expect(await rejectionOf(append)).toMatchObject({ code: 'invalid-argument' });
  });
});

describe('a payload that looks dangerous', () => {
  const poison =
    '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},"a":1}';

  test('pollutes nothing, and comes back as it was', async () => {
    const store = await open();
    const body: unknown = JSON.parse(poison);
    const done = await store.execute(Note, 'poison', 'write', { body });
    const fresh = await open();
    const read = await collect(fresh.readStream(Note, 'poison'));
    for (const { data } of [...read, ...(done.ok ? done.events : [])]) {
      expect(JSON.parse(JSON.stringify(data.body))).toEqual(body);
      expect(Object.getPrototypeOf(data.body)).toBe(Object.prototype);
      expect(data.body).not.toHaveProperty('polluted');
    }
    const history = await collect(fresh.history(Note, 'poison'));
    expect(history).toHaveLength(1);
    expect((await fresh.blame(Note, 'poison')).length).toBeGreaterThan(0);
    expect({}).not.toHaveProperty('polluted');
  });

  test('pollutes nothing through metadata', async () => {
    const store = await open();
    const metadata = JSON.parse('{"__proto__":{"polluted":true},"userId":"ann"}') as object;
    await store.append(Note.stream('meta'), [Note.emit.Written({ body: 1 })], { metadata });
    const [event] = await collect(store.readStream(Note, 'meta'));
    expect(event?.metadata.userId).toBe('ann');
    expect({}).not.toHaveProperty('polluted');
  });

  test('is data when it looks like SQL, an array or a number', async () => {
    const store = await open();
    const bodies = [
      "'; drop table events; --",
      '{1,2}',
      '{"a"}',
      'NULL',
      '\\',
      '\\u0041',
      '$1',
      1e308,
      -0.1,
      '🎉',
      '',
    ];
    await store.append(
      Note.stream('sql'),
      bodies.map((body) => Note.emit.Written({ body })),
    );
    for (const body of bodies)
      await store.append(Note.stream('sql'), [Note.emit.Written({ body })]);
    const stored = await collect(store.readStream(Note, 'sql'));
    expect(stored.map(({ data }) => data.body)).toEqual([...bodies, ...bodies]);
  });

  test('is stored whole when it is large', async () => {
    const store = await open();
    const body = 'ß'.repeat(3_000_000);
    await store.append(Note.stream('large'), [Note.emit.Written({ body })]);
    const { state } = await (await open()).load(Note, 'large');
    expect(state.body === body).toBe(true);
  });
});

test('a payload may be any JSON value', async () => {
  const Any = aggregate('any', {
    events: { Seen: event(type<string | number | boolean | null | readonly number[]>()) },
    initialState: (): unknown[] => [],
    evolve: { Seen: (all, { data }) => [...all, data] },
  });
  const store = await open({ aggregates: [Any] as never });
  const values = [null, 'text', 0, false, [1, 2]];
  for (const value of values) await store.append(Any.stream('1'), [Any.emit.Seen(value)]);
  await store.append(
    Any.stream('1'),
    values.map((value) => Any.emit.Seen(value)),
  );
  expect((await store.load(Any, '1')).state).toEqual([...values, ...values]);
});
