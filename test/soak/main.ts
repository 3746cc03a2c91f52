/** `npm run soak -- --minutes 10 --seed 42` */
import { parseArgs } from 'node:util';
import { startEmbeddedPostgres } from 'stele/embedded';
import { soak } from './soak.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    verbose: { type: 'boolean', default: false },
  },
});
const seed = Number(values.seed);
process.stdout.write(`seed ${seed}, ${values.minutes} minutes\n`);

await using server = await startEmbeddedPostgres({ settings: { max_connections: '200' } });
const { events, faults, wrong } = await soak({
  server,
  seed,
  seconds: Number(values.minutes) * 60,
  log: (line) => {
    if (values.verbose) process.stdout.write(`${line}\n`);
  },
});
const list = Object.entries(faults).map(([fault, times]) => `${times} × ${fault}`);
process.stdout.write(`${events} events; ${list.join(', ')}\n`);
process.stdout.write(
  wrong.length === 0 ? 'Everything was seen, once and in order.\n' : `WRONG: ${wrong.join('; ')}\n`,
);
process.exitCode = wrong.length === 0 ? 0 : 1;
