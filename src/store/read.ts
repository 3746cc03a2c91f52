import type { Database, Queryable } from '../db/client.ts';
import { SteleError } from '../types/errors.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import type { EventRow, RowCodec } from './row-codec.ts';
import type { Statements } from './statements.ts';
import { safePosition } from './visibility.ts';

/** What reading works with. */
export interface ReaderParts {
  readonly database: Database;
  readonly statements: Statements;
  readonly codec: RowCodec;
}

/** Which part of a stream to read. */
export interface StreamRange {
  /** The first version; 1 unless given. */
  readonly from?: number | undefined;
  /** The last version. */
  readonly to?: number | undefined;
  /** Only what was stored up to this moment. */
  readonly until?: Date | undefined;
  readonly backwards?: boolean | undefined;
  readonly limit?: number | undefined;
  /** Reads inside a transaction, and sees what it has appended. */
  readonly transaction?: Queryable | undefined;
}

/** Which part of the store to read, by the names that things are stored under. */
export interface StoreRange {
  /** A position; reading starts after it. */
  readonly after: number;
  readonly categories: readonly string[] | null;
  readonly types: readonly string[] | null;
  readonly limit: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Events of a page. Two pages are in memory at a time, the one being consumed and the one being
 * fetched, whatever the length of the stream; no connection is held between them.
 */
const pageSize = 1_000;

const noEnd = Number.MAX_SAFE_INTEGER;

/** The events of a stream, page by page. */
export function streamPages(
  { database, statements, codec }: ReaderParts,
  streamId: string,
  range: StreamRange,
): AsyncGenerator<RecordedEvent[]> {
  const { from = 1, to = noEnd, until, backwards = false, limit = noEnd, transaction } = range;
  requireWholeNumbers({ from, to, limit });
  if (until !== undefined && Number.isNaN(until.getTime())) {
    throw new SteleError('invalid-argument', 'A moment to read until is a valid Date.');
  }
  const statement = backwards ? statements.streamBackwards : statements.streamForwards;
  const time = timeOf(until);
  return pages(codec, limit, (last, size) => {
    const after = backwards || last === undefined ? from - 1 : last.version;
    const upTo = backwards && last !== undefined ? last.version - 1 : to;
    const values = [streamId, after, upTo, time, size];
    return transaction === undefined
      ? database.read<EventRow>(statement, values)
      : database.on<EventRow>(transaction, statement, values);
  });
}

/** A moment for Postgres, which does not read the signed years that ISO 8601 has for the far ones. */
export function timeOf(moment: Date | undefined): string {
  if (moment === undefined || moment.getUTCFullYear() > 9999) return 'infinity';
  return moment.getUTCFullYear() < 1 ? '-infinity' : moment.toISOString();
}

/** The events of the store in position order, page by page, up to a position that is safe to read. */
export async function* storePages(
  { database, statements, codec }: ReaderParts,
  { after, categories, types, limit, signal }: StoreRange,
): AsyncGenerator<RecordedEvent[]> {
  requireWholeNumbers({ after, limit });
  const safe = await safePosition(database, statements, { signal });
  const [only] = categories ?? [];
  const single = categories?.length === 1 && only !== undefined;
  const statement = single ? statements.category : statements.store;
  yield* pages(codec, limit, (last, size) => {
    const values = [last?.position ?? after, safe, size, single ? only : categories, types];
    return database.read<EventRow>(statement, values);
  });
}

/** Fetches the next page while this one is being consumed. */
async function* pages(
  codec: RowCodec,
  limit: number,
  fetch: (last: RecordedEvent | undefined, size: number) => Promise<EventRow[]>,
): AsyncGenerator<RecordedEvent[]> {
  let left = limit;
  let next: Promise<EventRow[]> | undefined =
    left > 0 ? fetch(undefined, Math.min(left, pageSize)) : undefined;
  while (next !== undefined) {
    const { events, failure } = decoded(await next, codec);
    left -= events.length;
    const more = events.length === pageSize && left > 0;
    next = more ? fetch(events.at(-1), Math.min(left, pageSize)) : undefined;
    // A consumer may stop here, and then nobody awaits the page that is on its way.
    next?.catch(() => undefined);
    if (events.length > 0) yield events;
    if (failure !== undefined) throw failure.error;
  }
}

/** The events up to the first that cannot be decoded: those before it are given out all the same. */
function decoded(
  rows: readonly EventRow[],
  codec: RowCodec,
): { events: RecordedEvent[]; failure?: { error: unknown } } {
  const events: RecordedEvent[] = [];
  try {
    for (const row of rows) events.push(codec(row));
  } catch (error) {
    return { events, failure: { error } };
  }
  return { events };
}

function requireWholeNumbers(numbers: Record<string, number>): void {
  for (const [name, value] of Object.entries(numbers)) {
    if (Number.isSafeInteger(value) && value >= 0) continue;
    throw new SteleError(
      'invalid-argument',
      `To read, '${name}' is a whole number from 0, but got ${value}.`,
    );
  }
}

/** One event after another, of pages. */
export async function* flatten(
  source: AsyncGenerator<RecordedEvent[]>,
  signal?: AbortSignal,
): AsyncGenerator<RecordedEvent> {
  for await (const page of source) {
    for (const event of page) {
      signal?.throwIfAborted();
      yield event;
    }
  }
}
