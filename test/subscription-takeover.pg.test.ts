import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import { openStore } from 'stele';
import type { Store } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { partitionsOf, stored, until } from './support/subscriptions.ts';
import { startWorkerProcess, type WorkerProcess } from './support/worker-process.ts';

const database = useDatabase();
let store: Store;
beforeAll(async () => {
  await database.query('create table counts (stream_id text primary key, count int not null)');
  store = await openStore({ connection: database.connectionString, aggregates: [Note] });
});
afterAll(() => store.close());
beforeEach(() => database.query('truncate counts'));

const leaseMs = 1_000;

/**
 * Counts the notes of each stream in a read model that would show every double. An event whose body is
 * `hold` is held in the middle of its transaction until the process is told to go on.
 */
const script = (name: string): string => `
  import { createInterface } from 'node:readline';
  import { openRuntime, openStore, subscription } from 'stele';
  import { Note } from './test/support/aggregates.ts';
  const lines = createInterface(process.stdin)[Symbol.asyncIterator]();
  const Counts = subscription('${name}', {
    aggregates: [Note],
    on: {
      Written: async ({ streamId, data }, sql) => {
        await sql.query(
          'insert into counts values ($1, 1) on conflict (stream_id) do update set count = counts.count + 1',
          [streamId]);
        if (data.body === 'hold ${name}') {
          console.log('holding');
          await lines.next();
          console.log('going on');
          await sql.query('select 1');
        }
      },
    },
  });
  const store = await openStore({ connection: process.env.CONNECTION, aggregates: [Note] });
  const runtime = await openRuntime(store, { run: [Counts], leaseMs: ${leaseMs}, onNotice: (notice) => {
    console.log('notice ' + notice.kind);
  } });
  console.log('ready');
`;

async function startTwo(name: string): Promise<readonly [WorkerProcess, WorkerProcess]> {
  return Promise.all([
    startWorkerProcess(script(name), database.connectionString),
    startWorkerProcess(script(name), database.connectionString),
  ]);
}

const append = (id: string, body: unknown): Promise<{ readonly position: number }> =>
  store.append(Note.stream(id), [Note.emit.Written({ body })]);

/** The process that owns the only partition. */
async function ownerOf(
  name: string,
  processes: readonly WorkerProcess[],
): Promise<WorkerProcess | undefined> {
  const [row] = await partitionsOf(database, name);
  return processes.find(({ pid }) => row?.label?.endsWith(` ${pid}`));
}

/** Both of them live, and the one that is to have the partition has it. */
async function untilSettled(name: string): Promise<void> {
  await until(
    () =>
      database.query(
        `select p.owner from stele.partitions p
         where p.subscription = $1 and stele.share_of($1, p.owner) = 1
           and (select count(*) from stele.workers w
                where $1 = any (w.subscriptions) and w.alive_until > clock_timestamp()) = 2`,
        [name],
      ),
    ({ length }) => length === 1,
  );
}

async function untilOwned(name: string, by: readonly WorkerProcess[]): Promise<WorkerProcess> {
  const owner = await until(
    () => ownerOf(name, by),
    (found) => found !== undefined,
  );
  if (owner === undefined) throw new Error('The owner was found a moment ago.');
  return owner;
}

/** Everything is counted, once. */
async function expectExact(name: string): Promise<void> {
  const positions = await stored(database, 'note');
  await until(
    () => partitionsOf(database, name),
    ([row]) => (row?.checkpoint ?? 0) >= (positions.at(-1) ?? 0),
  );
  const counts = await database.query('select stream_id, count from counts order by stream_id');
  const events = await database.query(
    `select stream_id, count(*)::int as count from stele.events where category = 'note'
     group by stream_id order by stream_id`,
  );
  expect(counts).toEqual(events);
}

test('a process that is killed is followed by another within the time of a lease', async () => {
  const processes = await startTwo('killed');
  await using first = processes[0];
  await using second = processes[1];
  await untilSettled('killed');
  const owner = await untilOwned('killed', processes);
  const other = owner === first ? second : first;

  let appended = 0;
  const stop = new AbortController();
  const appending = (async () => {
    while (!stop.signal.aborted) {
      await append(`killed-${appended % 7}`, appended);
      appended += 1;
    }
  })();
  await until(
    () => partitionsOf(database, 'killed'),
    ([row]) => (row?.checkpoint ?? 0) > 100,
  );
  const killedAt = performance.now();
  owner.signal('SIGKILL');
  await owner.exited;
  await untilOwned('killed', [other]);
  // A lease, a heartbeat, and what a busy machine adds.
  expect(performance.now() - killedAt).toBeLessThan(leaseMs * 3);
  const after = appended;
  await until(
    () => appended,
    (count) => count > after + 50,
  );
  stop.abort();
  await appending;
  await expectExact('killed');
});

test('a process that stands still in a transaction and wakes up when another has taken over counts nothing', async () => {
  const processes = await startTwo('frozen');
  await using first = processes[0];
  await using second = processes[1];
  await untilSettled('frozen');
  const owner = await untilOwned('frozen', processes);
  const other = owner === first ? second : first;
  await append('frozen', 'before');
  await append('frozen', 'hold frozen');
  await owner.says('holding');
  owner.signal('SIGSTOP');
  // The row that the first one has counted in is locked until the server ends its session.
  await other.says('holding');
  expect(await ownerOf('frozen', processes)).toBe(other);
  owner.signal('SIGCONT');
  owner.tell('go on');
  await owner.says('going on');
  other.tell('go on');
  await append('frozen', 'after');
  await expectExact('frozen');

  // It takes part again: when the other one is gone, it goes on.
  other.signal('SIGKILL');
  await append('frozen', 'last');
  await untilOwned('frozen', [owner]);
  await expectExact('frozen');
});

test('a process that stands still between two transactions finds that it owns nothing', async () => {
  const processes = await startTwo('between');
  await using first = processes[0];
  await using second = processes[1];
  await append('between', 1);
  await expectExact('between');
  await untilSettled('between');
  const owner = await untilOwned('between', processes);
  const other = owner === first ? second : first;
  owner.signal('SIGSTOP');
  for (let n = 0; n < 20; n += 1) await append('between', n);
  await untilOwned('between', [other]);
  owner.signal('SIGCONT');
  for (let n = 0; n < 20; n += 1) await append('between', n);
  await expectExact('between');
});
