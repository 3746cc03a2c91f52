import { afterAll, beforeAll, expect, test } from 'vitest';

import { openRuntime, openStore, reaction } from 'stele';
import type { Store } from 'stele';
import { Counter, Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { startProxy } from './support/proxy.ts';
import { collect, signal } from './support/store.ts';
import { notices, partitionsOf, takeAway, terminate, until } from './support/subscriptions.ts';
import { startWorkerProcess } from './support/worker-process.ts';

const database = useDatabase();
let store: Store;
beforeAll(async () => {
  store = await openStore({ connection: database.connectionString, aggregates: [Note, Counter] });
});
afterAll(() => store.close());

const written = (body: unknown): ReturnType<typeof Note.emit.Written> =>
  Note.emit.Written({ body });

test('the key is the same whenever an event is handled again, and another for every event', async () => {
  const keys: string[] = [];
  const Retried = reaction('retried', {
    aggregates: [Note],
    from: 'now',
    on: {
      Written: (_, { idempotencyKey }) => {
        keys.push(idempotencyKey);
        if (keys.length === 1) throw new Error('the mail server is busy');
      },
    },
  });
  await using runtime = await openRuntime(store, { run: [Retried], onNotice: () => undefined });
  const { events, position } = await store.append(Note.stream('r'), [written(1), written(2)]);
  await runtime.waitFor(Retried, position);
  const [one, two] = events.map(({ id }) => `retried.${id}`);
  expect(keys).toEqual([one, one, two]);
});

test('a process that is killed in the middle leaves the event to the next, with the same key', async () => {
  await database.query('create table outside (key text, pid int)');
  const script = `
    import pg from 'pg';
    import { openRuntime, openStore, reaction } from 'stele';
    import { Note } from './test/support/aggregates.ts';
    const outside = new pg.Pool({ connectionString: process.env.CONNECTION, max: 1 });
    const Crashing = reaction('crashing', {
      aggregates: [Note], from: 'now',
      on: { Written: async ({ data }, { idempotencyKey }) => {
        await outside.query('insert into outside values ($1, $2)', [idempotencyKey, process.pid]);
        if (data.body === 'crash' && process.env.CRASH) {
          console.log('sent');
          await new Promise(() => {});
        }
      } },
    });
    const store = await openStore({ connection: process.env.CONNECTION, aggregates: [Note] });
    await openRuntime(store, { run: [Crashing], leaseMs: 500 });
    console.log('ready');
  `;
  const events: string[] = [];
  {
    await using first = await startWorkerProcess(script, database.connectionString, { CRASH: '1' });
    for (const body of ['fine', 'crash', 'later']) {
      const [event] = (await store.append(Note.stream('crash'), [written(body)])).events;
      events.push(`crashing.${event?.id}`);
    }
    await first.says('sent');
    first.signal('SIGKILL');
    await first.exited;
  }
  await using _second = await startWorkerProcess(script, database.connectionString);
  const rows = await until(
    () => database.query<{ key: string }>('select key from outside order by ctid'),
    ({ length }) => length >= 4,
  );
  const [fine, crash, later] = events;
  expect(rows.map(({ key }) => key)).toEqual([fine, crash, crash, later]);
});

test('what it appends has the event as its cause', async () => {
  const Following = reaction('following', {
    aggregates: [Note],
    from: 'now',
    on: {
      Written: async ({ streamId }) => {
        await store.execute(Counter, streamId, 'increment', {});
      },
    },
  });
  await using runtime = await openRuntime(store, { run: [Following] });
  const { events, position } = await store.append(Note.stream('cause'), [written(1)], {
    metadata: { correlationId: 'request-1' },
  });
  await runtime.waitFor(Following, position);
  const [event] = events;
  const [follower] = await collect(store.readStream(Counter, 'note-cause'));
  expect(follower?.metadata).toMatchObject({
    causationId: event?.id,
    correlationId: 'request-1',
  });
  const tree = await store.correlation('request-1');
  expect(JSON.stringify(tree)).toContain(follower?.id);
});

test('its signal is aborted when the partition is lost', async () => {
  const reacting = signal();
  const reasons: boolean[] = [];
  const Losing = reaction('losing', {
    aggregates: [Note],
    from: 'now',
    on: {
      Written: async (_, context) => {
        reasons.push(context.signal.aborted);
        if (reasons.length > 1) return;
        reacting.give();
        await new Promise<void>((resolve) => {
          context.signal.addEventListener('abort', () => {
            reasons.push(context.signal.aborted);
            resolve();
          });
        });
      },
    },
  });
  await using runtime = await openRuntime(store, { run: [Losing], leaseMs: 300 });
  const { position } = await store.append(Note.stream('losing'), [written(1)]);
  await reacting.given;
  await takeAway(database, 'losing');
  await runtime.waitFor(Losing, position);
  // Begun, aborted, and handled again in another epoch.
  expect(reasons).toEqual([false, true, false]);
  expect(await partitionsOf(database, 'losing')).toMatchObject([{ epoch: 2 }]);
});

test('its signal is aborted when no heartbeat has come through for the time of a lease', async () => {
  const proxy = await startProxy(database.connectionString);
  await using cut = await openStore({ connection: proxy.connectionString, aggregates: [Note] });
  const reacting = signal();
  const aborted = signal();
  const Cut = reaction('cut', {
    aggregates: [Note],
    from: 'now',
    on: {
      Written: async (_, context) => {
        context.signal.addEventListener('abort', aborted.give);
        reacting.give();
        await aborted.given;
      },
    },
  });
  await openRuntime(cut, { run: [Cut], leaseMs: 500 });
  await store.append(Note.stream('cut'), [written(1)]);
  await reacting.given;
  await proxy[Symbol.asyncDispose]();
  await aborted.given;
  expect(await partitionsOf(database, 'cut')).toMatchObject([
    { checkpoint: expect.any(Number) as number },
  ]);
});

test('what was handled is not handled again when only the checkpoint got lost with its connection', async () => {
  await using proxy = await startProxy(database.connectionString);
  await using through = await openStore({ connection: proxy.connectionString, aggregates: [Note] });
  const handled: unknown[] = [];
  let lost: Promise<void> | undefined;
  const Checkpoint = reaction('checkpoint', {
    aggregates: [Note],
    from: 'now',
    on: {
      Written: ({ data }) => {
        handled.push(data.body);
        // `advance` gives a row without a value: the column is named after it.
        if (data.body === 'lose') lost = proxy.loseAnswer('advance');
      },
    },
  });
  const { onNotice, all } = notices();
  await using runtime = await openRuntime(through, { run: [Checkpoint], onNotice });
  await store.append(Note.stream('c'), [written('before')]);
  await store.append(Note.stream('c'), [written('lose')]);
  const { position } = await store.append(Note.stream('c'), [written('after')]);
  await runtime.waitFor(Checkpoint, position);
  await lost;
  expect(handled).toEqual(['before', 'lose', 'after']);
  expect(all).toEqual([]);
  await until(
    () => partitionsOf(database, 'checkpoint'),
    ([row]) => row?.checkpoint === position,
  );
});

test('nor when the checkpoint was not written at all', async () => {
  const handled: unknown[] = [];
  const holder = await database.connect();
  const Unwritten = reaction('unwritten', {
    aggregates: [Note],
    from: 'now',
    on: {
      Written: async ({ data }) => {
        handled.push(data.body);
        if (data.body !== 'lose') return;
        await holder.query('begin');
        await holder.query(
          `select from stele.partitions where subscription = 'unwritten' for update`,
        );
      },
    },
  });
  const { onNotice, all } = notices();
  await using runtime = await openRuntime(store, { run: [Unwritten], onNotice });
  const { position } = await store.append(
    Note.stream('u'),
    ['before', 'lose', 'after'].map((body) => written(body)),
  );
  await until(
    () => terminate(database, `wait_event_type = 'Lock' and query like '%advance%'`),
    (ended) => ended > 0,
  );
  await holder.query('rollback');
  await holder.end();
  await runtime.waitFor(Unwritten, position);
  expect(handled).toEqual(['before', 'lose', 'after']);
  expect(all).toEqual([]);
});
