import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { openServer, type Server } from './database.ts';
import { tellStory } from './demo-story.ts';
import { printText } from './demo-page.ts';

const { keep, users } = parseArgs({
  options: {
    keep: { type: 'boolean', default: false },
    users: { type: 'string', default: '5000' },
  },
}).values;

const interrupted = new Promise<'interrupted'>((resolve) => {
  const interrupt = (): void => {
    resolve('interrupted');
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  process.stdout.on('error', interrupt); // whoever read it has gone, as with `| head`
});

try {
  const ended = await main();
  // A story that was broken off still waits for answers that nobody will give.
  if (ended === 'interrupted') process.exit(130);
} catch (error) {
  // `message` is empty where a connection was refused by each address of a host.
  const { message, code } = error as NodeJS.ErrnoException;
  console.error(message === '' ? code : message);
  process.exitCode = 1;
}

async function main(): Promise<'told' | 'interrupted'> {
  await using server = await openServer();
  await using database = await createDatabase(server);
  const story = tellStory(database.connectionString, Number(users)).then(() => 'told' as const);
  const ended = await Promise.race([story, interrupted]);
  if (ended === 'interrupted') return ended;
  if (!keep) {
    printText('\n\nTo look around in this database yourself: npm run demo -- --keep\n\n');
    return ended;
  }
  printText('\n\nThe database is yours until you press Ctrl-C; then it goes with its data:\n');
  printText(`${database.connectionString}\n\n`);
  // An embedded server keeps no process alive.
  const alive = setInterval(() => undefined, 60_000);
  await interrupted;
  clearInterval(alive);
  return 'told';
}

/** A database of this run's own, so that it meets neither your tables nor another run. */
async function createDatabase(
  server: Server,
): Promise<AsyncDisposable & { connectionString: string }> {
  const name = `stele_demo_${randomBytes(4).toString('hex')}`;
  const url = new URL(server.connectionString);
  url.pathname = `/${name}`;
  await onServer(server, `create database ${name}`);
  return {
    connectionString: url.href,
    [Symbol.asyncDispose]: async () => {
      if (!server.embedded) await onServer(server, `drop database ${name} with (force)`);
    },
  };
}

async function onServer({ connectionString }: Server, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
