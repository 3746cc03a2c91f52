import type { Statement } from '../db/statement.ts';
import type { StoreParts } from '../store/parts.ts';
import { timeOf } from '../store/read.ts';
import type { EventRow } from '../store/row-codec.ts';
import { safePosition } from '../store/visibility.ts';
import { SteleError } from '../types/errors.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import type { ProjectionParts } from './parts.ts';
import { projectionStatements } from './statements.ts';
import { storedTypes } from './tables.ts';

/** A moment of the past: what was stored up to a time, or up to a position. */
export interface PastMoment {
  readonly at?: Date | undefined;
  readonly position?: number | undefined;
}

/** Which events a read model is to be made of. */
export interface HistoryEnd {
  /** The last position. Everything up to it is visible. */
  readonly upTo: number;
  readonly until: Date | undefined;
}

/** Events of a page: one is in memory at a time, whatever the length of the history. */
const pageSize = 1_000;

/**
 * Where the history ends at a moment. Events that were in flight are waited for, so that none is missed.
 *
 * @throws SteleError `invalid-argument` for what is no moment
 * @throws ReadStalledError when a transaction that has appended stays open for over ten seconds
 */
export async function historyEnd(
  { database, statements }: StoreParts,
  { at, position = Number.MAX_SAFE_INTEGER }: PastMoment,
): Promise<HistoryEnd> {
  if (at !== undefined && !(at instanceof Date && !Number.isNaN(at.getTime()))) {
    throw new SteleError('invalid-argument', `A time is a valid Date, but got ${String(at)}.`);
  }
  if (!Number.isSafeInteger(position) || position < 0) {
    throw new SteleError(
      'invalid-argument',
      `A position is a whole number from 0, but got ${position}.`,
    );
  }
  return { upTo: Math.min(position, await safePosition(database, statements)), until: at };
}

/** The events that a projection takes, in the order of their positions, page by page. */
export async function* historyPages(
  { schema, codec }: StoreParts,
  projection: ProjectionParts,
  { upTo, until }: HistoryEnd,
  query: (statement: Statement, values: unknown[]) => Promise<EventRow[]>,
): AsyncGenerator<RecordedEvent[]> {
  const statements = projectionStatements(schema);
  const { categories, types } = storedTypes(projection);
  const [only] = categories;
  const single = categories.length === 1;
  const statement = single ? statements.historyOfCategory : statements.history;
  let after = 0;
  for (;;) {
    const values = [single ? only : categories, types, after, upTo, timeOf(until), pageSize];
    const events = (await query(statement, values)).map(codec);
    const last = events.at(-1);
    if (last === undefined) return;
    yield events;
    if (events.length < pageSize) return;
    after = last.position;
  }
}
