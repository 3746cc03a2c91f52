import { afterAll, beforeAll, expect, test } from 'vitest';

import { openRuntime, openStore, reaction, subscription } from 'stele';
import type { Store, Subscription } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { createSeen, notices, see, seenBy, until, parkAfter } from './support/subscriptions.ts';

const database = useDatabase();
let store: Store;
beforeAll(async () => {
  await createSeen(database);
  store = await openStore({ connection: database.connectionString, aggregates: [Note] });
});
afterAll(() => store.close());

/** Records every event whose body is not in `bad`, which is changed by the test. */
function parking(name: string, bad: ReadonlySet<unknown>): Subscription {
  const record = see(name);
  return subscription(name, {
    aggregates: [Note],
    from: 'now',
    ...parkAfter(2),
    on: {
      Written: async (event, sql) => {
        await record(event, sql);
        if (bad.has(event.data.body)) throw new Error(`cannot take ${String(event.data.body)}`);
      },
    },
  });
}

async function append(id: string, ...bodies: unknown[]): Promise<number[]> {
  const events = bodies.map((body) => Note.emit.Written({ body }));
  const result = await store.append(Note.stream(id), events);
  return result.events.map(({ position }) => position);
}

test('an event is set aside with all later ones of its stream, and others go on', async () => {
  const bad = new Set<unknown>(['b']);
  const Parking = parking('parking', bad);
  const { onNotice, all } = notices();
  await using runtime = await openRuntime(store, { run: [Parking], onNotice });
  const [a, b, c] = await append('parked', 'a', 'b', 'c');
  const [other] = await append('other', 'o');
  const [d = 0] = await append('parked', 'd');
  await runtime.waitFor(Parking, d);
  expect(await seenBy(database, 'parking')).toEqual([a, other]);
  expect(all.filter(({ kind }) => kind === 'parked')).toHaveLength(1);
  const streamId = 'note-parked';
  expect(await runtime.parked(Parking)).toMatchObject([
    { streamId, version: 2, position: b, attempts: 2, error: { message: 'cannot take b' } },
    { streamId, version: 3, position: c, attempts: 0, error: undefined },
    { streamId, version: 4, position: d, attempts: 0, error: undefined },
  ]);
  const status = (await runtime.status()).find(({ name }) => name === 'parking');
  expect(status?.partitions).toMatchObject([{ status: 'running', parked: 3, checkpoint: d }]);

  bad.clear();
  expect(await runtime.replay(Parking)).toBe(3);
  await until(
    () => runtime.parked(Parking),
    ({ length }) => length === 0,
  );
  const [e = 0] = await append('parked', 'e');
  await runtime.waitFor(Parking, e);
  expect(await seenBy(database, 'parking')).toEqual([a, other, b, c, d, e]);
});

test('what is set aside stays so when the process changes', async () => {
  const bad = new Set<unknown>(['b']);
  const Kept = parking('kept', bad);
  const options = { run: [Kept], onNotice: () => undefined };
  const [b = 0] = await (async () => {
    await using runtime = await openRuntime(store, options);
    const positions = await append('kept', 'b');
    await runtime.waitFor(Kept, positions[0] ?? 0);
    return positions;
  })();
  bad.clear();
  await using runtime = await openRuntime(store, options);
  const [c = 0] = await append('kept', 'c');
  await runtime.waitFor(Kept, c);
  expect(await seenBy(database, 'kept')).toEqual([]);
  await runtime.replay(Kept, { streamId: 'note-kept' });
  await until(
    () => seenBy(database, 'kept'),
    ({ length }) => length === 2,
  );
  expect(await seenBy(database, 'kept')).toEqual([b, c]);
});

test('a replay that fails again keeps the later ones waiting, and undoes what it did', async () => {
  const bad = new Set<unknown>(['b', 'd']);
  const Again = parking('again', bad);
  await using runtime = await openRuntime(store, { run: [Again], onNotice: () => undefined });
  const positions = await append('again', 'a', 'b', 'c', 'd', 'e');
  const [a, b, c, d, e = 0] = positions;
  await runtime.waitFor(Again, e);
  await runtime.replay(Again);
  await until(
    () => runtime.parked(Again),
    ([first]) => first?.attempts === 3 && first.request === undefined,
  );
  expect(await seenBy(database, 'again')).toEqual([a]);

  bad.delete('b');
  await runtime.replay(Again);
  await until(
    () => runtime.parked(Again),
    ([first]) => first?.position === d && first?.attempts === 1 && first.request === undefined,
  );
  expect(await seenBy(database, 'again')).toEqual([a, b, c]);
  expect(await runtime.parked(Again)).toMatchObject([
    { position: d, error: { message: 'cannot take d' } },
    { position: e, attempts: 0, error: undefined, request: undefined },
  ]);
});

