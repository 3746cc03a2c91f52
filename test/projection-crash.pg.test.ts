import pg from 'pg';
import { openRuntime, openStore, rebuild, type Store } from 'stele';
import { startEmbeddedPostgres } from 'stele/embedded';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { EmbeddedPostgres } from '../src/db/embedded.ts';
import { Counter } from './support/aggregates.ts';
import { until } from './support/subscriptions.ts';
import { tally } from './support/tally.ts';

// A read model does not wait for the disk, and the log is written out late: so a crash of the server takes
// a good part of it back, together with its checkpoint.
let server: EmbeddedPostgres;
let store: Store;
let admin: pg.Pool;
const count = 2_000;

beforeAll(async () => {
  server = await startEmbeddedPostgres({ settings: { wal_writer_delay: '10s' } });
  admin = new pg.Pool({ connectionString: server.connectionString });
  admin.on('error', () => undefined);
  store = await openStore({ connection: server.connectionString, aggregates: [Counter] });
  const events = Array.from({ length: count / 10 }, (_, to) => Counter.emit.Incremented({ to }));
  for (let n = 0; n < 10; n += 1) await store.append(Counter.stream(String(n)), events);
});
afterAll(async () => {
  await store.close();
  await admin.end();
  await server.stop();
});

async function checkpointOf(name: string): Promise<number> {
  const { rows } = await admin.query<{ checkpoint: string }>(
    'select min(checkpoint) as checkpoint from stele.partitions where subscription like $1',
    [`${name}%`],
  );
  return Number(rows[0]?.checkpoint ?? 0);
}

async function crash(): Promise<void> {
  await server.kill();
  await server.restart();
}

async function handled(name: string): Promise<number> {
  const { rows } = await admin.query<{ sum: string }>(
    `select sum(events) as sum from stele_${name}.tally`,
  );
  return Number(rows[0]?.sum);
}

it('what a crash takes back of a read model is handled again by the process that lives', async () => {
  const runtime = await openRuntime(store, { run: [tally('crashed')], leaseMs: 60_000 });
  await until(
    () => checkpointOf('crashed'),
    (checkpoint) => checkpoint > 0,
  );
  await crash();
  await runtime.caughtUp({ timeoutMs: 20_000 });
  expect(await handled('crashed')).toBe(count);
  await runtime.close();
});

it('and so is what it takes back of a shadow', async () => {
  const rebuilding = rebuild(store, tally('shadowed'), { leaseMs: 60_000 });
  await until(
    () => checkpointOf('shadowed~'),
    (checkpoint) => checkpoint > 0,
  );
  await crash();
  await rebuilding;
  expect(await handled('shadowed')).toBe(count);
});
