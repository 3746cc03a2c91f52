import { projection, type RecordedEvent } from 'stele';
import { describe, expect, test } from 'vitest';

import { Counter, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { collect, times, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const { Incremented } = Counter.emit;

/** The events of each stream, in the order of their versions. */
function byStream(events: readonly RecordedEvent[]): RecordedEvent[][] {
  const ids = [...new Set(events.map(({ streamId }) => streamId))];
  return ids.map((id) =>
    events.filter(({ streamId }) => streamId === id).toSorted((a, b) => a.version - b.version),
  );
}

function expectGrowing(numbers: readonly number[]): void {
  expect(numbers).toEqual([...new Set(numbers)].toSorted((a, b) => a - b));
}

describe('after random concurrent appends', () => {
  let events: RecordedEvent[] = [];

  test('what was answered is what is stored', async () => {
    const stores = await times(3, () => open());
    const answered = await times(60, async (caller) => {
      const results = [];
      for (let round = 0; round < 5; round += 1) {
        const store = stores[(caller + round) % 3] ?? (await open());
        const ids = [`random-${(caller * 7 + round) % 9}`, `random-${(caller + round * 5) % 9}`];
        const appends = [...new Set(ids)].map((id, place) => ({
          stream: Counter.stream(id),
          events: Array.from({ length: 1 + ((caller + place) % 3) }, (_, to) =>
            Incremented({ to }),
          ),
          expectedVersion: round === 3 ? round : ('any' as const),
        }));
        results.push(await store.appendAll(appends).catch(() => []));
      }
      return results.flat(2).flatMap((result) => result.events);
    });
    events = await collect(stores[0]?.read({ aggregates: [Counter] }) ?? empty());
    const byPosition = (list: readonly RecordedEvent[]): RecordedEvent[] =>
      list.toSorted((a, b) => a.position - b.position);
    expect(byPosition(events)).toEqual(byPosition(answered.flat()));
    expect(events.length).toBeGreaterThan(400);
  });

  test('versions have no holes', () => {
    for (const stream of byStream(events)) {
      expect(stream.map(({ version }) => version)).toEqual(stream.map((_, index) => index + 1));
    }
  });

  test('positions grow with the versions of a stream, and none is given twice', () => {
    for (const stream of byStream(events)) expectGrowing(stream.map(({ position }) => position));
    expectGrowing(events.map(({ position }) => position));
  });

  test('the head of each stream is at its last version', async () => {
    const heads = await database.query<{ stream_id: string; version: number }>(
      'select stream_id, version::int from stele.streams where version > 0',
    );
    const lasts = byStream(events).map((stream) => stream.at(-1));
    expect(new Map(heads.map((head) => [head.stream_id, head.version]))).toEqual(
      new Map(lasts.map((last) => [last?.streamId, last?.version])),
    );
  });

  test('time never goes back within a stream', () => {
    for (const stream of byStream(events)) {
      const moments = stream.map(({ metadata }) => metadata.timestamp.getTime());
      expect(moments).toEqual(moments.toSorted((a, b) => a - b));
    }
  });
});

async function* empty(): AsyncGenerator<never> {}

test('time does not go back within a stream when the clock does', async () => {
  const store = await open();
  const stream = Counter.stream('clock');
  await store.append(stream, [Incremented({ to: 1 })]);
  // As if the clock had been an hour ahead until now.
  await database.query(
    `update stele.streams set recorded_at = recorded_at + interval '1 hour' where stream_id = $1`,
    [stream.streamId],
  );
  const inAnHour = Date.now() + 3_500_000;
  const other = { stream: Counter.stream('clock-2'), events: [Incremented({ to: 1 })] };
  const later = [
    await store.append(stream, [Incremented({ to: 2 })]),
    await store.append(stream, [Incremented({ to: 3 }), Incremented({ to: 4 })]),
    ...(await store.appendAll([{ stream, events: [Incremented({ to: 5 })] }])),
    ...(await store.appendAll([other, { stream, events: [Incremented({ to: 6 })] }])).slice(1),
  ];
  for (const { events } of later) {
    for (const { metadata } of events) {
      expect(metadata.timestamp.getTime()).toBeGreaterThan(inAnHour);
    }
  }
});

test('an append that was made after another was stored has a higher position, in any stream', async () => {
  const stores = await times(3, () => open());
  const chains = await times(20, async (chain) => {
    const positions: number[] = [];
    for (let link = 0; link < 10; link += 1) {
      const store = stores[(chain + link) % 3];
      const stream = Counter.stream(`cause-${(chain * 3 + link * 7) % 23}`);
      const result = await store?.append(stream, [Incremented({ to: link })]);
      positions.push(result?.position ?? 0);
    }
    return positions;
  });
  for (const positions of chains) expectGrowing(positions);
});

const Nothing = projection('nothing', {
  aggregates: [Counter],
  on: { Incremented: () => undefined },
});

describe.each([
  ['appends', {}],
  ['appends with an inline projection', { projections: [Nothing] }],
])('%s of one caller that are not awaited', (kind, options) => {
  test('are stored in the order they were made, stream by stream', async () => {
    const store = await open(options);
    const appends = Array.from({ length: 300 }, (_, index) => {
      const events = [Incremented({ to: index })];
      const stream = Counter.stream(`${kind} ${index % 4}`);
      if (index % 11 === 0) {
        return store.appendAll([
          { stream: Counter.stream(`${kind} x`), events },
          { stream, events },
        ]);
      }
      const expectedVersion = index % 5 === 0 && index > 3 ? 'stream-exists' : 'any';
      return store.append(stream, events, { expectedVersion });
    });
    await Promise.all(appends);
    for (const number of [0, 1, 2, 3]) {
      const stored = await collect(store.readStream(Counter, `${kind} ${number}`));
      const expected = Array.from({ length: 75 }, (_, index) => index * 4 + number);
      expect(stored.map(({ data }) => data.to)).toEqual(expected);
    }
  });

  test("take each other's place for granted: exact versions, all sent at once", async () => {
    const store = await open(options);
    const stream = Counter.stream(`${kind} exact`);
    const versions = await times(50, async (expectedVersion) => {
      const result = await store.append(stream, [Incremented({ to: 0 })], { expectedVersion });
      return result.version;
    });
    expect(versions).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
  });
});

test('events of different aggregates in one append keep the order given', async () => {
  const store = await open();
  const results = await store.appendAll([
    { stream: User.stream('z'), events: [User.emit.EmailChanged({ email: 'z@example.com' })] },
    { stream: Counter.stream('a'), events: [Incremented({ to: 1 })] },
  ]);
  expectGrowing(results.map(({ position }) => position));
});
