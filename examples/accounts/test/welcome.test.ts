import { expect, test } from 'vitest';
import { createTestDatabase } from '../../../test/support/database.ts';
import { until } from '../../../test/support/subscriptions.ts';
import { startFakeMailServer, type ReceivedMail } from '../src/fake-mail-server.ts';
import { openMailer, type Mailer } from '../src/mailer.ts';
import { openAccounts, type Accounts } from '../src/service.ts';
import { User } from '../src/user.ts';
import { welcome } from '../src/welcome.ts';

const register = (accounts: Accounts, id: string) => {
  const input = { email: `${id}@example.com`, username: id, hashedPassword: 'hash' };
  return accounts.store.execute(User, id, 'register', input);
};

/** A mailer whose connections end with the test. */
function mailerFor(url: string): Mailer & Disposable {
  const mailer = openMailer(url);
  return { ...mailer, [Symbol.dispose]: () => mailer.close() };
}

test('who signs up is welcomed, and nobody who had before', async () => {
  await using database = await createTestDatabase();
  await using server = await startFakeMailServer();
  using mailer = mailerFor(server.url);
  {
    await using before = await openAccounts(database.connectionString);
    await register(before, 'eve');
  }
  await using accounts = await openAccounts(database.connectionString, [welcome(mailer)]);
  await register(accounts, 'ada');
  await accounts.runtime.caughtUp();
  expect(server.received).toEqual([
    {
      to: 'ada@example.com',
      subject: 'Welcome',
      messageId: expect.stringMatching(/^<welcome\.[0-9a-f-]{36}@accounts\.example>$/u),
    },
  ]);
});

test('a mail that the server does not take is sent again, and a repetition has the same id', async () => {
  await using database = await createTestDatabase();
  const seen: ReceivedMail[] = [];
  await using server = await startFakeMailServer((mail) => {
    seen.push(mail);
    if (seen.length === 1) throw new Error('Come back later');
  });
  using mailer = mailerFor(server.url);
  const Welcome = welcome(mailer);
  await using accounts = await openAccounts(database.connectionString, [Welcome]);
  await register(accounts, 'ada');
  await accounts.runtime.caughtUp();
  expect(server.received).toHaveLength(1);
  // As when the process had died before it was noted that the mail was sent.
  await accounts.runtime.reset(Welcome, 'beginning');
  await until(
    () => seen.length,
    (mails) => mails === 3,
  );
  expect(new Set(seen.map(({ messageId }) => messageId)).size).toBe(1);
});

test('an address that takes no mail is set aside, and can be tried again', async () => {
  await using database = await createTestDatabase();
  let takesAll = false;
  await using server = await startFakeMailServer(({ to }) => {
    if (to.startsWith('full@') && !takesAll) throw new Error('The mailbox is full');
  });
  using mailer = mailerFor(server.url);
  const Welcome = welcome(mailer);
  await using accounts = await openAccounts(database.connectionString, [Welcome]);
  await register(accounts, 'full');
  await register(accounts, 'ada');
  await accounts.runtime.caughtUp();
  expect(server.received.map(({ to }) => to)).toEqual(['ada@example.com']);
  expect(await accounts.runtime.parked(Welcome)).toMatchObject([
    { streamId: 'user-full', type: 'UserCreated', attempts: 3 },
  ]);
  takesAll = true;
  expect(await accounts.runtime.replay(Welcome)).toBe(1);
  await until(
    () => accounts.runtime.parked(Welcome),
    (parked) => parked.length === 0,
  );
  expect(server.received.map(({ to }) => to)).toEqual(['ada@example.com', 'full@example.com']);
});
