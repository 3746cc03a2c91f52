import { expect, it } from 'vitest';
import { startEmbeddedPostgres } from 'stele/embedded';
import { soak } from './soak/soak.ts';

// `npm run soak` does the same for longer.
it('sees every event once and in order, whatever is killed, stopped, ended or rebuilt', async () => {
  const seed = Number(process.env['FC_SEED'] ?? Date.now() % 1_000_000);
  await using server = await startEmbeddedPostgres({ settings: { max_connections: '200' } });
  const report = await soak({ server, seed, seconds: 10 });
  expect(report.wrong, `seed ${seed}, ${JSON.stringify(report)}`).toEqual([]);
  expect(report.events).toBeGreaterThan(0);
}, 120_000);
