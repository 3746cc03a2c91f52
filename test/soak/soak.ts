/**
 * Everything at once, for as long as one likes: writers with and without transactions, processes that are
 * killed and stopped, sessions that are ended, a server that crashes, rebuilds. What was seen must then
 * equal what was stored.
 */
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import pg from 'pg';
import { openRuntime, openStore, rebuild, type Store } from 'stele';
import type { EmbeddedPostgres } from '../../src/db/embedded.ts';
import { Counter } from '../support/aggregates.ts';
import { tally } from '../support/tally.ts';
import { startWorkerProcess, type WorkerProcess } from '../support/worker-process.ts';

export interface SoakOptions {
  readonly server: EmbeddedPostgres;
  readonly seconds: number;
  readonly seed: number;
  readonly log?: (line: string) => void;
}

/** What a soak has done, and what it has found wrong. */
export interface SoakReport {
  readonly events: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly wrong: readonly string[];
}

const leaseMs = 1_000;
const processes = 2;
const writers = 6;
const streams = 20;

const script = `await import('./test/soak/worker.ts');`;

/** Runs the soak; what it draws, it draws from the seed. What the machine makes of it, differs. */
export async function soak({
  server,
  seconds,
  seed,
  log = () => undefined,
}: SoakOptions): Promise<SoakReport> {
  const { connectionString } = server;
  const random = randomOf(seed);
  const admin = new pg.Pool({ connectionString, max: 6 });
  admin.on('error', () => undefined);
  const store = await openStore({ connection: connectionString, aggregates: [Counter] });
  await admin.query(`
    create table seen (n bigint generated always as identity, stream_id text, version bigint, position bigint);
    create table told (key text primary key)`);
  // So that the tables are there before the first rebuild.
  await (await openRuntime(store, { run: [tally('soaked', { partitions: 2 })] })).close();

  /** Those that we have not killed. */
  const alive = new Set<WorkerProcess>();
  const ended: string[] = [];
  const start = async (): Promise<WorkerProcess> => {
    const worker = await startWorkerProcess(script, connectionString, {
      LEASE_MS: String(leaseMs),
    });
    alive.add(worker);
    void worker.exited.then((code) => {
      if (alive.has(worker)) ended.push(`! a process has ended by itself, with ${code}`);
    });
    return worker;
  };
  const workers = await Promise.all(Array.from({ length: processes }, start));
  const end = performance.now() + seconds * 1_000;
  const isOver = (): boolean => performance.now() >= end;
  const faults: Record<string, number> = {};
  const count = (fault: string): void => {
    faults[fault] = (faults[fault] ?? 0) + 1;
    log(fault);
  };

  const writing = Array.from({ length: writers }, (_, writer) =>
    write({ store, connectionString, random, isOver, writer }),
  );
  const breaking = (async () => {
    while (!isOver()) {
      await delay(random(50, 800));
      await breakSomething({ server, admin, workers, alive, random, start, count });
    }
  })();
  const rebuilding = (async () => {
    while (!isOver()) {
      await delay(random(500, 3_000));
      const after = tally('soaked', { partitions: 2 });
      const cancel = new AbortController();
      const timer =
        random(0, 3) === 0 ? setTimeout(() => cancel.abort(), random(1, 300)) : undefined;
      await rebuild(store, after, { leaseMs, signal: cancel.signal }).then(
        () => {
          count('rebuilt');
        },
        () => {
          count('rebuild given up');
        },
      );
      clearTimeout(timer);
    }
  })();
  await Promise.all([...writing, breaking, rebuilding]);

  for (const worker of workers) worker.signal('SIGCONT');
  log('waiting for the end');
  const wrong = [...(await findings(admin, log)), ...ended];
  alive.clear();
  for (const worker of workers) worker.signal('SIGKILL');
  await Promise.all(workers.map(({ exited }) => exited));
  const { rows } = await admin.query<{ count: string }>('select count(*) from stele.events');
  await store.close();
  await admin.end();
  return { events: Number(rows[0]?.count), faults, wrong };
}

/** Whole numbers from one to another, from a seed. */
function randomOf(seed: number): (from: number, to: number) => number {
  const stream = fc.sample(fc.infiniteStream(fc.nat(2 ** 30)), { seed, numRuns: 1 })[0];
  return (from, to) => {
    const drawn: number = stream?.next().value ?? 0;
    return from + (drawn % (to - from + 1));
  };
}

interface WriterParts {
  readonly store: Store;
  readonly connectionString: string;
  readonly random: (from: number, to: number) => number;
  readonly isOver: () => boolean;
  readonly writer: number;
}

