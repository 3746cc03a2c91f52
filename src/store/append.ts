import { asDatabaseError, type Database } from '../db/client.ts';
import { hasState, sqlstate } from '../db/sqlstate.ts';
import { inTransaction, transactionLost } from '../db/transaction.ts';
import type { AnyAggregate } from '../types/aggregate.ts';
import { ConcurrencyError, DuplicateEventError, SteleError } from '../types/errors.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import { categoryOf } from '../types/stream.ts';
import { handlersPath, refuseInsideHandler, refuseInsideReplay } from './ambient.ts';
import {
  sendAppends,
  type PreparedAppend,
  type StoredWrite,
  type Verdict,
  type Write,
} from './append-statement.ts';
import type { GroupCommit } from './group-commit.ts';
import type { InlineProjection, Transaction } from './inline.ts';
import { checkDrafts, idOfKey, prepareAppend, type Draft } from './payload.ts';
import { projectInline } from './project.ts';
import type { EventRow, RowCodec } from './row-codec.ts';
import type { Statements } from './statements.ts';

/** What an append may be given besides its events. */
export interface AppendSettings {
  readonly idempotencyKey?: string | undefined;
  readonly transaction?: Transaction | undefined;
  /** Whether the caller keeps a state that the stored events evolve. */
  readonly asRead?: boolean | undefined;
}

/** What was stored in one stream. */
export interface StoredEvents {
  /** The stream's version after the append. */
  readonly version: number;
  /** The position of the last event. */
  readonly position: number;
  readonly events: readonly RecordedEvent[];
  /** Whether these events had been stored by an earlier sending of the same append. */
  readonly deduplicated: boolean;
}

/** Appends to several streams at once, and answers for each, in the order given. */
export type Append = (
  drafts: readonly Draft[],
  settings: AppendSettings,
) => Promise<readonly StoredEvents[]>;

/** What {@link appender} works with. */
export interface AppenderParts {
  readonly database: Database;
  readonly statements: Statements;
  readonly codec: RowCodec;
  readonly groups: GroupCommit;
  readonly inline: readonly InlineProjection[];
  readonly aggregateOf: (category: string) => AnyAggregate;
}

/**
 * The life of an append: check and encode everything; then one statement, together with what else is
 * waiting, or a transaction where a projection or the caller's own SQL belongs to it; then the
 * verdict.
 */
export function appender(parts: AppenderParts): Append {
  const { groups, inline, aggregateOf } = parts;
  return async (drafts, { idempotencyKey, transaction, asRead = false }) => {
    if (transaction !== undefined) checkTransaction(transaction);
    if (transaction === undefined) refuseInsideHandler();
    else refuseInsideReplay();
    if (drafts.length === 0) return [];
    checkDrafts(drafts);
    const projections = inline.filter(({ handles }) =>
      drafts.some(({ streamId, events }) =>
        events.some(({ type }) => handles(categoryOf(streamId), type)),
      ),
    );
    const append = await prepareAppend(aggregateOf, drafts, {
      idempotencyKey,
      asRead: asRead || projections.length > 0,
    });
    if (transaction !== undefined) {
      return appendInside(parts, transaction, append, idempotencyKey, projections);
    }
    if (projections.length > 0) {
      return groups.submitTransaction(append, (append, wait) =>
        parts.database.withSlot(() =>
          inTransaction(parts.database, (client) =>
            appendAndProject(parts, client, append, idempotencyKey, projections, {
              wait,
              isCallers: false,
            }),
          ),
        ),
      );
    }
    return settle(parts, append, idempotencyKey, null, await groups.submit(append));
  };
}

/**
 * In the caller's transaction. Where a projection may fail, it is left as it was: a savepoint costs two
 * round trips. Without one, only an error of the database's ends it, as it does after any statement.
 */
async function appendInside(
  parts: AppenderParts,
  transaction: Transaction,
  append: PreparedAppend,
  idempotencyKey: string | undefined,
  projections: readonly InlineProjection[],
): Promise<readonly StoredEvents[]> {
  const hasSavepoint = projections.length > 0;
  try {
    // The transaction of a read model does not wait for the disk; with an event in it, it does.
    if (handlersPath() !== undefined) await transaction.query('set local synchronous_commit = on');
    if (hasSavepoint) await transaction.query('savepoint stele_append');
    const how = { wait: true, isCallers: true };
    const stored = await appendAndProject(
      parts,
      transaction,
      append,
      idempotencyKey,
      projections,
      how,
    );
    if (stored === undefined) throw new Error('Who waits for its streams finds none busy.');
    if (hasSavepoint) await releaseSavepoint(transaction);
    return stored;
  } catch (error) {
    if (hasSavepoint) {
      await transaction.query('rollback to savepoint stele_append').catch(() => undefined);
    }
    if (hasState(error, sqlstate.failedTransaction)) throw failedBefore(error);
    throw asDatabaseError('Appending', error);
  }
}

async function releaseSavepoint(transaction: Transaction): Promise<void> {
  try {
    await transaction.query('release savepoint stele_append');
  } catch (error) {
    throw hasState(error, sqlstate.failedTransaction) ? transactionLost(error) : error;
  }
}

