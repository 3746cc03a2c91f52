import { afterAll, beforeAll, expect, test } from 'vitest';

import { openRuntime, openStore, reaction, subscription } from 'stele';
import type { Store } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { signal } from './support/store.ts';
import {
  createSeen,
  notices,
  partitionsOf,
  see,
  seenBy,
  stored,
  until,
  parkAfter,
} from './support/subscriptions.ts';

const database = useDatabase();
const stores: Store[] = [];
beforeAll(async () => {
  await createSeen(database);
  for (let n = 0; n < 2; n += 1) {
    stores.push(await openStore({ connection: database.connectionString, aggregates: [Note] }));
  }
});
afterAll(() => Promise.all(stores.map((store) => store.close())));

function storeAt(index: number): Store {
  const store = stores[index];
  if (store === undefined) throw new Error('There are two stores.');
  return store;
}

async function append(): Promise<number> {
  const events = [Note.emit.Written({ body: 1 })];
  return (await storeAt(0).append(Note.stream(crypto.randomUUID()), events)).position;
}

test('what is paused by one process rests in all of them, until it is resumed', async () => {
  const Paused = subscription('paused', {
    aggregates: [Note],
    partitions: 4,
    on: { Written: see('paused') },
  });
  // Long leases: that it is heard of at once is due to the notification.
  const options = { run: [Paused], leaseMs: 60_000 };
  await using first = await openRuntime(storeAt(0), options);
  await using second = await openRuntime(storeAt(1), options);
  await first.waitFor(Paused, await append());
  await second.pause(Paused);
  await until(
    () => partitionsOf(database, 'paused'),
    (rows) => rows.every(({ owner, status }) => owner === null && status === 'waiting'),
  );
  const before = (await seenBy(database, 'paused')).length;
  const position = await append();
  expect(await first.status()).toMatchObject([{ name: 'paused', paused: true }]);
  await expect(first.waitFor(Paused, position, { timeoutMs: 50 })).rejects.toThrow('it is paused');
  expect(await seenBy(database, 'paused')).toHaveLength(before);

  await first.resume(Paused);
  await first.waitFor(Paused, position);
  expect((await first.status())[0]?.paused).toBe(false);
  for (const partition of [0, 1, 2, 3]) {
    const part = { partitions: 4, partition };
    expect(await seenBy(database, 'paused', part)).toEqual(await stored(database, 'note', part));
  }
});

test('what is paused stays paused when everything is started again', async () => {
  const Resting = subscription('resting', {
    aggregates: [Note],
    from: 'now',
    on: { Written: see('resting') },
  });
  await (async () => {
    await using runtime = await openRuntime(storeAt(0), { run: [Resting] });
    await runtime.pause('resting');
  })();
  await using runtime = await openRuntime(storeAt(0), { run: [Resting] });
  const position = await append();
  expect(await partitionsOf(database, 'resting')).toMatchObject([{ owner: null }]);
  await runtime.resume('resting');
  await runtime.waitFor(Resting, position);
});

test('what is reset handles everything from there a second time', async () => {
  const Reset = subscription('reset', { aggregates: [Note], on: { Written: see('reset') } });
  await using runtime = await openRuntime(storeAt(0), { run: [Reset] });
  await append();
  await runtime.caughtUp();
  const all = await stored(database);
  await runtime.reset(Reset, 'beginning');
  await until(
    () => seenBy(database, 'reset'),
    ({ length }) => length >= all.length * 2,
  );
  await runtime.caughtUp();
  expect(await seenBy(database, 'reset')).toEqual([...all, ...all]);
  const middle = all.at(-2) ?? 0;
  await runtime.reset(Reset, { position: middle });
  await until(
    () => seenBy(database, 'reset'),
    ({ length }) => length > all.length * 2,
  );
  await runtime.caughtUp();
  expect(await seenBy(database, 'reset')).toEqual([...all, ...all, all.at(-1)]);
});