/** Appends, mostly as everybody does, and now and then in a transaction that waits, or is rolled back. */
async function write({
  store,
  connectionString,
  random,
  isOver,
  writer,
}: WriterParts): Promise<void> {
  for (let to = 1; !isOver(); to += 1) {
    const stream = Counter.stream(String(random(1, streams)));
    const events = Array.from({ length: random(1, 3) }, () => Counter.emit.Incremented({ to }));
    try {
      if (random(1, 4) > 1) {
        await store.append(stream, events);
      } else {
        const transaction = new pg.Client({ connectionString });
        transaction.on('error', () => undefined);
        try {
          await transaction.connect();
          await transaction.query('begin');
          await store.append(stream, events, { transaction });
          await delay(random(0, 60));
          await transaction.query(random(1, 3) === 1 ? 'rollback' : 'commit');
        } finally {
          await transaction.end();
        }
      }
    } catch {
      // The server is away, or ended the session. What was not acknowledged may be stored or not.
    }
    if (writer % 2 === 0) await delay(random(0, 20));
  }
}

interface FaultParts {
  readonly server: EmbeddedPostgres;
  readonly admin: pg.Pool;
  readonly workers: WorkerProcess[];
  readonly alive: Set<WorkerProcess>;
  readonly random: (from: number, to: number) => number;
  readonly start: () => Promise<WorkerProcess>;
  readonly count: (fault: string) => void;
}

async function breakSomething(parts: FaultParts): Promise<void> {
  const { server, admin, workers, alive, random, start, count } = parts;
  const index = random(0, workers.length - 1);
  const worker = workers[index];
  if (worker === undefined) return;
  const drawn = random(1, 20);
  try {
    if (drawn <= 5) {
      count('kill -9');
      alive.delete(worker);
      worker.signal('SIGKILL');
      await worker.exited;
      workers[index] = await start();
    } else if (drawn <= 11) {
      count('stopped for a while');
      worker.signal('SIGSTOP');
      await delay(random(100, leaseMs * 2.5));
      worker.signal('SIGCONT');
    } else if (drawn <= 18) {
      count('sessions ended');
      await admin.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid() and random() < 0.5`,
      );
    } else if (drawn <= 19) {
      count('server restarted');
      await server.restart();
    } else {
      count('server crashed');
      await server.kill();
      await server.restart();
    }
  } catch {
    // The fault has hit ourselves.
  }
}

/** What is wrong when everything has come to rest; waits until nothing is, or for long. */
async function findings(admin: pg.Pool, log: (line: string) => void): Promise<readonly string[]> {
  const patienceMs = 60_000;
  const started = performance.now();
  for (;;) {
    const wrong = await differences(admin).catch((error: unknown) => [String(error)]);
    // What is seen twice, or out of order, does not get better.
    const isFinal = wrong.some((line) => line.startsWith('!'));
    if (wrong.length === 0 || isFinal || performance.now() - started > patienceMs) return wrong;
    log(wrong.join('; '));
    await delay(500);
  }
}

async function differences(admin: pg.Pool): Promise<string[]> {
  const one = async (sql: string): Promise<number> => {
    const { rows } = await admin.query<{ n: string }>(`select (${sql}) as n`);
    return Number(rows[0]?.n);
  };
  const checks: readonly (readonly [string, string])[] = [
    ['! seen twice', 'select count(*) - count(distinct position) from seen'],
    [
      '! seen but not stored',
      `select count(*) from seen s where not exists (
         select from stele.events e where e.position = s.position and e.stream_id = s.stream_id and e.version = s.version)`,
    ],
    [
      '! seen out of order',
      `select count(*) from (
         select position < lag(position) over (partition by stele.partition_of(stream_id, 4) order by n) as back from seen
       ) s where back`,
    ],
    [
      'not seen',
      'select count(*) from stele.events e where not exists (select from seen s where s.position = e.position)',
    ],
    [
      'not told',
      `select count(*) from stele.events e where not exists (select from told t where t.key = 'told.' || e.id)`,
    ],
    [
      'differs in the read model',
      `select count(*) from (
         select stream_id, count(*)::int as events, (array_agg((data ->> 'to')::int order by version desc))[1] as last
         from stele.events group by stream_id
       ) e full join stele_soaked.tally t on t.id = e.stream_id
       where t.events is distinct from e.events or t.last is distinct from e.last`,
    ],
  ];
  const wrong: string[] = [];
  for (const [what, sql] of checks) {
    const found = await one(sql);
    if (found > 0) wrong.push(`${what}: ${found}`);
  }
  return wrong;
}
