import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';
import type { FailurePolicy, RuntimeNotice, Transaction } from 'stele';
import type { TestDatabase } from './database.ts';

/** What a handler of a test is given of its event. */
interface Handled {
  readonly position: number;
  readonly streamId: string;
  readonly version: number;
}

/** A read model that takes doubles: nothing but the subscription keeps them out. */
export async function createSeen(database: TestDatabase): Promise<void> {
  await database.query(
    `create table seen (
       n bigint generated always as identity, subscription text, position bigint, stream_id text,
       version int)`,
  );
}

/** A handler that records its event in the transaction. */
export function see(subscription: string): (event: Handled, sql: Transaction) => Promise<void> {
  return async ({ position, streamId, version }, sql) => {
    await sql.query(
      'insert into seen (subscription, position, stream_id, version) values ($1, $2, $3, $4)',
      [subscription, position, streamId, version],
    );
  };
}

/** The positions that were recorded, in the order of recording; in one of so many partitions. */
export async function seenBy(
  database: TestDatabase,
  subscription: string,
  { partitions = 1, partition = 0 } = {},
): Promise<number[]> {
  const rows = await database.query<{ position: string }>(
    `select position from seen
     where subscription = $1 and stele.partition_of(stream_id, $2) = $3 order by n`,
    [subscription, partitions, partition],
  );
  return rows.map(({ position }) => Number(position));
}

/** The positions that are stored, in order; of one category or all; in one of so many partitions. */
export async function stored(
  database: TestDatabase,
  category?: string,
  { partitions = 1, partition = 0 } = {},
): Promise<number[]> {
  const rows = await database.query<{ position: string }>(
    `select position from stele.events
     where category = coalesce($1, category) and stele.partition_of(stream_id, $2) = $3
     order by position`,
    [category ?? null, partitions, partition],
  );
  return rows.map(({ position }) => Number(position));
}

/** A row of a partition, with the label of its owner. */
export interface PartitionRow {
  readonly partition: number;
  readonly status: string;
  readonly checkpoint: number;
  readonly epoch: number;
  readonly owner: string | null;
  readonly label: string | null;
  readonly error: { readonly message: string; readonly attempt: number } | null;
}

/** What the database says of a subscription's partitions. */
export async function partitionsOf(
  database: TestDatabase,
  subscription: string,
): Promise<PartitionRow[]> {
  return database.query<PartitionRow & Record<string, unknown>>(
    `select p.partition, p.status, p.checkpoint::int, p.epoch::int, p.owner, w.label, p.error
     from stele.partitions p left join stele.workers w on w.id = p.owner
     where p.subscription = $1 order by p.partition`,
    [subscription],
  );
}

/** Asks until the answer is as it should be; of what should come, when it does not come in time. */
export async function until<T>(
  ask: () => Promise<T> | T,
  isThere: (answer: T) => boolean,
  timeoutMs = 15_000,
): Promise<T> {
  const started = performance.now();
  for (;;) {
    const answer = await ask();
    if (isThere(answer)) return answer;
    if (performance.now() - started > timeoutMs) {
      throw new Error(`After ${timeoutMs} ms it was still ${inspect(answer, { depth: 6 })}.`);
    }
    await delay(5);
  }
}

/** Resolves when a partition has this status. */
export async function untilStatus(
  database: TestDatabase,
  subscription: string,
  status: string,
  partition = 0,
): Promise<PartitionRow> {
  const rows = await until(
    () => partitionsOf(database, subscription),
    (found) => found[partition]?.status === status,
  );
  const row = rows[partition];
  if (row === undefined) throw new Error('The partition was there a moment ago.');
  return row;
}

/** Takes partitions away from their owner, as if it had died, so that somebody claims them anew. */
export async function takeAway(database: TestDatabase, subscription: string): Promise<void> {
  await database.query(
    'update stele.partitions set owner = null, leased_until = null where subscription = $1',
    [subscription],
  );
}

/** Ends the sessions of the stores on this database; gives their number. */
export async function terminate(database: TestDatabase, condition = 'true'): Promise<number> {
  const rows = await database.query(
    `select pg_terminate_backend(pid, 5000) from pg_stat_activity
     where datname = current_database() and application_name = 'stele' and ${condition}`,
  );
  return rows.length;
}

type NoticeOf<Kind extends RuntimeNotice['kind']> = RuntimeNotice extends infer Notice
  ? Notice extends { readonly kind: infer Kinds }
    ? Kind extends Kinds
      ? Notice
      : never
    : never
  : never;

/** Keeps what a runtime says. */
export function notices(): {
  readonly all: RuntimeNotice[];
  readonly onNotice: (notice: RuntimeNotice) => void;
  /** The first of a kind, as soon as there is one. */
  of<Kind extends RuntimeNotice['kind']>(kind: Kind): Promise<NoticeOf<Kind>>;
} {
  const all: RuntimeNotice[] = [];
  return {
    all,
    onNotice: (notice) => all.push(notice),
    of: async (kind) => {
      const found = await until(
        () => all.find((notice) => notice.kind === kind),
        (notice) => notice !== undefined,
      );
      // It was found by its kind.
      return found as NoticeOf<typeof kind>;
    },
  };
}

/** An event is tried so often, and then set aside. */
export const parkAfter = (attempts: number): FailurePolicy => ({ attempts, onFailure: 'park' });
