import { Presets, SingleBar } from 'cli-progress';
import { compare, rebuild, type BuildOptions } from 'stele';
import { openServer } from './database.ts';
import { playFirstRelease } from './first-release.ts';
import { openAccounts } from './service.ts';
import { SignUps } from './sign-ups.ts';

// Run by a deployment before the new release starts: builds the sign-ups again by the code as it is now,
// while the release before it goes on serving, shows what that changes, and exchanges the two.
await using server = await openServer();
if (server.embedded) {
  const users = 2_000;
  console.log(`No DATABASE_URL, so the first release is played, with ${users} sign-ups.\n`);
  await playFirstRelease(server.connectionString, users);
}
await using accounts = await openAccounts(server.connectionString, []);
const { store } = accounts;

console.log(`Building '${SignUps.name}' by this code, beside the live tables.`);
const comparison = await withBar((onProgress) => compare(store, SignUps, { onProgress }));
for (const { table, added, removed, changed, samples } of comparison.tables) {
  console.log(`\nTable '${table}': ${added} added, ${removed} removed, ${changed} changed.`);
  for (const { before, after } of samples) {
    console.log(`- ${JSON.stringify(before)}\n+ ${JSON.stringify(after)}`);
  }
}
// What was built for the comparison is taken over, with what has been appended since.
const { swapMs, position } = await withBar((onProgress) => rebuild(store, SignUps, { onProgress }));
console.log(`\nExchanged at position ${position}, in ${Math.ceil(swapMs)} ms.`);
console.log('The earlier tables are kept for a day: rollback() goes back to them.');

/** Shows the progress of a build on a terminal, and nothing where there is none. */
async function withBar<T>(
  build: (onProgress: NonNullable<BuildOptions['onProgress']>) => Promise<T>,
): Promise<T> {
  const format = '{bar} {percentage} % of {total} events, {phase}';
  const bar = new SingleBar({ format, stream: process.stdout }, Presets.shades_classic);
  try {
    return await build(({ handled, total, phase }) => {
      if (!bar.isActive) bar.start(total, handled, { phase });
      bar.setTotal(total);
      bar.update(handled, { phase });
    });
  } finally {
    bar.stop();
  }
}
