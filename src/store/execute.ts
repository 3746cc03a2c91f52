import { pause, type RetryPolicy } from '../db/retry.ts';
import type { AnyAggregate, Command, Rejection } from '../types/aggregate.ts';
import {
  ConcurrencyError,
  isSteleError,
  SteleError,
  type ExpectedVersion,
} from '../types/errors.ts';
import type { Metadata } from '../types/metadata.ts';
import type { NewEvent, RecordedEvent } from '../types/recorded-event.ts';
import type { Append, StoredEvents } from './append.ts';
import { decideAll, readyCommand, rejectionOf, type ReadyCommand } from './decide.ts';
import type { Transaction } from './inline.ts';
import { loadState, type LoaderParts } from './load.ts';
import { checkExpectedVersion, idOfKey } from './payload.ts';
import type { EventRow } from './row-codec.ts';
import { evolveAll, type VersionedState } from './state.ts';
import type { Turn, Turns } from './turns.ts';

/** What executing works with. */
export interface ExecutorParts extends LoaderParts {
  readonly append: Append;
  readonly turns: Turns;
}

/** What a command may be given besides its input. */
export interface ExecuteSettings {
  readonly metadata?: Metadata | undefined;
  readonly expectedVersion?: ExpectedVersion | undefined;
  readonly idempotencyKey?: string | undefined;
  readonly transaction?: Transaction | undefined;
  readonly attempts?: number | undefined;
}

/** What became of one or several commands. */
export type Execution =
  | {
      readonly ok: true;
      readonly state: unknown;
      readonly version: number;
      readonly events: readonly RecordedEvent[];
      readonly position: number | undefined;
      readonly deduplicated: boolean;
    }
  | {
      readonly ok: false;
      readonly error: Rejection;
      readonly state: unknown;
      readonly version: number;
    };

/** How often a command is decided again when its stream has moved on, and how fast. */
const conflicts: RetryPolicy = { attempts: 20, baseMs: 2, maximumMs: 100 };

/**
 * Load, decide, append. Where the stream has moved on meanwhile, it is decided again, in turn with
 * the other commands of this process that want the stream. No connection is held while `decide` runs.
 *
 * A state from the cache saves the first round trip. If it is stale, the append fails on its expected
 * version; and a decision that appends nothing is made again unless the state is still current.
 */
export async function executeCommands(
  parts: ExecutorParts,
  aggregate: AnyAggregate,
  streamId: string,
  commands: readonly Command[],
  given: ExecuteSettings,
): Promise<Execution> {
  const settings = { ...given, idempotencyKey: keyOf(commands, given.idempotencyKey) };
  if (settings.expectedVersion !== undefined) checkExpectedVersion(settings.expectedVersion);
  const ready = await Promise.all(commands.map((command) => readyCommand(aggregate, command)));
  const earlier = await earlierExecution(parts, aggregate, streamId, settings);
  if (earlier !== undefined) return earlier;

  const turn = parts.turns.at(streamId, settings.transaction === undefined);
  try {
    return await decideUntilStored(parts, aggregate, streamId, ready, settings, turn);
  } finally {
    turn.release();
  }
}

/**
 * A key belongs to the commands that it came with: used again for another command, it does not hide
 * that one. The inputs are not part of it, since a repeated request may make them anew, such as a
 * password's salted hash.
 */
function keyOf(commands: readonly Command[], key: string | undefined): string | undefined {
  if (key === undefined || key === '') return key;
  return JSON.stringify([...commands.map(({ name }) => name), key]);
}

