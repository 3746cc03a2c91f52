import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { openStore, projection } from 'stele';
import type { Store, Transaction } from 'stele';
import { Counter, Note } from './support/aggregates.ts';
import { runChild } from './support/child.ts';
import { useDatabase } from './support/database.ts';

const database = useDatabase();

const written = (body: unknown): ReturnType<typeof Note.emit.Written> =>
  Note.emit.Written({ body });

/** Ends the sessions of the stores on this database, or some of them; gives their number. */
async function terminate(condition = 'true'): Promise<number> {
  const rows = await database.query<{ ended: boolean }>(
    `select pg_terminate_backend(pid, 5000) as ended from pg_stat_activity
      where datname = current_database() and application_name = 'stele' and ${condition}`,
  );
  return rows.length;
}

describe('an idle connection that dies', () => {
  test('is replaced, whatever is called next', async () => {
    await using store = await openStore({
      connection: database.connectionString,
      aggregates: [Note, Counter],
    });
    await store.append(Note.stream('idle'), [written(1)]);
    const calls: (() => Promise<unknown>)[] = [
      () => store.append(Note.stream('idle'), [written(2)]),
      () => store.load(Note, 'idle'),
      () => store.execute(Counter, 'idle', 'increment', {}),
      () => store.readStream(Note, 'idle').next(),
      () => store.read().next(),
      () => store.history(Note, 'idle').next(),
    ];
    for (const call of calls) {
      expect(await terminate()).toBeGreaterThan(0);
      await call();
    }
    expect(await store.load(Note, 'idle')).toEqual({ state: { body: 2 }, version: 2 });
  });

  test('does not end the process', async () => {
    const { code, stdout, stderr } = await runChild(
      `
      import pg from 'pg';
      import { aggregate, event, openStore } from 'stele';
      const Note = aggregate('note', {
        events: { Written: event() },
        initialState: () => 0,
        evolve: { Written: (n) => n + 1 },
      });
      process.on('uncaughtException', (error) => {
        console.error('uncaughtException', error);
        process.exitCode = 1;
      });
      const connection = process.env.CONNECTION;
      const store = await openStore({ connection, aggregates: [Note] });
      await Promise.all([1, 2, 3].map(() => store.load(Note, '1')));
      const admin = new pg.Client(connection);
      await admin.connect();
      const { rowCount } = await admin.query(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and application_name = 'stele' and pid <> pg_backend_pid()");
      await admin.end();
      const { version } = await store.append(Note.stream('child'), [Note.emit.Written({})]);
      await store.close();
      console.log(rowCount > 0, version);
      `,
      database.connectionString,
    );
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'true 1\n', stderr: '' });
  });
});

describe('a connection that dies during an append', () => {
  let store: Store;
  /** What the inline projection does besides its own work; set by each test. */
  let disturb: (transaction: Transaction) => Promise<void>;
  beforeAll(async () => {
    await database.query('create table counts (id text primary key, count int)');
    const Counts = projection('counts', {
      aggregates: [Counter],
      on: {
        Incremented: async ({ streamId, data }, transaction) => {
          await transaction.query('insert into counts values ($1, $2)', [streamId, data.to]);
          await disturb(transaction);
        },
      },
    });
    store = await openStore({
      connection: database.connectionString,
      aggregates: [Counter, Note],
      projections: [Counts],
    });
  });
  beforeEach(() => {
    disturb = async () => undefined;
  });
  afterAll(() => store.close());

  const events = (id: string): Promise<unknown[]> =>
    database.query('select version from stele.events where stream_id = $1', [`counter-${id}`]);
  const counts = (id: string): Promise<unknown[]> =>
    database.query('select count from counts where id = $1', [`counter-${id}`]);

  test.each(['query', 'pause'] as const)(
    'in an inline handler (%s): it is done again, whole',
    async (moment) => {
      let attempts = 0;
      disturb = async (transaction) => {
        attempts += 1;
        if (attempts > 1) return;
        const { rows } = await transaction.query<{ pid: number }>('select pg_backend_pid() as pid');
        const ended = terminate(`pid = ${rows[0]?.pid}`);
        if (moment === 'query') await transaction.query('select pg_sleep(10)');
        await ended;
      };
      const result = await store.execute(Counter, moment, 'increment', {});
      expect(result).toMatchObject({ ok: true, version: 1 });
      expect(attempts).toBe(2);
      expect(await events(moment)).toHaveLength(1);
      expect(await counts(moment)).toEqual([{ count: 1 }]);
    },
  );

  test('in an inline handler: an error of the handler’s own is not tried again', async () => {
    let attempts = 0;
    disturb = async () => {
      attempts += 1;
      throw new Error('not today');
    };
    await expect(store.execute(Counter, 'own', 'increment', {})).rejects.toMatchObject({
      code: 'projection-failed',
      message: expect.stringContaining('not today') as string,
    });
    expect(attempts).toBe(1);
    expect(await events('own')).toEqual([]);
  });

  test('in the caller’s transaction: the append fails, and nothing is stored', async () => {
    const client = new pg.Client(database.connectionString);
    // It is the caller's connection, so listening to its end is the caller's task.
    client.on('error', () => undefined);
    await client.connect();
    await client.query('begin');
    const options = { transaction: client };
    await store.append(Note.stream('lost'), [written(1)], options);
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    await database.query('select pg_terminate_backend($1, 5000)', [rows[0]?.pid]);
    await expect(store.append(Note.stream('lost'), [written(2)], options)).rejects.toBeInstanceOf(
      Error,
    );
    expect(await store.load(Note, 'lost')).toMatchObject({ version: 0 });
    await expect(store.append(Note.stream('lost'), [written(3)])).resolves.toMatchObject({
      version: 1,
    });
  });

  test('while it waits for its stream: it waits again, and is stored', async () => {
    const holder = await database.connect();
    await holder.query('begin');
    await store.append(Note.stream('held'), [written(1)], { transaction: holder });
    const appending = store.append(Note.stream('held'), [written(2)]);
    for (let ended = 0; ended < 3;) {
      ended += await terminate(`wait_event_type = 'Lock' and query not like '%pg_stat_activity%'`);
    }
    await holder.query('commit');
    await expect(appending).resolves.toMatchObject({ version: 2, deduplicated: false });
    await holder.end();
  });

  test('under load: what was acknowledged is stored exactly once, and everybody is answered', async () => {
    const acknowledged: string[] = [];
    const done = new AbortController();
    const appending = Promise.all(
      Array.from({ length: 32 }, async (_, caller) => {
        for (let n = 0; n < 100; n += 1) {
          // One in four goes to a stream that all share.
          const id = n % 4 === 0 ? 'shared' : `load-${caller}`;
          await store.append(Note.stream(id), [written(`${caller}/${n}`)]);
          acknowledged.push(`${caller}/${n}`);
        }
      }),
    ).finally(() => done.abort());
    let ended = 0;
    while (!done.signal.aborted) ended += await terminate(`state = 'active'`);
    await appending;
    expect(ended).toBeGreaterThan(0);

    const stored = await database.query<{ body: string }>(
      `select data ->> 'body' as body from stele.events
        where stream_id = 'note-shared' or stream_id like 'note-load-%'`,
    );
    expect(stored.map(({ body }) => body).toSorted()).toEqual(acknowledged.toSorted());
    expect(acknowledged).toHaveLength(32 * 100);
  });
});
