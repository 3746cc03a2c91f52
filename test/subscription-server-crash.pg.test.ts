import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { openRuntime, openStore, subscription } from 'stele';
import type { Store } from 'stele';
import { startEmbeddedPostgres } from 'stele/embedded';
import type { EmbeddedPostgres } from '../src/db/embedded.ts';
import { Note } from './support/aggregates.ts';
import { see, until } from './support/subscriptions.ts';

let server: EmbeddedPostgres;
let store: Store;
beforeAll(async () => {
  // The log is written out late, so that a crash loses what nobody has committed.
  server = await startEmbeddedPostgres({ settings: { wal_writer_delay: '10s' } });
  await query(
    'create table seen (n bigint generated always as identity, subscription text, position bigint, stream_id text, version int)',
  );
  store = await openStore({ connection: server.connectionString, aggregates: [Note] });
});
afterAll(async () => {
  await store.close();
  await server.stop();
});

async function query<Row extends pg.QueryResultRow>(sql: string): Promise<Row[]> {
  const client = new pg.Client(server.connectionString);
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

test('a server that crashes and comes back costs a subscription nothing, and nothing twice', async () => {
  const Crashing = subscription('crashing', {
    aggregates: [Note],
    partitions: 2,
    on: { Written: see('crashing') },
  });
  await using runtime = await openRuntime(store, {
    run: [Crashing],
    leaseMs: 2_000,
    onNotice: () => undefined,
  });
  let appended = 0;
  const stop = new AbortController();
  const appending = Promise.all(
    Array.from({ length: 8 }, async (_, caller) => {
      while (!stop.signal.aborted) {
        await store.append(Note.stream(`${caller}`), [Note.emit.Written({ body: caller })]);
        appended += 1;
      }
    }),
  );
  for (const enough of [200, 200]) {
    const before = appended;
    await until(
      () => appended,
      (count) => count > before + enough,
    );
    await server.kill();
    await server.restart();
  }
  const before = appended;
  await until(
    () => appended,
    (count) => count > before + 200,
  );
  stop.abort();
  await appending;
  await runtime.caughtUp({ timeoutMs: 20_000 });
  for (const partition of [0, 1]) {
    const [found] = await query<{ seen: string[]; stored: string[] }>(
      `select
         (select array_agg(position order by n) from seen
          where stele.partition_of(stream_id, 2) = ${partition}) as seen,
         (select array_agg(position order by position) from stele.events
          where stele.partition_of(stream_id, 2) = ${partition}) as stored`,
    );
    expect(found?.seen).toEqual(found?.stored);
    expect(found?.seen.length).toBeGreaterThan(100);
  }
});