async function decideUntilStored(
  parts: ExecutorParts,
  aggregate: AnyAggregate,
  streamId: string,
  ready: readonly ReadyCommand[],
  settings: ExecuteSettings,
  turn: Turn,
): Promise<Execution> {
  const { transaction, expectedVersion, attempts = conflicts.attempts } = settings;
  const cached = (): VersionedState | undefined =>
    transaction === undefined ? parts.cache.get(aggregate, streamId) : undefined;
  const refresh = (): Promise<VersionedState> =>
    loadState(parts, aggregate, streamId, { transaction });
  // The same command may have been stored by somebody else since it was looked for.
  const earlier = (): Promise<Execution | undefined> =>
    earlierExecution(parts, aggregate, streamId, settings);

  let known = cached();
  let current = known ?? (await refresh());
  // Who comes while others take turns does not overtake them.
  if (parts.turns.isTaken(streamId) && (await turn.take())) {
    known = cached();
    current = known ?? (await refresh());
  }
  let isCurrent = known === undefined;
  let mayBeStale = !isCurrent;
  for (let attempt = 1; ;) {
    if (expectedVersion !== undefined && !holds(expectedVersion, current.version)) {
      if (isCurrent) {
        const first = await earlier();
        if (first !== undefined) return first;
        throw new ConcurrencyError(streamId, expectedVersion, current.version);
      }
      current = await refresh();
      isCurrent = true;
      continue;
    }
    const decided = await turn.run(() => decideAll(aggregate, streamId, ready, current));
    if ('rejection' in decided || decided.events.length === 0) {
      if (!isCurrent) {
        const { version } = current;
        current = await refresh();
        isCurrent = true;
        if (current.version !== version) continue;
      }
      const first = await earlier();
      if (first !== undefined) return first;
      return 'rejection' in decided
        ? { ok: false, error: decided.rejection, ...current }
        : { ok: true, ...current, events: [], position: undefined, deduplicated: false };
    }
    try {
      const stored = await store(parts, streamId, decided.events, current.version, settings);
      return await finish(parts, aggregate, streamId, current, stored, transaction);
    } catch (error) {
      const { endOf } = decided;
      const rejection = await rejectionOf(error, aggregate, streamId, ready, endOf, current);
      if (rejection !== undefined) return { ok: false, error: rejection, ...current };
      if (!isSteleError(error, 'concurrency') || error.streamId !== streamId) throw error;
      // A stream that is behind the cached state has lost what was stored, such as by a failover.
      if (error.actualVersion < current.version) parts.cache.delete(streamId);
      // The first conflict of a cached state says only that it was stale.
      if (mayBeStale) {
        mayBeStale = false;
      } else if (attempt < attempts) {
        attempt += 1;
      } else {
        throw new SteleError(
          'retries-exhausted',
          `The command on stream '${streamId}' was decided ${attempt} times, and each time the stream had moved on before its events were stored. ` +
            'Send it again later, or allow more `attempts`.',
          { cause: error },
        );
      }
    }
    // Having waited for a turn is pause enough.
    if (!(await turn.take()) && attempt > 1) await pause({ ...conflicts, attempts }, attempt);
    // Whoever had the turn before has left the newest state in the cache.
    const left = cached();
    isCurrent = left === undefined || left.version <= current.version;
    current = isCurrent || left === undefined ? await refresh() : left;
  }
}

/** What an earlier execution with the same idempotency key stored. */
async function earlierExecution(
  parts: ExecutorParts,
  aggregate: AnyAggregate,
  streamId: string,
  { idempotencyKey: key, transaction }: ExecuteSettings,
): Promise<Execution | undefined> {
  if (key === undefined) return undefined;
  const { database, statements, codec } = parts;
  const values = [streamId, idOfKey(key, streamId, 0), key];
  const rows =
    transaction === undefined
      ? await database.read<EventRow>(statements.eventsOfKey, values)
      : await database.on<EventRow>(transaction, statements.eventsOfKey, values);
  const events = rows.map(codec);
  const last = events.at(-1);
  if (last === undefined) return undefined;
  const then = await loadState(parts, aggregate, streamId, { version: last.version, transaction });
  return { ok: true, ...then, events, position: last.position, deduplicated: true };
}

async function store(
  parts: ExecutorParts,
  streamId: string,
  events: readonly NewEvent[],
  expectedVersion: number,
  { metadata, idempotencyKey, transaction }: ExecuteSettings,
): Promise<StoredEvents> {
  const drafts = [{ streamId, events, expectedVersion, metadata }];
  const [stored] = await parts.append(drafts, { idempotencyKey, transaction, asRead: true });
  if (stored === undefined) throw new Error('An append answers for each of its streams.');
  return stored;
}

async function finish(
  parts: ExecutorParts,
  aggregate: AnyAggregate,
  streamId: string,
  before: VersionedState,
  { events, version, position, deduplicated }: StoredEvents,
  transaction: Transaction | undefined,
): Promise<Execution> {
  if (deduplicated) {
    // Somebody else has stored the same command meanwhile, before or after the state was read.
    const then = await loadState(parts, aggregate, streamId, { version, transaction });
    return { ok: true, ...then, events, position, deduplicated };
  }
  const after = evolveAll(aggregate, before, events);
  // What a caller's transaction has appended may still be rolled back.
  if (transaction === undefined) parts.cache.set(aggregate, streamId, after);
  return { ok: true, ...after, events, position, deduplicated };
}

function holds(expected: ExpectedVersion, actual: number): boolean {
  return (
    expected === 'any' ||
    expected === actual ||
    (expected === 'no-stream' && actual === 0) ||
    (expected === 'stream-exists' && actual > 0)
  );
}
