import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import { openRuntime, openStore, reaction, subscription } from 'stele';
import type { Store } from 'stele';
import { Counter, Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { missingPgBouncer, startPgBouncer, type PgBouncer } from './support/pgbouncer.ts';
import { times } from './support/store.ts';
import {
  createSeen,
  notices,
  see,
  seenBy,
  stored,
  takeAway,
  until,
} from './support/subscriptions.ts';

// Debian's PgBouncer, 1.18, cannot carry named prepared statements, so none are used here.
const database = useDatabase();
const missing = await missingPgBouncer();
let bouncer: PgBouncer | undefined;
const stores: Store[] = [];
beforeAll(async () => {
  if (missing !== undefined) return;
  await createSeen(database);
  bouncer = await startPgBouncer(database.connectionString, { sessions: 6 });
});
afterAll(() => bouncer?.[Symbol.asyncDispose]());
beforeEach((context) => {
  if (missing !== undefined) context.skip(missing);
  return async () => {
    await Promise.all(stores.splice(0).map((store) => store.close()));
  };
});

async function open(): Promise<Store> {
  if (bouncer === undefined) throw new Error('It was started before the tests.');
  const store = await openStore({
    connection: bouncer.connectionString,
    prepare: false,
    aggregates: [Note, Counter],
  });
  stores.push(store);
  return store;
}

async function transactions(): Promise<unknown[]> {
  return database.query(
    `select state, query from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'`,
  );
}

test('two processes share subscriptions, reactions and what is waited for', async () => {
  const [first, second] = [await open(), await open()];
  const Seen = subscription('seen', {
    aggregates: [Note, Counter],
    partitions: 3,
    on: { Written: see('seen'), Incremented: see('seen') },
  });
  const reacted = new Map<string, number>();
  const Reacting = reaction('reacting', {
    aggregates: [Counter],
    partitions: 2,
    on: {
      Incremented: async (_, { idempotencyKey }) => {
        reacted.set(idempotencyKey, (reacted.get(idempotencyKey) ?? 0) + 1);
      },
    },
  });
  const { onNotice, all } = notices();
  const options = { run: [Seen, Reacting], leaseMs: 1_000, onNotice };
  const runtimes = [await openRuntime(first, options), await openRuntime(second, options)];
  await times(8, async (writer) => {
    const store = writer % 2 === 0 ? first : second;
    for (let n = 0; n < 25; n += 1) {
      await store.execute(Counter, `${writer}-${n % 5}`, 'increment', {});
      const waitFor = n % 10 === 0 ? [Seen] : [];
      await store.append(Note.stream(`${n}`), [Note.emit.Written({ body: n })], { waitFor });
      if (writer === 0 && n % 5 === 0) await takeAway(database, 'seen');
    }
  });
  await runtimes[0]?.caughtUp({ timeoutMs: 20_000 });
  for (const partition of [0, 1, 2]) {
    const part = { partitions: 3, partition };
    expect(await seenBy(database, 'seen', part)).toEqual(await stored(database, undefined, part));
  }
  expect([...reacted.values()]).toEqual(Array.from({ length: 8 * 25 }, () => 1));
  expect(all).toEqual([]);
  await Promise.all(runtimes.map((runtime) => runtime.close()));
});

test('what one process appends is soon seen by another, although nothing can be listened to', async () => {
  const [writer, reader] = [await open(), await open()];
  const Far = subscription('far', { aggregates: [Note], from: 'now', on: { Written: see('far') } });
  await using _runtime = await openRuntime(reader, { run: [Far] });
  const positions: number[] = [];
  for (let n = 0; n < 3; n += 1) {
    const events = [Note.emit.Written({ body: n })];
    positions.push((await writer.append(Note.stream('far'), events)).position);
    await until(
      () => seenBy(database, 'far'),
      ({ length }) => length === positions.length,
    );
  }
  expect(await seenBy(database, 'far')).toEqual(positions);
});

test('nothing is left open when all has ended', async () => {
  const store = await open();
  const Left = subscription('left', { aggregates: [Note], on: { Written: see('left') } });
  const runtime = await openRuntime(store, { run: [Left] });
  await runtime.caughtUp();
  await store.close();
  expect(
    await until(
      () => transactions(),
      ({ length }) => length === 0,
    ),
  ).toEqual([]);
  const locks = await database.query(
    `select mode from pg_locks l join pg_database d on d.oid = l.database
     where d.datname = current_database() and pid <> pg_backend_pid()`,
  );
  expect(locks).toEqual([]);
  const owned = await database.query('select from stele.partitions where owner is not null');
  expect(owned).toEqual([]);
});
