import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { openRuntime, openStore, reaction, subscription, WaitTimeoutError } from 'stele';
import type { Store } from 'stele';
import { ada, Counter, Note, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { rejectionOf, signal, times } from './support/store.ts';
import { createSeen, notices, see, seenBy, until } from './support/subscriptions.ts';
import { startWorkerProcess } from './support/worker-process.ts';

const database = useDatabase();
const aggregates = [Note, Counter, User] as const;
let store: Store;
beforeAll(async () => {
  await createSeen(database);
  store = await openStore({ connection: database.connectionString, aggregates });
});
afterAll(() => store.close());

const written = Note.emit.Written({ body: 1 });

describe('whoever waits for a subscription finds what it has written', () => {
  const Local = subscription('local', {
    aggregates: [Note, Counter],
    partitions: 3,
    on: { Written: see('local'), Incremented: see('local') },
  });

  test('when it runs in the same process', async () => {
    await using runtime = await openRuntime(store, { run: [Local] });
    await times(20, async (n) => {
      const { position } = await store.append(Note.stream(`local-${n}`), [written]);
      await runtime.waitFor(Local, position);
      expect(await seenBy(database, 'local')).toContain(position);
    });
    const waiting = { waitFor: [Local] };
    const done = await store.execute(Counter, 'local', 'increment', {}, waiting);
    if (!done.ok) throw new Error('Counting is never refused.');
    expect(await seenBy(database, 'local')).toContain(done.position);
    const appended = await store.append(Note.stream('local'), [written, written], waiting);
    expect(await seenBy(database, 'local')).toEqual(
      expect.arrayContaining(appended.events.map(({ position }) => position)),
    );
  });

  test('when it runs in another process', async () => {
    await using _other = await startWorkerProcess(
      `
      import { openRuntime, openStore, subscription } from 'stele';
      import { Counter, Note, User } from './test/support/aggregates.ts';
      import { see } from './test/support/subscriptions.ts';
      const Remote = subscription('remote', {
        aggregates: [Note, Counter], partitions: 3,
        on: { Written: see('remote'), Incremented: see('remote') },
      });
      const store = await openStore({ connection: process.env.CONNECTION, aggregates: [Note, Counter, User] });
      await openRuntime(store, { run: [Remote] });
      console.log('ready');
      `,
      database.connectionString,
    );
    const Remote = subscription('remote', {
      aggregates: [Note, Counter],
      partitions: 3,
      on: { Written: see('remote'), Incremented: see('remote') },
    });
    for (let n = 0; n < 5; n += 1) {
      const waiting = { waitFor: [Remote] };
      const { position } = await store.append(Note.stream(`remote-${n}`), [written], waiting);
      expect(await seenBy(database, 'remote')).toContain(position);
      const done = await store.execute(Counter, `remote-${n}`, 'increment', {}, waiting);
      if (!done.ok) throw new Error('Counting is never refused.');
      expect(await seenBy(database, 'remote')).toContain(done.position);
    }
  });
});

test('a position of events that are none of its business is passed as well', async () => {
  const Narrow = subscription('narrow', {
    aggregates: [Note],
    metadata: { tenant: 'a' },
    partitions: 2,
    on: { Written: see('narrow') },
  });
  await using runtime = await openRuntime(store, { run: [Narrow] });
  const { position } = await store.append(User.stream('narrow'), [User.emit.UserCreated(ada())]);
  await runtime.waitFor(Narrow, position);
  // It is written down, too, so that others and a restart know of it.
  const rows = await until(
    () =>
      database.query<{ checkpoint: string }>(
        `select checkpoint from stele.partitions where subscription = 'narrow'`,
      ),
    (found) => found.every(({ checkpoint }) => Number(checkpoint) >= position),
  );
  expect(rows).toHaveLength(2);
  expect(await seenBy(database, 'narrow')).toEqual([]);
});

test('such a position is passed for other processes, too, however many more come behind it', async () => {
  const Busy = subscription('busy', { aggregates: [Note], on: { Written: see('busy') } });
  await using runtime = await openRuntime(store, { run: [Busy] });
  await runtime.caughtUp();
  // Another store knows of the subscription what the database does, as another process would.
  await using other = await openStore({ connection: database.connectionString, aggregates });
  const stop = new AbortController();
  const appending = (async () => {
    while (!stop.signal.aborted) await other.execute(Counter, 'busy', 'increment', {});
  })();
  const done = await other.execute(Counter, 'waits', 'increment', {}, { waitFor: [Busy] });
  stop.abort();
  await appending;
  expect(done.ok).toBe(true);
});

test('after the time that was allowed, the error says how far it is', async () => {
  const goOn = signal();
  const Slow = subscription('slow', {
    aggregates: [Note],
    from: 'now',
    on: { Written: () => goOn.given },
  });
  await using runtime = await openRuntime(store, { run: [Slow] });
  const { position } = await store.append(Note.stream('slow'), [written]);
  const error = await rejectionOf(runtime.waitFor(Slow, position, { timeoutMs: 50 }));
  expect(error).toBeInstanceOf(WaitTimeoutError);
  expect(error).toMatchObject({
    code: 'wait-timeout',
    subscription: 'slow',
    position,
    message: expect.stringContaining('it is running') as string,
  });
  expect((error as WaitTimeoutError).checkpoint).toBeLessThan(position);
  const aborted = new AbortController();
  const waiting = runtime.waitFor(Slow, position, { signal: aborted.signal });
  aborted.abort(new Error('no longer'));
  await expect(waiting).rejects.toThrow('no longer');
  goOn.give();
  await runtime.waitFor(Slow, position);
});

test('what has stopped fails at once, and what was appended is stored', async () => {
  const Broken = reaction('broken', {
    aggregates: [Counter],
    from: 'now',
    attempts: 1,
    on: {
      Incremented: () => {
        throw new Error('out of order');
      },
    },
  });
  const { onNotice } = notices();
  await using runtime = await openRuntime(store, { run: [Broken], onNotice });
  const executing = store.execute(Counter, 'broken', 'increment', {}, { waitFor: [Broken] });
  await expect(executing).rejects.toMatchObject({
    code: 'subscription-stopped',
    subscription: 'broken',
    message: expect.stringContaining('out of order') as string,
  });
  expect(await store.load(Counter, 'broken')).toEqual({ state: { count: 1 }, version: 1 });
  // What it has come to before is there.
  const status = (await runtime.status()).find(({ name }) => name === 'broken');
  await runtime.waitFor(Broken, status?.partitions[0]?.checkpoint ?? -1);
});

test('a subscription that nobody has ever run cannot be waited for', async () => {
  const Unknown = subscription('unknown', { aggregates: [Note], on: { Written: see('unknown') } });
  await using runtime = await openRuntime(store, { run: [] });
  await expect(runtime.waitFor(Unknown, 1)).rejects.toMatchObject({ code: 'invalid-argument' });
});
