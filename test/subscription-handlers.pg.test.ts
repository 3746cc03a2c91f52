import { beforeAll, expect, test } from 'vitest';

import { openRuntime, subscription } from 'stele';
import type { Store } from 'stele';
import { Counter, Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { collect, times, useStores } from './support/store.ts';
import {
  createSeen,
  notices,
  partitionsOf,
  see,
  seenBy,
  stored,
  parkAfter,
} from './support/subscriptions.ts';

const database = useDatabase();
const open = useStores(database);
beforeAll(() => createSeen(database));

const small = (): Promise<Store> =>
  open({ connection: { connectionString: database.connectionString, max: 4 } });

test('handlers that read the store do not take all connections from each other', async () => {
  const store = await small();
  const record = see('reading');
  const Reading = subscription('reading', {
    aggregates: [Counter],
    partitions: 8,
    on: {
      Incremented: async (event, sql) => {
        await record(event, sql);
        const id = event.streamId.slice('counter-'.length);
        const { state } = await store.load(Counter, id, { version: event.version });
        if (state.count !== event.data.to) throw new Error('It has to be there.');
        await collect(store.readStream(Counter, id));
      },
    },
  });
  await using runtime = await openRuntime(store, { run: [Reading] });
  await times(40, async (n) => {
    for (let i = 0; i < 5; i += 1) await store.execute(Counter, `${n}`, 'increment', {});
  });
  await runtime.caughtUp({ timeoutMs: 15_000 });
  for (let partition = 0; partition < 8; partition += 1) {
    const part = { partitions: 8, partition };
    expect(await seenBy(database, 'reading', part)).toEqual(
      await stored(database, 'counter', part),
    );
  }
});

test('an append of its own inside a handler is refused, and one in its transaction is part of it', async () => {
  const store = await small();
  const record = see('appending');
  let passTransaction = false;
  const Appending = subscription('appending', {
    aggregates: [Note],
    from: 'now',
    attempts: 1,
    on: {
      Written: async (event, sql) => {
        await record(event, sql);
        const options = passTransaction ? { transaction: sql } : {};
        await store.append(Counter.stream('c'), [Counter.emit.Incremented({ to: 1 })], options);
      },
    },
  });
  const { onNotice, of } = notices();
  await using runtime = await openRuntime(store, { run: [Appending], onNotice });
  const { events, position } = await store.append(Note.stream('appending'), [
    Note.emit.Written({ body: 1 }),
  ]);
  expect((await of('stopped')).message).toContain('{ transaction }');
  expect(await store.load(Counter, 'c')).toMatchObject({ version: 0 });

  passTransaction = true;
  expect(await runtime.retry(Appending)).toBe(1);
  await runtime.waitFor(Appending, position);
  const [appended] = await collect(store.readStream(Counter, 'c'));
  expect(appended).toMatchObject({ version: 1, metadata: { causationId: events[0]?.id } });
  expect(await seenBy(database, 'appending')).toEqual([position]);
});

test('what a handler appends in its transaction is undone with it', async () => {
  const store = await small();
  let failing = true;
  const Undone = subscription('undone', {
    aggregates: [Note],
    from: 'now',
    attempts: 1,
    on: {
      Written: async (_, sql) => {
        const transaction = { transaction: sql };
        await store.append(
          Counter.stream('undone'),
          [Counter.emit.Incremented({ to: 1 })],
          transaction,
        );
        if (failing) throw new Error('after the append');
      },
    },
  });
  const { onNotice, of } = notices();
  await using runtime = await openRuntime(store, { run: [Undone], onNotice });
  const { position } = await store.append(Note.stream('undone'), [Note.emit.Written({ body: 1 })]);
  await of('stopped');
  expect(await store.load(Counter, 'undone')).toMatchObject({ version: 0 });
  failing = false;
  await runtime.retry(Undone);
  await runtime.waitFor(Undone, position);
  expect(await store.load(Counter, 'undone')).toMatchObject({ version: 1 });
});

test('a client of one’s own is made of the transaction', async () => {
  const store = await small();
  const Own = subscription('own', {
    aggregates: [Note],
    from: 'now',
    client: (sql) => ({
      write: (position: number) =>
        sql.query(`insert into seen (subscription, position, stream_id) values ('own', $1, 'x')`, [
          position,
        ]),
    }),
    on: {
      Written: async ({ position, data }, client) => {
        await client.write(position);
        if (data.body === 'fail') throw new Error('undo it');
      },
    },
    ...parkAfter(1),
  });
  await using runtime = await openRuntime(store, { run: [Own], onNotice: () => undefined });
  const { events, position } = await store.append(Note.stream('own'), [
    Note.emit.Written({ body: 1 }),
    Note.emit.Written({ body: 'fail' }),
  ]);
  await runtime.waitFor(Own, position);
  expect(await seenBy(database, 'own')).toEqual([events[0]?.position]);
  expect(await partitionsOf(database, 'own')).toMatchObject([{ status: 'running' }]);
});
