import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { openStore } from 'stele';
import type { Store } from 'stele';
import { startEmbeddedPostgres } from 'stele/embedded';
import type { EmbeddedPostgres } from '../src/db/embedded.ts';
import { Counter, Note } from './support/aggregates.ts';

let server: EmbeddedPostgres;
let store: Store;
beforeAll(async () => {
  // The log is written out late, so that a crash loses what nobody has committed.
  server = await startEmbeddedPostgres({ settings: { wal_writer_delay: '10s' } });
  store = await openStore({ connection: server.connectionString, aggregates: [Note, Counter] });
});
afterAll(async () => {
  await store.close();
  await server.stop();
});

const written = (body: unknown): ReturnType<typeof Note.emit.Written> =>
  Note.emit.Written({ body });

async function connect(): Promise<pg.Client> {
  const client = new pg.Client(server.connectionString);
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

async function query<Row extends pg.QueryResultRow>(sql: string): Promise<Row[]> {
  const client = await connect();
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function crash(): Promise<void> {
  await server.kill();
  await server.restart();
}

/** Resolves when `count` has been reached. */
function counter(): { readonly add: () => void; reach(count: number): Promise<void> } {
  let total = 0;
  let wanted: { readonly count: number; readonly done: () => void } | undefined;
  return {
    add: () => {
      total += 1;
      if (wanted !== undefined && total >= wanted.count) wanted.done();
    },
    reach: (more) =>
      new Promise((done) => {
        wanted = { count: total + more, done };
      }),
  };
}

describe('a server that crashes and comes back', () => {
  test('has every acknowledged append of 64 appenders exactly once, and answers each', async () => {
    const acknowledged: string[] = [];
    const progress = counter();
    const stop = new AbortController();
    const appending = Promise.all(
      Array.from({ length: 64 }, async (_, caller) => {
        for (let n = 0; !stop.signal.aborted; n += 1) {
          const body = `${caller}/${n}`;
          const id = n % 5 === 0 ? 'shared' : `load-${caller}`;
          await store.append(Note.stream(id), [written(body)]);
          acknowledged.push(body);
          progress.add();
        }
      }),
    );
    await progress.reach(500);
    await crash();
    await progress.reach(500);
    stop.abort();
    await appending;

    const stored = await query<{ body: string }>(
      `select data ->> 'body' as body from stele.events where category = 'note'`,
    );
    expect(stored.map(({ body }) => body).toSorted()).toEqual(acknowledged.toSorted());
    const holes = await query(
      `select stream_id from stele.events group by stream_id having max(version) <> count(*)`,
    );
    expect(holes).toEqual([]);
  });

  test('lets commands go on, each decided on what is stored', async () => {
    const progress = counter();
    const executing = Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let n = 0; n < 20; n += 1) {
          await store.execute(Counter, 'c', 'increment', {}, { attempts: 1_000 });
          progress.add();
        }
      }),
    );
    await progress.reach(40);
    await crash();
    await executing;
    expect(await store.load(Counter, 'c')).toEqual({ state: { count: 160 }, version: 160 });
  });

  test('is read on from where the reader was', async () => {
    const events = Array.from({ length: 5_000 }, (_, n) => written(n));
    await store.append(Note.stream('long'), events);
    const seen: unknown[] = [];
    let restarting: Promise<void> | undefined;
    for await (const event of store.readStream(Note, 'long')) {
      seen.push(event.data.body);
      if (seen.length === 100) {
        await server.kill();
        restarting = server.restart();
      }
    }
    await restarting;
    expect(seen).toEqual(Array.from({ length: 5_000 }, (_, n) => n));
  });

  test('gives positions again that a reader had taken for over, and the reader misses none', async () => {
    await store.append(
      Note.stream('many'),
      Array.from({ length: 2_500 }, (_, n) => written(n)),
    );
    const [before] = await query<{ newest: string }>(
      'select max(position) as newest from stele.events',
    );
    const start = Number(before?.newest) - 2_500;
    // Positions that are taken and given up. Nothing makes the server write that down before it dies.
    const gone = await connect();
    await gone.query('begin');
    await store.append(
      Note.stream('gone'),
      Array.from({ length: 100 }, () => written('gone')),
      { transaction: gone },
    );
    await gone.query('rollback');

    const reading = store.read({ after: start });
    let last = (await reading.next()).value?.position ?? 0;
    await crash();
    const early = await connect();
    await early.query('begin');
    await store.append(Note.stream('early'), [written('early')], { transaction: early });
    const { position } = await store.append(Note.stream('late'), [written('late')]);
    expect(position).toBeLessThan(Number(before?.newest) + 100);

    // Whatever this reading gives, the next one goes on behind it.
    const seen: unknown[] = [];
    for await (const event of reading) {
      last = event.position;
      if (event.streamId !== 'note-many') seen.push(event.streamId);
    }
    await early.query('commit');
    await early.end();
    for await (const event of store.read({ after: last })) seen.push(event.streamId);
    expect(seen).toEqual(['note-early', 'note-late']);
  });
});
