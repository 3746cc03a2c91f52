import { isServerError } from '../db/sqlstate.ts';
import type { AnyAggregate, Command, Decision, Rejection } from '../types/aggregate.ts';
import { ProjectionError, SteleError } from '../types/errors.ts';
import type { NewEvent, StreamEvent } from '../types/recorded-event.ts';
import { validate } from '../types/schema.ts';
import { validData } from './payload.ts';
import { evolve, type VersionedState } from './state.ts';

/** A command whose input was checked. */
export interface ReadyCommand {
  readonly name: string;
  readonly definition: AnyAggregate['commands'][string];
  readonly input: unknown;
}

/** What one command decided: events, which may be none, or a rejection whose data was checked. */
export type Decided = { readonly events: readonly NewEvent[] } | { readonly rejection: Rejection };

/** What several commands decided, and after how many events each ended; or the first rejection. */
export type AllDecided =
  | { readonly events: readonly NewEvent[]; readonly endOf: readonly number[] }
  | { readonly rejection: Rejection };

/**
 * @throws SteleError `invalid-argument` for a command that the aggregate does not have
 * @throws ValidationError for a wrong input
 */
export async function readyCommand(
  aggregate: AnyAggregate,
  { category, name, input }: Command,
): Promise<ReadyCommand> {
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
      `Aggregate '${category}' has no command '${name}'. It has ${known}.`,
    );
  }
  const subject = `input of command ${name} of '${category}'`;
  return { name, definition, input: await validate(definition.input, input, subject) };
}

/** Lets a command decide on a state. What `decide` itself throws is passed on. */
export async function decide(
  aggregate: AnyAggregate,
  streamId: string,
  { name, definition, input }: ReadyCommand,
  { state, version }: VersionedState,
): Promise<Decided> {
  // Input and state are of this command and this aggregate, where their types were checked together.
  const decideUntyped = definition.decide as (
    input: unknown,
    state: unknown,
    context: object,
  ) => Decision | Promise<Decision>;
  let decision: unknown;
  try {
    decision = await decideUntyped(input, state, contextOf(aggregate, streamId, version));
  } catch (thrown) {
    if (!isRejection(thrown)) throw thrown;
    throw wrong(aggregate, name, `threw the rejection ${thrown.type}. Return it instead.`);
  }
  if (isRejection(decision)) return { rejection: await checkRejection(aggregate, decision) };
  const events: readonly unknown[] = Array.isArray(decision) ? decision : [decision];
  if (!events.every(isEvent)) {
    const found = Array.isArray(decision) ? 'a list of something else' : String(decision);
    throw wrong(aggregate, name, `answered with ${found}. Return events, [] or a rejection.`);
  }
  return { events };
}

/** Lets each command decide on the state that the ones before it leave. */
export async function decideAll(
  aggregate: AnyAggregate,
  streamId: string,
  commands: readonly ReadyCommand[],
  from: VersionedState,
): Promise<AllDecided> {
  const events: NewEvent[] = [];
  const endOf: number[] = [];
  let { state, version } = from;
  for (const command of commands) {
    const decided = await decide(aggregate, streamId, command, { state, version });
    if ('rejection' in decided) return decided;
    events.push(...decided.events);
    endOf.push(events.length);
    // The last ones too: what no state can be made of must not be stored.
    for (const event of decided.events) {
      version += 1;
      state = evolve(aggregate, state, await provisional(aggregate, event, streamId, version));
    }
  }
  return { events, endOf };
}

/** The rejection that a command has for the constraint of a read model that its event violated. */
export async function rejectionOf(
  error: unknown,
  aggregate: AnyAggregate,
  streamId: string,
  commands: readonly ReadyCommand[],
  endOf: readonly number[],
  { version }: VersionedState,
): Promise<Rejection | undefined> {
  if (!(error instanceof ProjectionError) || !isServerError(error.cause)) return undefined;
  const { constraint } = error.cause;
  if (constraint === undefined || error.streamId !== streamId) return undefined;
  const command = commands[endOf.findIndex((end) => error.version - version <= end)];
  const constraints = command?.definition.constraints;
  if (command === undefined || constraints === undefined) return undefined;
  if (!Object.hasOwn(constraints, constraint)) return undefined;
  // The input is of the command that the constraint's handler was declared with.
  const toRejection = constraints[constraint] as (input: unknown, context: object) => Rejection;
  return checkRejection(
    aggregate,
    toRejection(command.input, contextOf(aggregate, streamId, version)),
  );
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

async function checkRejection(
  { category, errors }: AnyAggregate,
  { type, data }: Rejection,
): Promise<Rejection> {
  const schema = Object.hasOwn(errors, type) ? errors[type] : undefined;
  if (schema === undefined) {
    throw new SteleError(
      'invalid-argument',
      `Aggregate '${category}' declares no error '${type}', which a command answered with.`,
    );
  }
  const checked = await validate(schema, data, `error ${type} of '${category}'`);
  return { rejected: true, type, data: checked };
}

function wrong({ category }: AnyAggregate, name: string, what: string): SteleError {
  return new SteleError('invalid-argument', `Command ${name} of '${category}' ${what}`);
}

function isRejection(value: unknown): value is Rejection {
  return typeof value === 'object' && value !== null && 'rejected' in value && 'type' in value;
}

function isEvent(value: unknown): value is NewEvent {
  return typeof value === 'object' && value !== null && 'category' in value && 'type' in value;
}