test('after the one that fails is discarded, a replay gives the rest', async () => {
  const bad = new Set<unknown>(['b']);
  const Discarding = parking('discarding', bad);
  await using runtime = await openRuntime(store, { run: [Discarding], onNotice: () => undefined });
  const [a, , c, d = 0] = await append('discarding', 'a', 'b', 'c', 'd');
  await runtime.waitFor(Discarding, d);
  const streamId = 'note-discarding';
  expect(await runtime.discard(Discarding, { streamId, version: 2 })).toBe(1);
  await until(
    () => runtime.parked(Discarding),
    ({ length }) => length === 2,
  );
  // What is left still waits, and so does what comes.
  const [e = 0] = await append('discarding', 'e');
  await runtime.waitFor(Discarding, e);
  expect(await seenBy(database, 'discarding')).toEqual([a]);
  expect(await runtime.replay(Discarding, { streamId })).toBe(3);
  await until(
    () => runtime.parked(Discarding),
    ({ length }) => length === 0,
  );
  expect(await seenBy(database, 'discarding')).toEqual([a, c, d, e]);
});

test('no event overtakes an earlier one of its stream, even when it alone is asked for', async () => {
  const bad = new Set<unknown>(['b']);
  const Overtaking = parking('overtaking', bad);
  await using runtime = await openRuntime(store, { run: [Overtaking], onNotice: () => undefined });
  const [a, b, c = 0] = await append('overtaking', 'a', 'b', 'c');
  await runtime.waitFor(Overtaking, c);
  bad.clear();
  const streamId = 'note-overtaking';
  expect(await runtime.replay(Overtaking, { streamId, version: 3 })).toBe(1);
  expect(await runtime.parked(Overtaking)).toMatchObject([
    { version: 2, request: undefined },
    { version: 3, request: 'replay' },
  ]);
  // Its partition has come by once more, and left it alone.
  const [other = 0] = await append('overtaking-other', 'o');
  await runtime.waitFor(Overtaking, other);
  await runtime.replay(Overtaking, { streamId, version: 2 });
  await until(
    () => runtime.parked(Overtaking),
    ({ length }) => length === 0,
  );
  expect(await seenBy(database, 'overtaking')).toEqual([a, other, b, c]);
});

test('requests for events of several streams are carried out stream by stream', async () => {
  const bad = new Set<unknown>(['bad']);
  const Several = parking('several', bad);
  await using runtime = await openRuntime(store, { run: [Several], onNotice: () => undefined });
  const [one] = await append('several-1', 'bad');
  const [two] = await append('several-2', 'bad');
  const [, three = 0] = await append('several-1', 'x', 'y');
  await runtime.waitFor(Several, three);
  bad.clear();
  expect(await runtime.discard(Several, { streamId: 'note-several-1', version: 1 })).toBe(1);
  expect(await runtime.replay(Several, { streamId: 'note-several-2' })).toBe(1);
  await until(
    () => runtime.parked(Several),
    ({ length }) => length === 2,
  );
  expect(await seenBy(database, 'several')).toEqual([two]);
  expect((await runtime.parked(Several)).map(({ streamId }) => streamId)).toEqual([
    'note-several-1',
    'note-several-1',
  ]);
  expect(one).toBeLessThan(three);
  await expect(runtime.replay(Several, { version: 2 })).rejects.toMatchObject({
    code: 'invalid-argument',
  });
});

test('a reaction sets aside, too', async () => {
  const bad = new Set<unknown>(['b']);
  const handled: unknown[] = [];
  const Reacting = reaction('reacting', {
    aggregates: [Note],
    from: 'now',
    ...parkAfter(1),
    on: {
      Written: async ({ data }) => {
        if (bad.has(data.body)) throw new Error('not this one');
        handled.push(data.body);
      },
    },
  });
  await using runtime = await openRuntime(store, { run: [Reacting], onNotice: () => undefined });
  await append('reacting', 'a', 'b', 'c');
  const [other = 0] = await append('beside', 'o');
  await runtime.waitFor(Reacting, other);
  expect(handled).toEqual(['a', 'o']);
  bad.clear();
  await runtime.replay(Reacting);
  await until(
    () => runtime.parked(Reacting),
    ({ length }) => length === 0,
  );
  expect(handled).toEqual(['a', 'o', 'b', 'c']);
});