test('whoever waits after a reset waits for the second time', async () => {
  const goOn = signal();
  let count = 0;
  let isHeld = false;
  const Second = subscription('second', {
    aggregates: [Note],
    from: 'now',
    on: {
      Written: async () => {
        if (isHeld) await goOn.given;
        count += 1;
      },
    },
  });
  await using runtime = await openRuntime(storeAt(0), { run: [Second] });
  const position = await append();
  await runtime.waitFor(Second, position);
  isHeld = true;
  await runtime.reset(Second, { position: position - 1 });
  await expect(runtime.waitFor(Second, position, { timeoutMs: 50 })).rejects.toMatchObject({
    code: 'wait-timeout',
    checkpoint: position - 1,
  });
  goOn.give();
  await runtime.waitFor(Second, position);
  expect(count).toBe(2);
});

test('a reset forgets what was set aside', async () => {
  let bad = true;
  const Forgetting = reaction('forgetting', {
    aggregates: [Note],
    from: 'now',
    ...parkAfter(1),
    on: {
      Written: () => {
        if (bad) throw new Error('bad');
      },
    },
  });
  const { onNotice } = notices();
  await using runtime = await openRuntime(storeAt(0), { run: [Forgetting], onNotice });
  const position = await append();
  await runtime.waitFor(Forgetting, position);
  expect(await runtime.parked(Forgetting)).toHaveLength(1);
  bad = false;
  await runtime.reset(Forgetting, { position: position - 1 });
  await runtime.waitFor(Forgetting, position);
  expect(await runtime.parked(Forgetting)).toEqual([]);
});

test('the status says of every partition who has it, since when, and how far it is', async () => {
  const Watched = subscription('watched', {
    aggregates: [Note],
    from: 'now',
    partitions: 2,
    on: { Written: see('watched') },
  });
  const runtime = await openRuntime(storeAt(0), { run: [Watched] });
  const position = await append();
  await runtime.caughtUp();
  const of = async (): Promise<unknown> =>
    (await runtime.status()).find(({ name }) => name === 'watched');
  const expected = (partition: number): unknown => ({
    partition,
    status: 'running',
    owner: expect.stringMatching(new RegExp(` ${process.pid}$`)) as string,
    since: expect.any(Date) as Date,
    epoch: 1,
    lag: { events: 0, ms: 0 },
    parked: 0,
    error: undefined,
  });
  expect(await of()).toMatchObject({
    kind: 'transactional',
    paused: false,
    partitions: [expected(0), expected(1)],
  });
  await runtime.close();
  await append();
  expect(await of()).toMatchObject({
    partitions: [
      { status: 'waiting', owner: undefined },
      { status: 'waiting', owner: undefined },
    ],
  });
  const rows = await partitionsOf(database, 'watched');
  expect(Math.max(...rows.map(({ checkpoint }) => checkpoint))).toBeGreaterThanOrEqual(position);
});

test('what nobody has run is not known', async () => {
  await using runtime = await openRuntime(storeAt(0), { run: [] });
  for (const act of [
    () => runtime.pause('nobody'),
    () => runtime.resume('nobody'),
    () => runtime.retry('nobody'),
    () => runtime.reset('nobody', 'now'),
    () => runtime.replay('nobody'),
    () => runtime.discard('nobody'),
  ]) {
    await expect(act()).rejects.toMatchObject({ code: 'invalid-argument' });
  }
});

test('a runtime refuses what it cannot run', async () => {
  const Twice = subscription('twice', { aggregates: [Note], on: { Written: see('twice') } });
  await expect(openRuntime(storeAt(0), { run: [Twice, Twice] })).rejects.toThrow(`'twice'`);
  await expect(openRuntime(storeAt(0), { run: [Twice], leaseMs: 1 })).rejects.toThrow('100');
  const Named = subscription('with space', { aggregates: [Note], on: { Written: see('x') } });
  await expect(openRuntime(storeAt(0), { run: [Named] })).rejects.toMatchObject({
    code: 'invalid-argument',
  });
});
