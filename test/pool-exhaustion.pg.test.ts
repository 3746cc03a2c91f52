import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { aggregate, event, openStore, type } from 'stele';
import type { Store } from 'stele';
import { Counter, Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { until } from './support/subscriptions.ts';

const database = useDatabase();

const written = (body: unknown): ReturnType<typeof Note.emit.Written> =>
  Note.emit.Written({ body });

/** Doubles what another stream holds: its command reads the store while it decides. */
let readWhileDeciding: (id: string) => Promise<number>;
const Copy = aggregate('copy', {
  events: { Copied: event<{ count: number }>() },
  initialState: () => 0,
  evolve: { Copied: (_, { data }) => data.count },
  commands: {
    copy: {
      input: type<{ from: string }>(),
      decide: async ({ from }, _, { emit }) =>
        emit.Copied({ count: await readWhileDeciding(from) }),
    },
  },
});

describe('a pool of four', () => {
  let store: Store;
  let pool: pg.Pool;
  beforeAll(async () => {
    pool = new pg.Pool({ connectionString: database.connectionString, max: 4 });
    store = await openStore({ pool, aggregates: [Note, Counter, Copy] });
    readWhileDeciding = async (from) => (await store.load(Counter, from)).state.count;
  });
  afterAll(async () => {
    await store.close();
    await pool.end();
  });

  test('serves 200 commands that each read another stream while they decide', async () => {
    await store.execute(Counter, 'source', 'increment', {});
    const results = await Promise.all(
      Array.from({ length: 200 }, (_, n) =>
        store.execute(Copy, `c${n % 50}`, 'copy', { from: 'source' }, { attempts: 100 }),
      ),
    );
    expect(results.every((result) => result.ok)).toBe(true);
    // A notification of other processes, for which nobody waits, may be on its way.
    await until(
      () => pool.idleCount,
      (idle) => idle === pool.totalCount,
    );
  });

  test('lets appends wait while the application holds every connection', async () => {
    const held = await Promise.all([1, 2, 3, 4].map(() => pool.connect()));
    const order: string[] = [];
    const appending = Promise.all(
      Array.from({ length: 20 }, (_, n) => store.append(Note.stream(`w${n}`), [written(n)])),
    ).then((results) => {
      order.push('appended');
      return results;
    });
    // A whole round trip on a connection of the pool's, while nothing else gets one.
    await held[0]?.query('select pg_sleep(0.1)');
    order.push('released');
    for (const client of held) client.release();
    expect(await appending).toHaveLength(20);
    expect(order).toEqual(['released', 'appended']);
  });

  test('lets a transaction of the application append while other appends wait for its streams', async () => {
    const client = await pool.connect();
    await client.query('begin');
    const ids = Array.from({ length: 12 }, (_, n) => `t${n}`);
    for (const id of ids) {
      await store.append(Note.stream(id), [written('first')], { transaction: client });
    }
    const waiting = ids.map((id) => store.append(Note.stream(id), [written('second')]));
    // Whoever waits must leave connections to those who do not.
    await store.append(Note.stream('elsewhere'), [written('beside')]);
    expect(await store.load(Note, 'elsewhere')).toMatchObject({ version: 1 });
    await store.append(Note.stream('t0'), [written('again')], { transaction: client });
    await client.query('commit');
    client.release();
    expect((await Promise.all(waiting)).map(({ version }) => version)).toEqual([
      3,
      ...Array.from({ length: 11 }, () => 2),
    ]);
  });

  test('takes back connections of readings that end early', async () => {
    await store.append(
      Note.stream('long'),
      Array.from({ length: 3_000 }, (_, n) => written(n)),
    );
    for (let n = 0; n < 20; n += 1) {
      for await (const _ of store.readStream(Note, 'long')) break;
      for await (const _ of store.read()) break;
    }
    // Every connection of the pool can be had at the same time.
    const clients = await Promise.all([1, 2, 3, 4].map(() => pool.connect()));
    for (const client of clients) client.release();
    expect(clients).toHaveLength(4);
  });
});

test('a pool of one serves appends, commands and readings', async () => {
  await using store = await openStore({
    connection: { connectionString: database.connectionString, max: 1 },
    aggregates: [Note, Counter, Copy],
  });
  readWhileDeciding = async (from) => (await store.load(Counter, from)).state.count;
  await store.execute(Counter, 'one', 'increment', {});
  await Promise.all(
    Array.from({ length: 20 }, async (_, n) => {
      await store.append(Note.stream(`one-${n % 3}`), [written(n)]);
      await store.execute(Copy, `one-${n}`, 'copy', { from: 'one' });
      for await (const _ of store.read({ aggregates: [Copy], limit: 5 })) continue;
    }),
  );
  expect(await store.load(Copy, 'one-0')).toEqual({ state: 1, version: 1 });
});
