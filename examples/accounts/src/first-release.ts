import { documentProjection } from 'stele';
import { hashPassword } from './password.ts';
import { openAccounts } from './service.ts';
import { dayOf } from './sign-ups.ts';
import { User } from './user.ts';

/** The sign-ups as the first release counted them, before anybody asked for domains. */
export const FirstSignUps = documentProjection('sign-ups', {
  aggregates: [User],
  others: 'ignore',
  version: 1,
  key: ({ metadata }) => dayOf(metadata.timestamp),
  initialState: () => ({ users: 0 }),
  evolve: { UserCreated: ({ users }) => ({ users: users + 1 }) },
});

/** Leaves a database as the first release did: so many users, and their sign-ups counted its way. */
export async function playFirstRelease(connectionString: string, users: number): Promise<void> {
  await using accounts = await openAccounts(connectionString, [FirstSignUps]);
  const { store, runtime } = accounts;
  const hashedPassword = await hashPassword('correct horse battery staple');
  const domains = ['example.com', 'example.org', 'example.net'];
  const register = async (n: number): Promise<void> => {
    const [username, domain] = [`user${n}`, domains[n % domains.length]];
    const input = { email: `${username}@${domain}`, username, hashedPassword };
    await store.execute(User, username, 'register', input);
  };
  await Promise.all(Array.from({ length: users }, (_, n) => register(n)));
  await runtime.caughtUp();
}
