import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { openRuntime, openStore, subscription } from 'stele';
import type { StartingPoint, Store, Subscription, Transaction } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { createSeen, partitionsOf, see, seenBy, stored, until } from './support/subscriptions.ts';

const database = useDatabase();
let store: Store;
beforeAll(async () => {
  await createSeen(database);
  store = await openStore({ connection: database.connectionString, aggregates: [Note] });
  for (let n = 0; n < 10; n += 1) await append();
});
afterAll(() => store.close());

async function append(transaction?: Transaction): Promise<number> {
  const events = [Note.emit.Written({ body: 1 })];
  return (await store.append(Note.stream(crypto.randomUUID()), events, { transaction })).position;
}

function starting(name: string, from: StartingPoint, partitions = 1): Subscription {
  return subscription(name, { aggregates: [Note], from, partitions, on: { Written: see(name) } });
}

async function after(position: number): Promise<number[]> {
  return (await stored(database)).filter((candidate) => candidate > position);
}

test('from the beginning: everything', async () => {
  const Beginning = starting('beginning', 'beginning');
  await using runtime = await openRuntime(store, { run: [Beginning] });
  await runtime.caughtUp();
  await runtime.waitFor(Beginning, await append());
  expect(await seenBy(database, 'beginning')).toEqual(await stored(database));
});

test('after a position: what comes behind it', async () => {
  const positions = await stored(database);
  const position = positions[4] ?? 0;
  const Position = starting('position', { position });
  await using runtime = await openRuntime(store, { run: [Position] });
  await runtime.caughtUp();
  expect(await seenBy(database, 'position')).toEqual(positions.slice(5));
});

describe('from now', () => {
  test('nothing that was committed before, and everything after', async () => {
    const Now = starting('now', 'now', 3);
    await append();
    await using runtime = await openRuntime(store, { run: [Now] });
    const first = await append();
    await runtime.waitFor(Now, await append());
    for (const partition of [0, 1, 2]) {
      const part = { partitions: 3, partition };
      const expected = (await stored(database, 'note', part)).filter((n) => n >= first);
      expect(await seenBy(database, 'now', part)).toEqual(expected);
    }
  });

  test('what is in flight and commits later belongs to it', async () => {
    const session = await database.connect();
    await session.query('begin');
    const early = await append(session);
    const late = await append();
    const InFlight = starting('in-flight', 'now');
    await using runtime = await openRuntime(store, { run: [InFlight] });
    await session.query('commit');
    const last = await append();
    await runtime.waitFor(InFlight, last);
    // It may begin a little earlier for that, but in order and without a hole.
    const seen = await seenBy(database, 'in-flight');
    expect(seen).toEqual(await after((seen[0] ?? 0) - 1));
    expect(seen).toEqual(expect.arrayContaining([early, late, last]));
  });
});

describe('from a time', () => {
  test('everything that was stored then or later', async () => {
    const positions = await stored(database);
    const [middle] = await database.query<{ recorded_at: Date }>(
      'select recorded_at from stele.events where position = $1',
      [positions[5]],
    );
    const Time = starting('time', { time: middle?.recorded_at ?? new Date() });
    await using runtime = await openRuntime(store, { run: [Time] });
    await runtime.caughtUp();
    const [expected] = await database.query<{ positions: number[] }>(
      `select array_agg(position::int order by position) as positions from stele.events
       where recorded_at >= $1`,
      [middle?.recorded_at],
    );
    expect(expected?.positions).toContain(positions[5]);
    expect(await seenBy(database, 'time')).toEqual(expected?.positions);
  });

  test('in the future: what comes from now on', async () => {
    const Future = starting('future', { time: new Date(Date.now() + 3_600_000) });
    await using runtime = await openRuntime(store, { run: [Future] });
    const position = await append();
    await runtime.waitFor(Future, position);
    expect(await seenBy(database, 'future')).toEqual([position]);
  });

  test('what is committed while it starts belongs to it', async () => {
    const time = new Date();
    const session = await database.connect();
    await session.query('begin');
    const early = await append(session);
    const late = await append();
    await using other = await openStore({
      connection: { connectionString: database.connectionString, application_name: 'starting' },
      aggregates: [Note],
    });
    const Committing = starting('committing', { time });
    const opening = openRuntime(other, { run: [Committing] });
    await until(
      () =>
        database.query(
          `select from pg_stat_activity
           where application_name = 'starting' and datname = current_database()
             and query like '%watermark%'`,
        ),
      ({ length }) => length > 0,
    );
    await session.query('commit');
    await using runtime = await opening;
    await runtime.caughtUp();
    const seen = await seenBy(database, 'committing');
    expect(seen).toEqual(expect.arrayContaining([early, late]));
    expect(seen).toEqual(await after((seen[0] ?? 0) - 1));
  });
});

test('started again, it goes on from its checkpoint, wherever it is said to begin', async () => {
  const first = starting('again', 'beginning');
  const again = starting('again', 'now');
  await (async () => {
    await using runtime = await openRuntime(store, { run: [first] });
    await runtime.caughtUp();
  })();
  await append();
  await append();
  await using runtime = await openRuntime(store, { run: [again] });
  await runtime.caughtUp();
  expect(await seenBy(database, 'again')).toEqual(await stored(database));
});

test('two that start at the same moment begin at the same position', async () => {
  const Twin = starting('twin', 'now', 4);
  await using other = await openStore({
    connection: database.connectionString,
    aggregates: [Note],
  });
  const runtimes = await Promise.all(
    [store, other].map((one) => openRuntime(one, { run: [Twin], leaseMs: 1_000 })),
  );
  const rows = await partitionsOf(database, 'twin');
  expect(new Set(rows.map(({ partition }) => partition))).toEqual(new Set([0, 1, 2, 3]));
  const first = await append();
  for (let n = 0; n < 10; n += 1) await append();
  await runtimes[0]?.caughtUp();
  const seen = (await seenBy(database, 'twin', { partitions: 1 })).toSorted((a, b) => a - b);
  expect(seen).toEqual(await after(first - 1));
  await Promise.all(runtimes.map((runtime) => runtime.close()));
});

test.each([
  ['a position that is none', { position: -1 }],
  ['a time that is none', { time: new Date('never') }],
] as const)('%s is refused', async (_, from) => {
  await expect(openRuntime(store, { run: [starting('wrong', from)] })).rejects.toMatchObject({
    code: 'invalid-argument',
  });
});

test('another number of partitions than it has is refused', async () => {
  await using _runtime = await openRuntime(store, { run: [starting('split', 'now', 2)] });
  await expect(openRuntime(store, { run: [starting('split', 'now', 3)] })).rejects.toMatchObject({
    code: 'invalid-argument',
    message: expect.stringContaining('partitions: 2') as string,
  });
});
