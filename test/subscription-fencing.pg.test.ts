import { afterAll, beforeAll, expect, test } from 'vitest';

import { openRuntime, openStore, reaction, subscription } from 'stele';
import type { Runtime, Store } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { signal, times } from './support/store.ts';
import {
  createSeen,
  notices,
  partitionsOf,
  see,
  seenBy,
  stored,
  takeAway,
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

const leaseMs = 300;
const written = Note.emit.Written({ body: 1 });

function storeAt(index: number): Store {
  const store = stores[index];
  if (store === undefined) throw new Error('There are two stores.');
  return store;
}

test('two that fight over partitions do everything once, in order', async () => {
  const Fought = subscription('fought', {
    aggregates: [Note],
    partitions: 3,
    on: { Written: see('fought') },
  });
  const options = { run: [Fought], leaseMs, onNotice: () => undefined };
  await using first = await openRuntime(storeAt(0), options);
  await using _second = await openRuntime(storeAt(1), options);
  const stop = new AbortController();
  const fighting = (async () => {
    while (!stop.signal.aborted) {
      await takeAway(database, 'fought');
      // Until somebody has them again: those who had them before do not know yet.
      await until(
        () => partitionsOf(database, 'fought'),
        (rows) => rows.every(({ owner }) => owner !== null),
      );
    }
  })();
  await times(8, async (writer) => {
    for (let n = 0; n < 60; n += 1) {
      await storeAt(writer % 2).append(Note.stream(`fought-${n % 10}`), [written]);
    }
  });
  await until(
    () => partitionsOf(database, 'fought'),
    (rows) => rows.every(({ epoch }) => epoch > 10),
  );
  stop.abort();
  await fighting;
  await first.caughtUp();
  for (const partition of [0, 1, 2]) {
    const part = { partitions: 3, partition };
    expect(await seenBy(database, 'fought', part)).toEqual(await stored(database, 'note', part));
  }
});

test('an owner that is taken over in the middle of a transaction commits none of it', async () => {
  const middle = signal();
  const goOn = signal();
  let held = false;
  const record = see('overtaken');
  const Overtaken = subscription('overtaken', {
    aggregates: [Note],
    from: 'now',
    on: {
      Written: async (event, sql) => {
        await record(event, sql);
        if (held) return;
        held = true;
        middle.give();
        await goOn.given;
      },
    },
  });
  // A long lease: the server must not end the session that is to be fenced.
  await using first = await openRuntime(storeAt(0), { run: [Overtaken], leaseMs: 30_000 });
  const { position } = await storeAt(0).append(Note.stream('overtaken'), [written]);
  await middle.given;
  const [before] = await partitionsOf(database, 'overtaken');
  await database.query(`update stele.workers set alive_until = now() - interval '1 minute'`);
  await takeAway(database, 'overtaken');
  await using second = await openRuntime(storeAt(1), { run: [Overtaken], leaseMs: 30_000 });
  await second.waitFor(Overtaken, position);
  const [after] = await partitionsOf(database, 'overtaken');
  // Whoever has it now: the one that is in the middle may have claimed it again, and is fenced as well.
  expect(after?.epoch).toBeGreaterThan(before?.epoch ?? 0);
  goOn.give();
  await first.close();
  expect(await seenBy(database, 'overtaken')).toEqual([position]);
  expect(await partitionsOf(database, 'overtaken')).toMatchObject([{ checkpoint: position }]);
});

test('an event that was set aside is replayed by one of two that both believe they own it', async () => {
  const middle = signal();
  const goOn = signal();
  let mode: 'fail' | 'hold' | 'work' = 'fail';
  const record = see('replayed-twice');
  const Replayed = subscription('replayed-twice', {
    aggregates: [Note],
    from: 'now',
    ...parkAfter(1),
    on: {
      Written: async (event, sql) => {
        if (mode === 'fail') throw new Error('not yet');
        await record(event, sql);
        if (mode === 'work') return;
        mode = 'work';
        middle.give();
        await goOn.given;
      },
    },
  });
  const { onNotice } = notices();
  const options = { run: [Replayed], leaseMs: 30_000, onNotice };
  await using first = await openRuntime(storeAt(0), options);
  const { position } = await storeAt(0).append(Note.stream('replayed'), [written]);
  await first.waitFor(Replayed, position);
  expect(await first.parked(Replayed)).toMatchObject([{ position, attempts: 1 }]);

  mode = 'hold';
  await first.replay(Replayed);
  await middle.given;
  await database.query(`update stele.workers set alive_until = now() - interval '1 minute'`);
  await takeAway(database, 'replayed-twice');
  await using second: Runtime = await openRuntime(storeAt(1), options);
  await until(
    () => second.parked(Replayed),
    ({ length }) => length === 0,
  );
  goOn.give();
  await first.close();
  expect(await seenBy(database, 'replayed-twice')).toEqual([position]);
});

test('a subscription that is reset while a batch is under way begins again from there', async () => {
  const middle = signal();
  const goOn = signal();
  let held = false;
  const record = see('reset-underway');
  const Reset = subscription('reset-underway', {
    aggregates: [Note],
    from: 'now',
    on: {
      Written: async (event, sql) => {
        await record(event, sql);
        if (held) return;
        held = true;
        middle.give();
        await goOn.given;
      },
    },
  });
  await using runtime = await openRuntime(storeAt(0), { run: [Reset], leaseMs });
  const { position } = await storeAt(0).append(Note.stream('reset-underway'), [written]);
  await middle.given;
  // The transaction is held for less than a lease, so the reset alone ends it.
  await runtime.reset(Reset, { position: position - 1 });
  goOn.give();
  await runtime.waitFor(Reset, position);
  expect(await seenBy(database, 'reset-underway')).toEqual([position]);
});

test('closing waits for a handler whose partition was lost, too', async () => {
  const [first, second] = [signal(), signal()];
  const goOn = signal();
  const order: string[] = [];
  let calls = 0;
  const Stubborn = reaction('stubborn', {
    aggregates: [Note],
    from: 'now',
    on: {
      Written: async () => {
        calls += 1;
        if (calls > 1) return second.give();
        first.give();
        await goOn.given;
        order.push('handled');
      },
    },
  });
  const runtime = await openRuntime(storeAt(0), { run: [Stubborn], leaseMs });
  await storeAt(0).append(Note.stream('stubborn'), [written]);
  await first.given;
  await takeAway(database, 'stubborn');
  await second.given;
  const alive = async (): Promise<number> => {
    const [row] = await database.query<{ until: number }>(
      `select date_part('epoch', alive_until) * 1000 as until from stele.workers
       where 'stubborn' = any (subscriptions) or cardinality(subscriptions) = 0`,
    );
    return row?.until ?? Number.POSITIVE_INFINITY;
  };
  const before = await alive();
  const closing = runtime.close().then(() => order.push('closed'));
  // It goes on saying that it lives, or it is gone.
  const end = await until(alive, (found) => found > before + leaseMs * 2);
  expect(end).toBeLessThan(Number.POSITIVE_INFINITY);
  goOn.give();
  await closing;
  expect(order).toEqual(['handled', 'closed']);
});
