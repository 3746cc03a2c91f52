import { jsonbArray, plainArray, textArray } from '../db/array.ts';
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
  | { readonly kind: 'busy' }
  /** One of those who appended to its stream was stored before, so none of them is stored now. */
  | { readonly kind: 'crowded' };

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
        plainArray(events.map(({ id }) => id)),
        textArray(events.map(({ storedName }) => storedName)),
        plainArray(events.map(({ schemaVersion }) => schemaVersion)),
        jsonbArray(events.map(({ json }) => json)),
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

/** A stream that a group appends to. */
interface Head {
  readonly streamId: string;
  readonly category: string;
  readonly expected: number;
  /** The append that it stands or falls with; one of them, where several share it. */
  readonly append: number;
  /** How many appends share it. */
  appends: number;
  /** How many events it gets from all of them. */
  events: number;
}

/** Where the events of a write go: after `before` others of the same group, in its head's stream. */
interface Place {
  readonly head: number;
  readonly before: number;
}

/** What the function `append` answers: for each head, and the positions of all that was stored. */
type GroupRow = [
  outcomes: string[] | null,
  versions: (number | null)[],
  recordedAt: number[],
  positions: number[] | null,
];

async function sendGroup(
  database: Database,
  statements: Statements,
  connection: Connection,
  appends: readonly PreparedAppend[],
  wait: boolean,
): Promise<readonly Verdict[]> {
  const { heads, places } = placesOf(appends);
  const writes = appends.flatMap((append) => append.writes);
  const head: number[] = [];
  const place: number[] = [];
  const metadata: string[] = [];
  for (const [index, write] of writes.entries()) {
    const { head: number, before } = at(places, index);
    for (let event = 1; event <= write.events.length; event += 1) {
      head.push(number + 1);
      place.push(before + event);
      metadata.push(write.metadataJson);
    }
  }
  const events = writes.flatMap((write) => write.events);
  const rows = await run<GroupRow>(database, connection, statements.appendGroup, [
    wait,
    appends.some(({ resent }) => resent),
    plainArray(heads.map(({ append }) => append)),
    textArray(heads.map(({ streamId }) => streamId)),
    textArray(heads.map(({ category }) => category)),
    plainArray(heads.map(({ expected }) => expected)),
    plainArray(heads.map(({ events }) => events)),
    plainArray(head),
    plainArray(place),
    plainArray(events.map(({ id }) => id)),
    textArray(events.map(({ storedName }) => storedName)),
    plainArray(events.map(({ schemaVersion }) => schemaVersion)),
    jsonbArray(events.map(({ json }) => json)),
    jsonbArray(metadata),
  ]);
  const [row] = rows;
  if (row === undefined) throw new Error('The function `append` always returns a row.');
  return verdicts(appends, heads, places, row);
}

function placesOf(appends: readonly PreparedAppend[]): { heads: Head[]; places: Place[] } {
  const numbers = new Map<string, number>();
  const heads: Head[] = [];
  const places: Place[] = [];
  for (const [append, { writes }] of appends.entries()) {
    for (const { streamId, category, expectedVersion, events } of writes) {
      let number = numbers.get(streamId);
      if (number === undefined) {
        number = heads.length;
        numbers.set(streamId, number);
        const expected = expectedNumber(expectedVersion);
        heads.push({ streamId, category, expected, append, appends: 0, events: 0 });
      }
      const head = at(heads, number);
      places.push({ head: number, before: head.events });
      head.appends += 1;
      head.events += events.length;
    }
  }
  return { heads, places };
}

function verdicts(
  appends: readonly PreparedAppend[],
  heads: readonly Head[],
  places: readonly Place[],
  [outcomes, versions, times, positions]: GroupRow,
): readonly Verdict[] {
  const outcomeOf = ({ head }: Place): string => outcomes?.[head] ?? 'appended';
  let nextWrite = 0;
  let nextPosition = 0;
  return appends.map(({ writes }): Verdict => {
    const own = places.slice(nextWrite, (nextWrite += writes.length));
    if (own.every((place) => outcomeOf(place) === 'appended')) {
      return {
        kind: 'appended',
        writes: writes.map(({ events }, index): StoredWrite => {
          const { head, before } = at(own, index);
          return {
            version: (versions[head] ?? 0) + before + events.length,
            recordedAt: at(times, head),
            positions: (positions ?? []).slice(nextPosition, (nextPosition += events.length)),
          };
        }),
      };
    }
    // An append that is sent again is found before its condition fails; and while one of its streams
    // is locked, nothing final can be said of it.
    const present = own.find((place) => outcomeOf(place) === 'present');
    if (present !== undefined) {
      return { kind: at(heads, present.head).appends > 1 ? 'crowded' : 'present' };
    }
    if (own.some((place) => outcomeOf(place) === 'busy')) return { kind: 'busy' };
    const failed = own.findIndex((place) => outcomeOf(place) === 'conflict');
    return {
      kind: 'conflict',
      write: at(writes, failed),
      actualVersion: versions[at(own, failed).head] ?? 0,
    };
  });
}

function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new Error('The function `append` answers for each head.');
  return item;
}

/** The number that stands for an expected version in SQL. */
function expectedNumber(expected: ExpectedVersion): number {
  if (typeof expected === 'number') return expected;
  return { 'no-stream': 0, any: -1, 'stream-exists': -2 }[expected];
}
