import type { Database, Queryable } from '../db/client.ts';
import type { ExpectedVersion } from '../types/errors.ts';
import type { Statements } from './statements.ts';

/** An event that was checked and is ready to be sent. */
export interface EncodedEvent {
  readonly id: string;
  /** Its key in the aggregate's `events`. */
  readonly name: string;
  readonly storedName: string;
  readonly schemaVersion: number;
  readonly data: unknown;
  readonly json: string;
}

/** What one append does to one stream. */
export interface Write {
  readonly streamId: string;
  readonly category: string;
  readonly expectedVersion: ExpectedVersion;
  readonly metadata: object;
  readonly metadataJson: string;
  readonly events: readonly EncodedEvent[];
}

/** An append that was checked and is ready to be sent: stored whole or not at all. */
export interface PreparedAppend {
  readonly writes: readonly Write[];
  /** Whether these ids may have been stored before, so that the database must look for them. */
  readonly resent: boolean;
}

/** What became of one write that was stored. */
export interface StoredWrite {
  /** The stream's version after it. */
  readonly version: number;
  /** Milliseconds since 1970. */
  readonly recordedAt: number;
  readonly positions: readonly number[];
}

/** What became of an append. */
export type Verdict =
  | { readonly kind: 'appended'; readonly writes: readonly StoredWrite[] }
  | { readonly kind: 'conflict'; readonly write: Write; readonly actualVersion: number }
  /** One of its ids is in its stream already. */
  | { readonly kind: 'present' }
  /** Another transaction has locked one of its streams. */
  | { readonly kind: 'busy' };

/** `null` for the pool. */
type Connection = Queryable | null;

/**
 * Sends appends in one statement, which is one round trip and, outside a transaction, one commit.
 *
 * @param wait - whether to wait for streams that another transaction has locked, or find them `busy`
 */
export async function sendAppends(
  database: Database,
  statements: Statements,
  connection: Connection,
  appends: readonly PreparedAppend[],
  wait: boolean,
): Promise<readonly Verdict[]> {
  const [only] = appends;
  if (wait && appends.length === 1 && only?.writes.length === 1 && !only.resent) {
    const [write] = only.writes;
    if (write !== undefined) return [await sendWrite(database, statements, connection, write)];
  }
  return sendGroup(database, statements, connection, appends, wait);
}

function run<Row extends unknown[]>(
  database: Database,
  connection: Connection,
  statement: Statements[keyof Statements],
  values: unknown[],
): Promise<Row[]> {
  return connection === null
    ? database.query<Row>(statement, values)
    : database.on<Row>(connection, statement, values);
}

async function sendWrite(
  database: Database,
  statements: Statements,
  connection: Connection,
  write: Write,
): Promise<Verdict> {
  const { streamId, category, events, metadataJson } = write;
  const target = [streamId, category, expectedNumber(write.expectedVersion), metadataJson];
  const [event] = events;
  const single = events.length === 1 && event !== undefined;
  const rows = single
    ? await run<[number, number, number]>(database, connection, statements.appendEvent, [
        ...target,
        event.id,
        event.storedName,
        event.schemaVersion,
        event.json,
      ])
    : await run<[number, number, number[]]>(database, connection, statements.appendEvents, [
        ...target,
        events.map(({ id }) => id),
        events.map(({ storedName }) => storedName),
        events.map(({ schemaVersion }) => schemaVersion),
        events.map(({ json }) => json),
      ]);
  const [row] = rows;
  if (row !== undefined) {
    const [version, recordedAt, positions] = row;
    const stored = {
      version,
      recordedAt: Math.round(recordedAt),
      positions: typeof positions === 'number' ? [positions] : positions,
    };
    return { kind: 'appended', writes: [stored] };
  }
  // Which version it is at can only be said while its head is locked. If its condition holds by then,
  // it is stored after all.
  return sendOne(database, statements, connection, write);
}

async function sendOne(
  database: Database,
  statements: Statements,
  connection: Connection,
  write: Write,
): Promise<Verdict> {
  const append = { writes: [write], resent: false };
  const [verdict] = await sendGroup(database, statements, connection, [append], true);
  if (verdict === undefined) throw new Error('The function `append` answers for each append.');
  return verdict;
}

async function sendGroup(
  database: Database,
  statements: Statements,
  connection: Connection,
  appends: readonly PreparedAppend[],
  wait: boolean,
): Promise<readonly Verdict[]> {
  const writes = appends.flatMap((append, index) =>
    append.writes.map((write) => ({ ...write, append: index + 1, resent: append.resent })),
  );
  const events = writes.flatMap((write, index) =>
    write.events.map((event) => ({ ...event, write: index + 1 })),
  );
  const rows = await run<[string[], number[], number[], number[] | null]>(
    database,
    connection,
    statements.appendGroup,
    [
      wait,
      writes.map(({ append }) => append),
      writes.map(({ streamId }) => streamId),
      writes.map(({ category }) => category),
      writes.map(({ expectedVersion }) => expectedNumber(expectedVersion)),
      writes.map(({ resent }) => resent),
      writes.map(({ metadataJson }) => metadataJson),
      writes.map((write) => write.events.length),
      events.map(({ write }) => write),
      events.map(({ id }) => id),
      events.map(({ storedName }) => storedName),
      events.map(({ schemaVersion }) => schemaVersion),
      events.map(({ json }) => json),
    ],
  );
  const [row] = rows;
  if (row === undefined) throw new Error('The function `append` always returns a row.');
  return verdicts(appends, row);
}

function verdicts(
  appends: readonly PreparedAppend[],
  [outcomes, versions, times, positions]: [string[], number[], number[], number[] | null],
): readonly Verdict[] {
  let nextWrite = 0;
  let nextPosition = 0;
  return appends.map(({ writes }): Verdict => {
    const first = nextWrite;
    nextWrite += writes.length;
    const own = outcomes.slice(first, nextWrite);
    if (own.every((outcome) => outcome === 'appended')) {
      return {
        kind: 'appended',
        writes: writes.map(({ events }, index): StoredWrite => {
          const from = nextPosition;
          nextPosition += events.length;
          return {
            version: at(versions, first + index),
            recordedAt: at(times, first + index),
            positions: (positions ?? []).slice(from, nextPosition),
          };
        }),
      };
    }
    // An append that is sent again is found before its condition fails; and while one of its streams
    // is locked, nothing final can be said of it.
    if (own.includes('present')) return { kind: 'present' };
    if (own.includes('busy')) return { kind: 'busy' };
    const failed = own.indexOf('conflict');
    return {
      kind: 'conflict',
      write: at(writes, failed),
      actualVersion: at(versions, first + failed),
    };
  });
}

function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new Error('The function `append` answers for each write.');
  return item;
}

/** The number that stands for an expected version in SQL. */
function expectedNumber(expected: ExpectedVersion): number {
  if (typeof expected === 'number') return expected;
  return { 'no-stream': 0, any: -1, 'stream-exists': -2 }[expected];
}