/** In the append's transaction; `undefined` when it must not wait and a stream is locked. */
async function appendAndProject(
  parts: AppenderParts,
  transaction: Transaction,
  append: PreparedAppend,
  idempotencyKey: string | undefined,
  projections: readonly InlineProjection[],
  { wait, isCallers }: { readonly wait: boolean; readonly isCallers: boolean },
): Promise<readonly StoredEvents[] | undefined> {
  const { database, statements } = parts;
  const [verdict] = await sendAppends(database, statements, transaction, [append], wait);
  if (verdict?.kind === 'busy') return undefined;
  const stored = await settle(parts, append, idempotencyKey, transaction, verdict);
  // What was stored before was projected before, in the same transaction.
  const events = stored.flatMap(({ events, deduplicated }) => (deduplicated ? [] : events));
  await projectInline(parts, projections, events, transaction, isCallers);
  return stored;
}

/** Turns a verdict into what was stored, or throws what it says. */
async function settle(
  parts: AppenderParts,
  append: PreparedAppend,
  idempotencyKey: string | undefined,
  transaction: Transaction | null,
  verdict: Verdict | undefined,
): Promise<readonly StoredEvents[]> {
  switch (verdict?.kind) {
    case 'appended':
      return append.writes.map((write, index) => recorded(write, verdict.writes[index]));
    case 'conflict': {
      const { write, actualVersion } = verdict;
      throw new ConcurrencyError(write.streamId, write.expectedVersion, actualVersion);
    }
    case 'present':
      return idempotencyKey === undefined
        ? firstResultOfIds(parts, append, transaction)
        : firstResultOfKey(parts, append, idempotencyKey, transaction);
    default:
      throw new Error('An append is settled when it has a verdict other than busy.');
  }
}

function recorded(write: Write, stored: StoredWrite | undefined): StoredEvents {
  if (stored === undefined) throw new Error('Every write that was stored has its versions.');
  const { version, recordedAt, positions } = stored;
  const timestamp = new Date(recordedAt);
  const before = version - write.events.length;
  const events = write.events.map(({ id, name, data }, index): RecordedEvent => ({
    id,
    type: name,
    data,
    streamId: write.streamId,
    version: before + index + 1,
    position: positions[index] ?? Number.NaN,
    metadata: { ...write.metadata, timestamp },
  }));
  return { version, position: positions.at(-1) ?? Number.NaN, events, deduplicated: false };
}

/** The events that an earlier sending stored, when they are the same, in the same order. */
async function firstResultOfIds(
  { database, statements, codec }: AppenderParts,
  append: PreparedAppend,
  transaction: Transaction | null,
): Promise<readonly StoredEvents[]> {
  const sent = append.writes.flatMap((write) => write.events.map((event) => ({ write, event })));
  const values = [
    sent.map(({ write }) => write.streamId),
    sent.map(({ event }) => event.id),
    sent.map(({ event }) => event.storedName),
    sent.map(({ event }) => event.schemaVersion),
    sent.map(({ event }) => event.json),
  ];
  type Row = [streamId: string, isSame: boolean, ...EventRow];
  const rows =
    transaction === null
      ? await database.read<Row>(statements.storedEvents, values)
      : await database.on<Row>(transaction, statements.storedEvents, values);
  const different = rows.find(([, isSame]) => !isSame);
  if (different !== undefined) throw new DuplicateEventError(different[0]);
  return append.writes.map(({ streamId }) => {
    const events = rows.filter((row) => row[0] === streamId).map(([, , ...row]) => codec(row));
    const [first] = events;
    const inOrder = events.every(({ version }, index) => version === (first?.version ?? 0) + index);
    if (!inOrder) throw new DuplicateEventError(streamId);
    return whole(streamId, events);
  });
}

/** The events that the first append with this key stored, whatever this one would have stored. */
async function firstResultOfKey(
  { database, statements, codec }: AppenderParts,
  append: PreparedAppend,
  key: string,
  transaction: Transaction | null,
): Promise<readonly StoredEvents[]> {
  const results: StoredEvents[] = [];
  // One after the other: a client in a transaction runs one statement at a time.
  for (const { streamId } of append.writes) {
    const values = [streamId, idOfKey(key, streamId, 0), key];
    const rows =
      transaction === null
        ? await database.read<EventRow>(statements.eventsOfKey, values)
        : await database.on<EventRow>(transaction, statements.eventsOfKey, values);
    results.push(whole(streamId, rows.map(codec)));
  }
  return results;
}

function whole(streamId: string, events: readonly RecordedEvent[]): StoredEvents {
  const last = events.at(-1);
  if (last === undefined) throw new DuplicateEventError(streamId);
  return { version: last.version, position: last.position, events, deduplicated: true };
}

function checkTransaction(transaction: Transaction): void {
  if ('totalCount' in transaction) {
    throw new SteleError(
      'invalid-argument',
      'A pool is no transaction, since each statement may get another connection: connect() a client, and send BEGIN on it.',
    );
  }
  if (!('getTransactionStatus' in transaction)) return;
  const { getTransactionStatus } = transaction;
  if (typeof getTransactionStatus !== 'function') return;
  const status: unknown = getTransactionStatus.call(transaction);
  if (status === 'T') return;
  if (status === 'E') throw failedBefore();
  throw new SteleError(
    'invalid-argument',
    'The given client is not in a transaction: send BEGIN on it first, or append without `transaction`.',
  );
}

function failedBefore(cause?: unknown): SteleError {
  return new SteleError(
    'invalid-argument',
    'The given transaction has failed already, and can only be rolled back.',
    cause === undefined ? {} : { cause },
  );
}
