import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { isSteleError, readModel } from 'stele';
import { expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../../test/support/database.ts';
import { until } from '../../../test/support/subscriptions.ts';
import { FirstSignUps, playFirstRelease } from '../src/first-release.ts';
import { openAccounts, type Accounts } from '../src/service.ts';
import { SignUps } from '../src/sign-ups.ts';
import { User } from '../src/user.ts';

test('the rebuild shows what changes, and the new release finds its read model', async () => {
  await using database = await createTestDatabase();
  await playFirstRelease(database.connectionString, 30);
  const refused = await openAccounts(database.connectionString).catch((error: unknown) => error);
  expect(isSteleError(refused, 'projection-changed')).toBe(true);

  const output = await runRebuild(database);
  expect(output).toContain("Table 'documents': 0 added, 0 removed, 1 changed.");
  expect(output).toContain('"users":30,"domains":{"example.com":10,');
  expect(output).not.toContain('%'); // a bar is for terminals

  await using accounts = await openAccounts(database.connectionString);
  expect(await signUps(accounts)).toEqual({ users: 30, ofExampleCom: 10 });
});

test('the release before serves until the exchange, and then leaves its work to the next', async () => {
  await using database = await createTestDatabase();
  await playFirstRelease(database.connectionString, 30);
  await using first = await openAccounts(database.connectionString, [FirstSignUps]);
  await runRebuild(database);
  await until(
    () => first.runtime.status(),
    ([signUps]) => signUps?.partitions[0]?.status === 'outdated',
  );
  await register(first, 'ada');
  await using next = await openAccounts(database.connectionString);
  await next.runtime.caughtUp();
  expect(await signUps(next)).toEqual({ users: 31, ofExampleCom: 11 });
});

function register({ store }: Accounts, id: string) {
  const input = { email: `${id}@example.com`, username: id, hashedPassword: 'hash' };
  return store.execute(User, id, 'register', input);
}

async function signUps({ store }: Accounts): Promise<{ users: number; ofExampleCom: number }> {
  const days = await readModel(store, SignUps, (documents) => documents.find());
  return {
    users: days.reduce((sum, { document }) => sum + document.users, 0),
    ofExampleCom: days.reduce(
      (sum, { document }) => sum + (document.domains['example.com'] ?? 0),
      0,
    ),
  };
}

async function runRebuild({ connectionString }: TestDatabase): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    ['--import', 'tsx', 'src/rebuild.ts'],
    {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      env: { ...process.env, DATABASE_URL: connectionString },
    },
  );
  expect(stderr).toBe('');
  return stdout;
}
