import { inspect } from 'node:util';
import colors from 'picocolors';
import { compare, openRuntime, readModel, rebuild, type Store } from 'stele';
import { count, printSection, printTable, printText, regionsOf, timeOf } from './demo-page.ts';
import { startFakeMailServer } from './fake-mail-server.ts';
import { FirstSignUps } from './first-release.ts';
import { openMailer } from './mailer.ts';
import { SignUps } from './sign-ups.ts';
import { User } from './user.ts';
import { welcome } from './welcome.ts';

// The part of the story that plays behind the appends: what follows the events, and is built of them again.
const codeOf = regionsOf(new URL(import.meta.url));

/** A read model that follows the events, and a query that finds what was stored a moment before. */
export async function showSignUps(store: Store, hashedPassword: string): Promise<void> {
  printSection(
    'A read model behind the appends',
    'Sign-ups per day. It starts late, catches up, and can be waited for.',
    codeOf('sign-ups'),
  );
  const grace = { email: 'grace@example.org', username: 'grace', hashedPassword };
  // #region sign-ups
  await using runtime = await openRuntime(store, { run: [FirstSignUps] });
  await runtime.caughtUp();
  await store.execute(User, 'grace', 'register', grace, {
    waitFor: [FirstSignUps],
  });
  const days = await readModel(store, FirstSignUps, (days) => days.find());
  // #endregion
  printTable(
    ['day', 'users'],
    days.map(({ key, document }) => [key, document.users]),
  );
}

/** An effect on the outside. */
export async function showWelcome(store: Store, hashedPassword: string): Promise<void> {
  printSection(
    'A reaction: welcome by e-mail',
    'Tried until the server takes it; a repetition has the same Message-ID.',
    codeOf('welcome'),
  );
  await using server = await startFakeMailServer();
  const mailer = openMailer(server.url);
  const lin = { email: 'lin@example.net', username: 'lin', hashedPassword };
  // #region welcome
  const Welcome = welcome(mailer); // a reaction, from: 'now'
  await using runtime = await openRuntime(store, { run: [Welcome] });
  const { ok } = await store.execute(User, 'lin', 'register', lin, {
    waitFor: [Welcome],
  });
  // #endregion
  await runtime.close();
  mailer.close();
  if (!ok) throw new Error('Nobody else is called Lin.');
  for (const { to, subject, messageId } of server.received) {
    printText(`To: ${to}\nSubject: ${subject}\nMessage-ID: ${messageId}`, colors.green);
  }
}

/** A read model of the past. */
export async function showSignUpsThen(store: Store, before: Date): Promise<void> {
  printSection(
    "Yesterday's read model",
    'Built of the events up to a time, read, and gone: nothing was kept for it.',
    codeOf('sign-ups-then'),
  );
  // #region sign-ups-then
  const then = await readModel(store, FirstSignUps, (days) => days.find(), {
    at: before,
  });
  // #endregion
  printTable(
    [`day, at ${timeOf(before)}`, 'users'],
    then.map(({ key, document }) => [key, document.users]),
  );
}

/** The same history by other code. */
export async function showRebuild(store: Store): Promise<void> {
  printSection(
    'New logic, the same history',
    'Sign-ups by domain, too: built beside the live table, compared, exchanged.',
    codeOf('rebuild'),
  );
  // #region rebuild
  const { tables } = await compare(store, SignUps); // nothing changes yet
  const { position, swapMs } = await rebuild(store, SignUps);
  // #endregion
  for (const { table, added, removed, changed, samples } of tables) {
    printText(`${table}: ${added} added, ${removed} removed, ${changed} changed, such as`);
    const [sample] = samples;
    printText(`- ${oneLine(sample?.before?.['document'])}`, colors.red);
    printText(`+ ${oneLine(sample?.after?.['document'])}`, colors.green);
  }
  printText(`\nExchanged at position ${count(position)}, in ${count(Math.ceil(swapMs))} ms.`);
}

const oneLine = (value: unknown): string =>
  inspect(value, { breakLength: Number.POSITIVE_INFINITY });
