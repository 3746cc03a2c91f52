import { readModel } from 'stele';
import { expect, test } from 'vitest';
import { createTestDatabase } from '../../../test/support/database.ts';
import { createApp } from '../src/http.ts';
import { openAccounts, type Accounts } from '../src/service.ts';
import { SignUps, type SignUpsOfDay } from '../src/sign-ups.ts';
import { User } from '../src/user.ts';

const register = (accounts: Accounts, id: string, email: string) =>
  accounts.store.execute(
    User,
    id,
    'register',
    { email, username: id, hashedPassword: 'hash' },
    { waitFor: [SignUps] },
  );

/** What the API answers, its days added up: a test may run past midnight. */
async function signUps(accounts: Accounts, query = ''): Promise<SignUpsOfDay> {
  const response = await createApp(accounts).request(`/sign-ups${query}`);
  expect(response.status).toBe(200);
  const days = (await response.json()) as readonly (SignUpsOfDay & { readonly day: string })[];
  const domains: Record<string, number> = {};
  for (const day of days) {
    expect(day.day).toMatch(/^\d{4}-\d\d-\d\d$/u);
    for (const [domain, users] of Object.entries(day.domains)) {
      domains[domain] = (domains[domain] ?? 0) + users;
    }
  }
  return { users: days.reduce((sum, { users }) => sum + users, 0), domains };
}

test('users are counted by day and domain, as soon as who waits for it is answered', async () => {
  await using database = await createTestDatabase();
  await using accounts = await openAccounts(database.connectionString);
  expect(await signUps(accounts)).toEqual({ users: 0, domains: {} });
  await register(accounts, 'ada', 'ada@example.com');
  expect(await signUps(accounts)).toEqual({ users: 1, domains: { 'example.com': 1 } });
  await register(accounts, 'eve', 'eve@Eden.example');
  await register(accounts, 'joe', 'joe@example.com');
  await accounts.store.execute(User, 'joe', 'changeEmail', { email: 'joe@new.example' });
  await accounts.runtime.caughtUp();
  const domains = { 'example.com': 2, 'eden.example': 1 };
  expect(await signUps(accounts)).toEqual({ users: 3, domains });
});

test('GET /sign-ups?at= answers with the read model of that time', async () => {
  await using database = await createTestDatabase();
  await using accounts = await openAccounts(database.connectionString);
  const first = await register(accounts, 'ada', 'ada@example.com');
  if (!first.ok) throw new Error(first.error.type);
  const at = first.events[0]?.metadata.timestamp;
  await database.query('select pg_sleep(0.002)'); // a time that is not the same
  await register(accounts, 'joe', 'joe@example.com');
  expect(await signUps(accounts, `?at=${at?.toISOString()}`)).toMatchObject({ users: 1 });
  expect(await signUps(accounts, '?at=2020-01-01T00:00:00Z')).toMatchObject({ users: 0 });
  expect(await signUps(accounts)).toMatchObject({ users: 2 });
});

test('two processes count each user once', async () => {
  await using database = await createTestDatabase();
  await using one = await openAccounts(database.connectionString);
  await using two = await openAccounts(database.connectionString);
  await Promise.all(
    Array.from({ length: 40 }, (_, n) => {
      const id = `user${n}`;
      return register(n % 2 === 0 ? one : two, id, `${id}@example.com`);
    }),
  );
  const users = await readModel(one.store, SignUps, async (days) => {
    const found = await days.find();
    return found.reduce((sum, { document }) => sum + document.users, 0);
  });
  expect(users).toBe(40);
});
