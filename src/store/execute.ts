import { pause, type RetryPolicy } from '../db/retry.ts';
import { isServerError } from '../db/sqlstate.ts';
import type { AnyAggregate, Command, Decision, Rejection } from '../types/aggregate.ts';
import {
  ConcurrencyError,
  isSteleError,
  ProjectionError,
  SteleError,
  type ExpectedVersion,
} from '../types/errors.ts';
import type { Metadata } from '../types/metadata.ts';
import type { NewEvent, RecordedEvent, StreamEvent } from '../types/recorded-event.ts';
import { validate } from '../types/schema.ts';
import type { Append, StoredEvents } from './append.ts';
import type { Transaction } from './inline.ts';
import { loadState, type LoaderParts } from './load.ts';
import { checkExpectedVersion, idOfKey, validData } from './payload.ts';
import type { EventRow } from './row-codec.ts';
import { evolve, evolveAll, type VersionedState } from './state.ts';
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

type CommandDefinition = AnyAggregate['commands'][string];

/** A command whose input was checked. */
interface Ready {
  readonly definition: CommandDefinition;
  readonly input: unknown;
}

/** What the commands decided, all of them, or the rejection of the first that was refused. */
type Decided =
  | { readonly rejection: Rejection }
  | { readonly events: readonly NewEvent[]; readonly endOf: readonly number[] };

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
  const ready = await Promise.all(commands.map((command) => checkInput(aggregate, command)));
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
  return `${commands.map(({ name }) => name).join('+')}:${key}`;
}

async function decideUntilStored(
  parts: ExecutorParts,
  aggregate: AnyAggregate,
  streamId: string,
  ready: readonly Ready[],
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
      const rejection = rejectionOf(error, aggregate, streamId, ready, decided.endOf, current);
      if (rejection !== undefined) {
        return { ok: false, error: await checkRejection(aggregate, rejection), ...current };
      }
      if (!isSteleError(error, 'concurrency') || error.streamId !== streamId) throw error;
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

async function checkInput(
  aggregate: AnyAggregate,
  { category, name, input }: Command,
): Promise<Ready> {
  if (category !== aggregate.category) {
    throw new SteleError(
      'invalid-argument',
      `Command '${name}' is of aggregate '${category}', but was given to '${aggregate.category}'.`,
    );
  }
  const definition = Object.hasOwn(aggregate.commands, name) ? aggregate.commands[name] : undefined;
  if (definition === undefined) {
    const known = Object.keys(aggregate.commands).join(', ') || 'none';
    throw new SteleError(
      'invalid-argument',
      `Aggregate '${aggregate.category}' has no command '${name}'. It has ${known}.`,
    );
  }
  const subject = `input of command ${name} of '${aggregate.category}'`;
  return { definition, input: await validate(definition.input, input, subject) };
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

/** Lets each command decide on the state that the ones before it leave. */
async function decideAll(
  aggregate: AnyAggregate,
  streamId: string,
  commands: readonly Ready[],
  current: VersionedState,
): Promise<Decided> {
  const events: NewEvent[] = [];
  const endOf: number[] = [];
  let { state } = current;
  for (const [index, { definition, input }] of commands.entries()) {
    const version = current.version + events.length;
    const context = contextOf(aggregate, streamId, version);
    // Input and state are of this command and this aggregate; see AnyAggregate.
    const decide = definition.decide as (
      input: unknown,
      state: unknown,
      context: unknown,
    ) => Decision | Promise<Decision>;
    const decision = await decide(input, state, context);
    if (isRejection(decision)) return { rejection: await checkRejection(aggregate, decision) };
    const decided = Array.isArray(decision)
      ? (decision as readonly NewEvent[])
      : [decision as NewEvent];
    events.push(...decided);
    endOf.push(events.length);
    if (index === commands.length - 1) break;
    for (const [place, event] of decided.entries()) {
      state = evolve(
        aggregate,
        state,
        await provisional(aggregate, event, streamId, version + place + 1),
      );
    }
  }
  return { events, endOf };
}

/** An event that is decided but not stored, for the commands that follow in the same execution. */
async function provisional(
  aggregate: AnyAggregate,
  event: NewEvent,
  streamId: string,
  version: number,
): Promise<StreamEvent> {
  const data = await validData(aggregate, event, streamId);
  const id = event.id ?? '00000000-0000-0000-0000-000000000000';
  return { id, type: event.type, data, streamId, version, metadata: { timestamp: new Date() } };
}

function contextOf(aggregate: AnyAggregate, streamId: string, version: number): object {
  const { emit, reject } = aggregate;
  return { emit, reject, streamId, version };
}

async function checkRejection(aggregate: AnyAggregate, rejection: Rejection): Promise<Rejection> {
  const { type } = rejection;
  const schema = Object.hasOwn(aggregate.errors, type) ? aggregate.errors[type] : undefined;
  if (schema === undefined) {
    throw new SteleError(
      'invalid-argument',
      `Aggregate '${aggregate.category}' declares no error '${type}', which a command answered with.`,
    );
  }
  const data = await validate(schema, rejection.data, `error ${type} of '${aggregate.category}'`);
  return { rejected: true, type, data };
}

function isRejection(decision: Decision): decision is Rejection {
  return !Array.isArray(decision) && 'rejected' in decision;
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

/** The rejection that a command has for the constraint of a read model that its event violated. */
function rejectionOf(
  error: unknown,
  aggregate: AnyAggregate,
  streamId: string,
  commands: readonly Ready[],
  endOf: readonly number[],
  current: VersionedState,
): Rejection | undefined {
  if (!(error instanceof ProjectionError) || !isServerError(error.cause)) return undefined;
  const { constraint } = error.cause;
  if (constraint === undefined || error.streamId !== streamId) return undefined;
  const place = error.version - current.version;
  const command = commands[endOf.findIndex((end) => place <= end)];
  const constraints = command?.definition.constraints;
  if (command === undefined || constraints === undefined) return undefined;
  if (!Object.hasOwn(constraints, constraint)) return undefined;
  // The input is of the command that the constraint's handler was declared with.
  const toRejection = constraints[constraint] as
    ((input: unknown, context: unknown) => Rejection) | undefined;
  return toRejection?.(command.input, contextOf(aggregate, streamId, current.version));
}

function holds(expected: ExpectedVersion, actual: number): boolean {
  return (
    expected === 'any' ||
    expected === actual ||
    (expected === 'no-stream' && actual === 0) ||
    (expected === 'stream-exists' && actual > 0)
  );
}
