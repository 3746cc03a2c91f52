import { inspect } from 'node:util';
import colors from 'picocolors';
import { isSteleError, openStore, withMetadata, type Change, type Store } from 'stele';
import { showRebuild, showSignUps, showSignUpsThen, showWelcome } from './demo-behind.ts';
import { count, printText, printSection, printTable, regionsOf, timeOf } from './demo-page.ts';
import { hashPassword } from './password.ts';
import { openAccounts, type Accounts } from './service.ts';
import { User } from './user.ts';

// What a section shows is cut out of this file, so it is the code that runs.
const codeOf = regionsOf(new URL(import.meta.url));

const callers = 64;

/** Runs the service's life in an empty database, and shows what can be asked of it afterwards. */
export async function tellStory(connectionString: string, users: number): Promise<void> {
  await using accounts = await openAccounts(connectionString, []);
  const { store } = accounts;
  await printServer(accounts);
  // One hash for all: hashing is slow on purpose, and not what is measured here.
  const hashedPassword = await hashPassword('correct horse battery staple');

  const rate = await showCrowd(store, users, hashedPassword);
  await showUniqueness(store, hashedPassword);
  const before = await clock(accounts);
  await changeAda(store);
  await showReadModel(accounts);
  await showHistory(store);
  await showTimeTravel(store, before);
  await showBlame(store);
  await showConflict(store);
  await showSignUps(store, hashedPassword);
  await showWelcome(store, hashedPassword);
  await showSignUpsThen(store, before);
  await showRebuild(store);
  await showSpeed(connectionString, hashedPassword, users, rate);
}

async function printServer({ pool }: Accounts): Promise<void> {
  const { rows } = await pool.query<{ version: string; fsync: string }>(
    `select split_part(current_setting('server_version'), ' ', 1) as version,
       current_setting('fsync') as fsync`,
  );
  const where = process.env['DATABASE_URL'] ? 'at DATABASE_URL' : 'started for this demo';
  printText(`\nStele on PostgreSQL ${rows[0]?.version} ${where}, fsync ${rows[0]?.fsync}`);
}

async function showCrowd(store: Store, users: number, hashedPassword: string): Promise<number> {
  printSection(
    'Many users, many at a time',
    'Each command stores its event and updates the table `users`, in one commit.',
    codeOf('register'),
  );
  const input = (id: string) => ({ email: addressOf(id), username: id, hashedPassword });
  const ids = ['ada', ...numbered('user', users - 1)];
  const started = performance.now();
  // #region register
  await withMetadata({ userId: 'web' }, () =>
    atOnce(64, ids, (id) => store.execute(User, id, 'register', input(id))),
  );
  // #endregion
  const registered = performance.now();
  const movers = ids.slice(-users / 5);
  await atOnce(callers, movers, (id) =>
    as(id, () => store.execute(User, id, 'changeEmail', { email: `${id}@new.example` })),
  );
  const moved = performance.now();
  printText(`${count(ids.length)} users registered in ${seconds(registered - started)}.`);
  printText(
    `${count(movers.length)} of them changed their e-mail in ${seconds(moved - registered)}.`,
  );
  return (ids.length / (registered - started)) * 1000;
}

async function showUniqueness(store: Store, hashedPassword: string): Promise<void> {
  printSection(
    'A rule across users',
    'Twenty want one address at once. A refusal is a typed value (409 in HTTP).',
    codeOf('uniqueness'),
  );
  const ids = numbered('twin', 20);
  const input = { email: 'twin@example.com', username: 'twin', hashedPassword };
  // #region uniqueness
  const register = (id: string) => store.execute(User, id, 'register', input);
  const answers = await as('web', () => Promise.all(ids.map(register)));
  const refusals = answers.flatMap((done) => (done.ok ? [] : [done.error]));
  // #endregion
  printText(`${answers.length - refusals.length} × registered`, colors.green);
  for (const [refusal, times] of tally(
    refusals.map(({ type, data }) => `${type} ${inspect(data)}`),
  )) {
    printText(`${times} × ${refusal}`, colors.yellow);
  }
}

async function changeAda(store: Store): Promise<void> {
  const changeEmail = (email: string) => () => store.execute(User, 'ada', 'changeEmail', { email });
  await as('ada', changeEmail('ada@lovelace.org'));
  await as('support-7', () => store.execute(User, 'ada', 'rename', { username: 'countess' }));
  await as('crm-import', changeEmail('ada@lovlace.org'));
}

async function showReadModel({ pool }: Accounts): Promise<void> {
  printSection(
    'The read model',
    'An ordinary table in your database, never behind its events.',
    codeOf('read-model'),
  );
  // #region read-model
  const { rows } = await pool.query<Record<string, string>>(`
    select username, email, updated_by from users
    order by updated_at desc limit 4`);
  // #endregion
  printTable(
    ['username', 'email', 'updated by'],
    rows.map((row) => Object.values(row)),
  );
}

async function showHistory(store: Store): Promise<void> {
  printSection(
    'History: what changed, and who changed it',
    'Ada gets no mail any more. Which change did it, and who made it?',
    codeOf('history'),
  );
  const rows: (readonly unknown[])[] = [];
  // #region history
  for await (const { event, changes } of store.history(User, 'ada')) {
    const { version, type, metadata } = event;
    rows.push([version, type, metadata.userId, arrows(changes)]);
  }
  // #endregion
  printTable(['', 'event', 'by', 'what changed'], rows);
}

