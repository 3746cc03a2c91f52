import { beforeAll, expect, test } from 'vitest';

import { openRuntime, subscription } from 'stele';
import type { Runtime, Subscription } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { signal, useStores } from './support/store.ts';
import { createSeen, partitionsOf, see, seenBy, stored, until } from './support/subscriptions.ts';

const database = useDatabase();
const open = useStores(database);
beforeAll(() => createSeen(database));

/** A lease that no test waits for: what happens here happens without one ending. */
const leaseMs = 6_000;

function balanced(name: string, partitions: number): Subscription {
  return subscription(name, { aggregates: [Note], partitions, on: { Written: see(name) } });
}

/** How many partitions each owner has, the most first. */
async function shares(name: string): Promise<number[]> {
  const rows = await partitionsOf(database, name);
  const owned = new Map<string, number>();
  for (const { owner } of rows) {
    if (owner !== null) owned.set(owner, (owned.get(owner) ?? 0) + 1);
  }
  return [...owned.values()].toSorted((a, b) => b - a);
}

async function untilShared(name: string, expected: readonly number[]): Promise<void> {
  await until(
    () => shares(name),
    (found) => JSON.stringify(found) === JSON.stringify(expected),
  );
}

async function start(Subject: Subscription): Promise<Runtime> {
  return openRuntime(await open(), { run: [Subject], leaseMs });
}

test('partitions are shared out evenly, and given over at once by whoever closes', async () => {
  const Even = balanced('even', 4);
  const first = await start(Even);
  await untilShared('even', [4]);
  const second = await start(Even);
  await untilShared('even', [2, 2]);
  const third = await start(Even);
  await untilShared('even', [2, 1, 1]);

  const started = performance.now();
  await second.close();
  await untilShared('even', [2, 2]);
  await first.close();
  await untilShared('even', [4]);
  // Nobody has waited for a lease to end.
  expect(performance.now() - started).toBeLessThan(leaseMs / 2);
  await third.close();
  await untilShared('even', []);
});

test('more processes than partitions: the rest stands by', async () => {
  const Few = balanced('few', 2);
  const runtimes = [await start(Few), await start(Few), await start(Few)];
  await untilShared('few', [1, 1]);
  const owners = new Set((await partitionsOf(database, 'few')).map(({ owner }) => owner));
  for (const runtime of runtimes.slice(0, 2)) await runtime.close();
  await untilShared('few', [2]);
  const [last] = await partitionsOf(database, 'few');
  await runtimes[2]?.close();
  expect(owners.size).toBe(2);
  expect(last?.status).toBe('running');
});

test('while shares move, everything is handled once and in order', async () => {
  const Moving = balanced('moving', 5);
  const store = await open();
  const stop = new AbortController();
  const appending = (async () => {
    for (let n = 0; !stop.signal.aborted; n += 1) {
      await store.append(Note.stream(`moving-${n % 20}`), [Note.emit.Written({ body: n })]);
    }
  })();
  const first = await start(Moving);
  const second = await start(Moving);
  await untilShared('moving', [3, 2]);
  const third = await start(Moving);
  await untilShared('moving', [2, 2, 1]);
  await first.close();
  await untilShared('moving', [3, 2]);
  await second.close();
  await untilShared('moving', [5]);
  stop.abort();
  await appending;
  await third.caughtUp();
  for (let partition = 0; partition < 5; partition += 1) {
    const part = { partitions: 5, partition };
    expect(await seenBy(database, 'moving', part)).toEqual(await stored(database, 'note', part));
  }
});

test('closing finishes what is being handled, however long it takes, and nothing after it', async () => {
  const shortMs = 400;
  const middle = signal();
  const goOn = new AbortController();
  const record = see('closing');
  const Closing = subscription('closing', {
    aggregates: [Note],
    from: 'now',
    on: {
      Written: async (event, sql) => {
        await record(event, sql);
        middle.give();
        while (!goOn.signal.aborted) await sql.query('select pg_sleep(0.02)');
      },
    },
  });
  const store = await open();
  const runtime = await openRuntime(store, { run: [Closing], leaseMs: shortMs });
  const { position } = await store.append(Note.stream('closing'), [Note.emit.Written({ body: 1 })]);
  await middle.given;
  await using standby = await openRuntime(await open(), { run: [Closing], leaseMs: shortMs });
  // It comes while the first is being handled, and is left to the next owner.
  const later = await store.append(Note.stream('closing'), [Note.emit.Written({ body: 2 })]);
  const [before] = await partitionsOf(database, 'closing');
  const started = await leaseOf('closing');
  // Paused, so that nobody goes on behind it before that was looked at.
  await standby.pause(Closing);
  const closing = runtime.close();
  // Its lease goes on for as long as it works: nobody else has begun.
  await until(
    () => leaseOf('closing'),
    (end) => end > started + shortMs * 3,
  );
  expect(await partitionsOf(database, 'closing')).toEqual([before]);
  expect(await seenBy(database, 'closing')).toEqual([]);
  goOn.abort();
  await closing;
  expect(await seenBy(database, 'closing')).toEqual([position]);
  expect(await partitionsOf(database, 'closing')).toMatchObject([
    { status: 'waiting', owner: null, checkpoint: position },
  ]);
  await standby.resume(Closing);
  await standby.waitFor(Closing, later.position);
  expect(await seenBy(database, 'closing')).toEqual([position, later.position]);
});

/** When the lease of the only partition ends, by the server's clock, in milliseconds. */
async function leaseOf(name: string): Promise<number> {
  const [row] = await database.query<{ ends: number }>(
    `select date_part('epoch', leased_until) * 1000 as ends
     from stele.partitions where subscription = $1`,
    [name],
  );
  return row?.ends ?? 0;
}

test('a store that closes closes its runtimes first', async () => {
  const Carried = balanced('carried', 2);
  const store = await open();
  await openRuntime(store, { run: [Carried], leaseMs });
  await untilShared('carried', [2]);
  await store.close();
  expect(await shares('carried')).toEqual([]);
  const workers = await database.query(
    `select id from stele.workers where 'carried' = any (subscriptions)`,
  );
  expect(workers).toEqual([]);
});
