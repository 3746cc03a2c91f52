import { isConnectionLoss, isServerError } from '../db/sqlstate.ts';
import { LostConnectionError } from '../db/transaction.ts';
import { isSteleError } from '../types/errors.ts';
import type { Item } from './page.ts';

/** A handler failed on an event. `cause` is what it threw. */
export class HandlerError extends Error {
  override readonly name: string = 'HandlerError';
  /** The event's place in the batch; `undefined` where the whole batch was handled at once. */
  readonly index: number | undefined;

  constructor(index: number | undefined, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.index = index;
  }
}

/**
 * What kind of failure it is:
 *
 * - `fenced`: somebody else owns the partition by now; nothing was committed
 * - `away`: the database cannot be reached; nobody's fault, so it is tried without an end
 * - `newer`: an event is newer than this code; another process may know it
 * - `collision`: another transaction was in the way; soon tried again
 * - `permanent`: the database refuses the statement itself, so trying again changes nothing
 * - `handler`: anything else
 */
export type FailureKind = 'fenced' | 'away' | 'newer' | 'collision' | 'permanent' | 'handler';

export function kindOf(error: unknown): FailureKind {
  const causes = causesOf(error);
  const isNewer = causes.some(
    (cause) =>
      isSteleError(cause, 'unknown-schema-version') || isSteleError(cause, 'unknown-event-type'),
  );
  if (isNewer) return 'newer';
  const server = causes.find(isServerError);
  if (server?.code === 'ST003') return 'fenced';
  if (error instanceof LostConnectionError) return 'away';
  // What a handler threw says nothing about our connection, whose loss is noticed by itself.
  const ofHandler = causes.some((cause) => cause instanceof HandlerError);
  if (!ofHandler && causes.some((cause) => isConnectionLoss(cause))) return 'away';
  if (server === undefined) return 'handler';
  if (collisions.has(server.code) || isConnectionLoss(server)) return 'collision';
  return permanentClasses.has(server.code.slice(0, 2)) ? 'permanent' : 'handler';
}

/** Serialization failure, deadlock, a lock that was not available. */
const collisions = new Set(['40001', '40P01', '55P03']);
/** Wrong data, and wrong statements. */
const permanentClasses = new Set(['22', '42']);

/** An error and what caused it, the outermost first: an ORM wraps what the driver throws. */
function causesOf(error: unknown): readonly unknown[] {
  const causes: unknown[] = [];
  for (let cause = error; cause !== undefined && causes.length < 10;) {
    causes.push(cause);
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return causes;
}

/** What is kept of a failure in the database, for people to read. */
export interface RecordedFailure {
  readonly message: string;
  readonly name: string;
  /** A SQLSTATE or one of Stele's codes. */
  readonly code?: string | undefined;
  readonly stack?: string | undefined;
  readonly kind: FailureKind;
  /** How often the event was tried. */
  readonly attempt: number;
  /** ISO 8601 */
  readonly at: string;
  readonly streamId?: string | undefined;
  readonly version?: number | undefined;
  readonly position?: number | undefined;
  readonly type?: string | undefined;
}

export function recordOf(error: unknown, attempt: number, item: Item | undefined): RecordedFailure {
  const thrown = error instanceof HandlerError ? error.cause : error;
  const server = causesOf(thrown).find(isServerError);
  const code = isSteleError(thrown) ? thrown.code : server?.code;
  return {
    message: textOf(thrown),
    name: thrown instanceof Error ? thrown.name : typeof thrown,
    code,
    stack: thrown instanceof Error ? storable(thrown.stack ?? '') : undefined,
    kind: kindOf(error),
    attempt,
    at: new Date().toISOString(),
    streamId: item?.streamId,
    version: item?.version,
    position: item?.position,
    type: item?.type,
  };
}

/** The message, with those of its causes: an ORM's own says only which statement failed. */
function textOf(thrown: unknown): string {
  const texts = causesOf(thrown).map((cause) =>
    cause instanceof Error ? cause.message : String(cause),
  );
  return storable([...new Set(texts)].join(': '));
}

/** Of a length that a table of status can bear, and without what Postgres cannot hold. */
function storable(text: string): string {
  return text.toWellFormed().replaceAll('\u0000', '\uFFFD').slice(0, 4_000);
}