async function showTimeTravel(store: Store, before: Date): Promise<void> {
  printSection(
    'Time travel',
    `Ada at ${timeOf(before)}, a moment before those changes, and now.`,
    codeOf('time-travel'),
  );
  // #region time-travel
  const then = await store.load(User, 'ada', { at: before });
  const now = await store.load(User, 'ada');
  // #endregion
  const [was, is] = [fieldsOf(then), fieldsOf(now)];
  printTable(
    ['', timeOf(before), 'now'],
    Object.keys(is).map((field) => [field, was[field], is[field]]),
  );
}

async function showBlame(store: Store): Promise<void> {
  printSection(
    'Blame',
    'For every value of the state, the event that last set it.',
    codeOf('blame'),
  );
  // #region blame
  const blame = await store.blame(User, 'ada');
  // #endregion
  printTable(
    ['', 'value', 'set by', 'in', 'at'],
    blame.map(({ path, value, event }) => [
      path.join('.'),
      value,
      event?.metadata.userId,
      event && `${event.type} (${event.version})`,
      event && timeOf(event.metadata.timestamp),
    ]),
  );
}

async function showConflict(store: Store): Promise<void> {
  printSection(
    'Two who correct the same version',
    'One is stored, the other is told: nothing is overwritten (412 in HTTP).',
    codeOf('conflict'),
  );
  // #region conflict
  const { version: expectedVersion } = await store.load(User, 'ada');
  const correct = (email: string) =>
    store.execute(User, 'ada', 'changeEmail', { email }, { expectedVersion });
  const both = [correct('ada@lovelace.org'), correct('ada@love.org')];
  // #endregion
  for (const result of await Promise.allSettled(both)) {
    if (result.status === 'fulfilled')
      printText(`Stored as version ${result.value.version}.`, colors.green);
    else if (isSteleError(result.reason, 'concurrency')) {
      printText(`${result.reason.name}: ${result.reason.message}`, colors.yellow);
    } else throw result.reason;
  }
}

async function showSpeed(
  connectionString: string,
  hashedPassword: string,
  users: number,
  withReadModel: number,
): Promise<void> {
  printSection(
    'Speed here and now',
    `New users a second: ${callers} callers, each answered after its commit; one run.`,
    codeOf('speed'),
  );
  // A second store in the same database, since these users are in no read model.
  await using store = await openStore({
    connection: connectionString,
    schema: 'stele_speed',
    aggregates: [User],
  });
  const user = { email: 'a@example.com', username: 'a', hashedPassword };
  const event = User.emit.UserCreated(user);
  // #region speed
  const execute = (id: string) => store.execute(User, id, 'register', user);
  const append = (id: string) =>
    store.append(User.stream(id), [event], { expectedVersion: 'no-stream' });
  // #endregion
  const rate = async (prefix: string, task: (id: string) => Promise<unknown>): Promise<number> => {
    const started = performance.now();
    await atOnce(callers, numbered(prefix, users), task);
    return (users / (performance.now() - started)) * 1000;
  };
  const executed = await rate('execute', execute);
  const appended = await rate('append', append);
  printTable(
    ['', ' a second'],
    [
      ['execute, with the read model in the same commit (section 1)', withReadModel],
      ['execute, without a read model', executed],
      ['append, without a read model', appended],
    ].map(([what, rate]) => [what, count(Number(rate)).padStart(9)]),
  );
}

const as = <T>(userId: string, task: () => Promise<T>): Promise<T> =>
  withMetadata({ userId }, task);

/** Works on the items in order, a number of them at any time. */
async function atOnce<T>(
  limit: number,
  items: readonly T[],
  task: (item: T) => Promise<unknown>,
): Promise<void> {
  const queue = items.values();
  const work = async (): Promise<void> => {
    for (const item of queue) await task(item);
  };
  await Promise.all(Array.from({ length: limit }, work));
}

/** The database's clock, by which events are dated. */
async function clock({ pool }: Accounts): Promise<Date> {
  const { rows } = await pool.query<{ now: Date }>('select clock_timestamp() as now');
  return rows[0]?.now ?? new Date();
}

/** Addresses of three domains, by the last digit of the id. */
function addressOf(id: string): string {
  const domain = ['com', 'org', 'net'][Number(id.at(-1)) % 3] ?? 'com';
  return `${id}@example.${domain}`;
}

function fieldsOf({ state, version }: { state: object; version: number }): Record<string, unknown> {
  return { version, ...state };
}

function arrows(changes: readonly Change[]): string {
  const lines = changes.map(({ path, before, after }) => {
    const from = before === undefined ? '' : `${text(before)} → `;
    return `${path.join('.')}: ${from}${text(after)}`;
  });
  return lines.join('\n');
}

function tally(lines: readonly string[]): Map<string, number> {
  const times = new Map<string, number>();
  for (const line of lines) times.set(line, (times.get(line) ?? 0) + 1);
  return times;
}

const text = (value: unknown): string => (typeof value === 'string' ? value : inspect(value));
const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;
const numbered = (prefix: string, length: number): string[] =>
  Array.from({ length }, (_, n) => `${prefix}${n + 1}`);
