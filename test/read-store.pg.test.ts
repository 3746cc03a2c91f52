import { aggregate, causedBy, event, type RecordedEvent } from 'stele';
import { v7 as uuidV7 } from 'uuid';
import { beforeAll, describe, expect, test } from 'vitest';

import { ada, aggregates, Counter, Note, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { collect, rejectionOf, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);

/** Another aggregate with an event `Written`, which is stored under another name. */
const Letter = aggregate('letter', {
  events: { Written: event<{ body: unknown }>().storedAs('letter-written') },
  initialState: () => 0,
  evolve: { Written: (count) => count + 1 },
});
const all = { aggregates: [...aggregates, Letter] as never };

let stored: RecordedEvent[] = [];
beforeAll(async () => {
  const store = await open(all);
  const changed = User.emit.EmailChanged({ email: 'b@example.com' });
  const incremented = Counter.emit.Incremented({ to: 1 });
  const results = [
    await store.append(User.stream('1'), [User.emit.UserCreated(ada()), changed]),
    await store.append(
      Counter.stream('1'),
      Array.from({ length: 2_500 }, () => incremented),
    ),
    await store.append(Note.stream('1'), [Note.emit.Written({ body: 1 })]),
    await store.append(User.stream('2'), [User.emit.UserCreated(ada()), changed]),
    await store.append(Letter.stream('1'), [Letter.emit.Written({ body: 2 })]),
    await store.append(Counter.stream('2'), [incremented]),
  ];
  stored = results.flatMap(({ events }) => [...events]);
});

describe('reading the store', () => {
  test('gives every event once, in the order of positions, over all pages', async () => {
    const store = await open(all);
    expect(await collect(store.read())).toEqual(stored);
  });

  test('of one aggregate gives its events only', async () => {
    const store = await open(all);
    const counters = stored.filter(({ streamId }) => streamId.startsWith('counter-'));
    expect(await collect(store.read({ aggregates: [Counter] }))).toEqual(counters);
  });

  test('of several aggregates gives the events of each', async () => {
    const store = await open(all);
    const both = stored.filter(({ streamId }) => /^(user|note)-/u.test(streamId));
    expect(await collect(store.read({ aggregates: [User, Note] }))).toEqual(both);
  });

  test('of some types gives those only, by their names in each aggregate', async () => {
    const store = await open(all);
    const of = (...types: string[]): RecordedEvent[] =>
      stored.filter(({ type }) => types.includes(type));
    const types = ['EmailChanged'] as const;
    expect(await collect(store.read({ aggregates: [User], types }))).toEqual(of('EmailChanged'));
    const written = await collect(store.read({ aggregates: [Note, Letter], types: ['Written'] }));
    expect(written).toEqual(of('Written'));
    expect(await collect(store.read({ types: ['Written', 'UserCreated'] }))).toEqual(
      of('Written', 'UserCreated'),
    );
  });

  test('after a position gives what follows, up to a limit', async () => {
    const store = await open(all);
    const after = stored[1]?.position ?? 0;
    expect(await collect(store.read({ after }))).toEqual(stored.slice(2));
    expect(await collect(store.read({ after, limit: 1_001 }))).toEqual(stored.slice(2, 1_003));
    expect(await collect(store.read({ aggregates: [User], after, limit: 1 }))).toEqual([
      stored[2_503],
    ]);
    expect(await collect(store.read({ after: stored.at(-1)?.position ?? 0 }))).toEqual([]);
    expect(await collect(store.read({ limit: 0 }))).toEqual([]);
  });

  test('of no aggregates or no types gives nothing', async () => {
    const store = await open(all);
    expect(await collect(store.read({ aggregates: [] }))).toEqual([]);
    expect(await collect(store.read({ types: [] }))).toEqual([]);
  });

  test('ends when it is aborted, before it begins and in between', async () => {
    const store = await open(all);
    const reason = new Error('enough');
    const aborted = collect(store.read({ signal: AbortSignal.abort(reason) }));
    expect(await rejectionOf(aborted)).toBe(reason);
    const controller = new AbortController();
    let seen = 0;
    const reading = (async () => {
      for await (const _ of store.read({ signal: controller.signal })) {
        seen += 1;
        if (seen === 1_500) controller.abort(reason);
      }
    })();
    expect(await rejectionOf(reading)).toBe(reason);
    expect(seen).toBeLessThanOrEqual(2_000);
  });

  test('of a type that no aggregate has is refused', async () => {
    const store = await open(all);
    const reading = async (): Promise<unknown> =>
      collect(store.read({ types: ['Nothing' as never] }));
    expect(await rejectionOf(reading())).toMatchObject({ code: 'invalid-argument' });
  });

  test.each([{ after: 1.5 }, { after: -1 }, { limit: Number.NaN }])(
    '%j is refused',
    async (range) => {
      const store = await open(all);
      const reading = async (): Promise<unknown> => collect(store.read(range));
      expect(await rejectionOf(reading())).toMatchObject({ code: 'invalid-argument' });
    },
  );
});

describe('an event by its id', () => {
  test('is that event', async () => {
    const store = await open(all);
    const [first] = stored;
    expect(await store.event(first?.id ?? '')).toEqual(first);
    expect(await store.event((first?.id ?? '').toUpperCase())).toEqual(first);
  });

  test.each([uuidV7(), 'no UUID', ''])('is undefined when there is none: %j', async (id) => {
    const store = await open(all);
    expect(await store.event(id)).toBeUndefined();
  });
});

describe('a correlation', () => {
  test('is a tree of what caused what', async () => {
    const store = await open(all);
    const append = async (id: string, correlationId?: string): Promise<RecordedEvent> => {
      const events = [Counter.emit.Incremented({ to: 1 })];
      const result = await store.append(Counter.stream(id), events, {
        metadata: { correlationId },
      });
      return result.events[0] as RecordedEvent;
    };
    const root = await append('tree', 'request-7');
    const left = await causedBy(root, () => append('left'));
    const right = await causedBy(root, () => append('right'));
    const leaf = await causedBy(left, () => append('leaf'));
    const apart = await append('apart', 'request-7');
    await append('other', 'request-8');
    const node = (event: RecordedEvent, ...caused: object[]): object => ({ event, caused });
    expect(await store.correlation('request-7')).toEqual([
      node(root, node(left, node(leaf)), node(right)),
      node(apart),
    ]);
  });

  test('keeps an event that claims to be its own cause', async () => {
    const store = await open(all);
    const id = uuidV7();
    await store.append(Counter.stream('own'), [Counter.emit.Incremented({ to: 1 }, { id })], {
      metadata: { correlationId: 'own', causationId: id },
    });
    expect(await store.correlation('own')).toMatchObject([{ event: { id }, caused: [] }]);
  });

  test('that nobody has is empty', async () => {
    const store = await open(all);
    expect(await store.correlation('nobody')).toEqual([]);
    expect(await store.correlation(uuidV7())).toEqual([]);
  });
});
