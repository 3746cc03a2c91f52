/** A process of the soak: it runs everything, until it is killed. */
import { openRuntime, openStore, reaction, subscription } from 'stele';
import { Counter } from '../support/aggregates.ts';
import { tally } from '../support/tally.ts';
import pg from 'pg';

// When whoever has started it is gone, so is this.
process.stdin.on('end', () => process.exit()).resume();

const connectionString = process.env['CONNECTION'] ?? '';
const leaseMs = Number(process.env['LEASE_MS']);
const pool = new pg.Pool({ connectionString, max: 2 });
pool.on('error', () => undefined);

/** Every event once, in order: the table takes doubles, so that they are seen. */
const Seen = subscription('seen', {
  aggregates: [Counter],
  partitions: 4,
  attempts: 1_000_000,
  on: {
    Incremented: async ({ streamId, version, position }, sql) => {
      await sql.query('insert into seen (stream_id, version, position) values ($1, $2, $3)', [
        streamId,
        version,
        position,
      ]);
    },
  },
});

/** Every event at least once. */
const Told = reaction('told', {
  aggregates: [Counter],
  partitions: 2,
  attempts: 1_000_000,
  on: {
    Incremented: async (_, { idempotencyKey }) => {
      await pool.query('insert into told values ($1) on conflict do nothing', [idempotencyKey]);
    },
  },
});

const store = await openStore({
  connection: { connectionString, max: 8 },
  aggregates: [Counter],
});
await openRuntime(store, {
  run: [Seen, Told, tally('soaked', { partitions: 2 })],
  leaseMs,
  changedProjections: 'warn',
  onNotice: () => undefined,
});
process.stdout.write('ready\n');
