import { AssertionError } from 'node:assert';
import { isDeepStrictEqual } from 'node:util';
import { decide, readyCommand } from '../store/decide.ts';
import { validData } from '../store/payload.ts';
import type { VersionedState } from '../store/state.ts';
import type {
  AnyAggregate,
  CommandInputOf,
  CommandNameOf,
  RejectionOf,
  RejectionTypeOf,
} from '../types/aggregate.ts';
import { SteleError } from '../types/errors.ts';
import type { NewEvent } from '../types/recorded-event.ts';
import { replayLater, streamIn, type EventsOf, type StreamSettings } from './replay.ts';

/** What had happened. Made by {@link given}. */
export interface Given<A extends AnyAggregate> {
  /** The command that is decided on the state that the events lead to. */
  readonly when: <Name extends CommandNameOf<A>>(
    command: Name,
    input: CommandInputOf<A, Name>,
  ) => When<A>;
}

/**
 * A command that waits to be decided: say what is expected. No promise, although it has a `then`, so
 * it cannot be awaited by itself; what its methods return can, and must.
 */
export interface When<A extends AnyAggregate> {
  /**
   * Expects exactly these events, in this order; `[]` for none. Payloads are compared as they would be
   * stored, ids only where they are given.
   *
   * @throws AssertionError that shows the difference
   * @throws ValidationError when the input, or a payload given, decided or expected, is invalid
   */
  readonly then: (events: EventsOf<A>) => Promise<void>;
  /**
   * Expects this rejection, and this data if any is given.
   *
   * @throws AssertionError that shows the difference
   * @throws ValidationError when the input or a given payload is invalid
   */
  readonly thenRejected: <Type extends RejectionTypeOf<A>>(
    type: Type,
    data?: RejectionOf<A, Type>['data'],
  ) => Promise<void>;
}

/**
 * Tests a command without a database, as a sentence. For any test framework: a wrong outcome throws
 * an `AssertionError` of `node:assert`.
 *
 * @example
 * ```ts
 * await given(User, [User.emit.UserCreated({ email: 'old@example.com', username: 'ada' })])
 *   .when('changeEmail', { email: 'new@example.com' })
 *   .then([User.emit.EmailChanged({ email: 'new@example.com' })]);
 *
 * await given(User, []).when('changeEmail', { email: 'new@example.com' }).thenRejected('NotActive');
 * ```
 */
export function given<A extends AnyAggregate>(
  aggregate: A,
  events: EventsOf<NoInfer<A>>,
  settings: StreamSettings<NoInfer<A>> = {},
): Given<A> {
  const { streamId } = streamIn(aggregate, settings);
  return {
    when: (command, input) => {
      const decided = async (): Promise<Outcome> => {
        const state = await replayLater(aggregate, events, settings);
        const from = { state, version: events.length };
        return outcomeOf(aggregate, streamId, from, command, input);
      };
      const thenDecided = async (expected: readonly NewEvent[]): Promise<void> => {
        const actual = await decided();
        const outcome = { decided: await payloadsOf(aggregate, expected, streamId) };
        assertOutcome(aggregate, command, withoutIds(actual, outcome), outcome);
      };
      return {
        // oxlint-disable-next-line unicorn/no-thenable -- given, when, then is what such tests are called everywhere
        then: (expected) => {
          assertNotAwaited(command, expected);
          return thenDecided(expected);
        },
        thenRejected: async (type, ...data) => {
          const actual = await decided();
          const isDataLeft = data.length === 0 && 'rejected' in actual;
          assertOutcome(
            aggregate,
            command,
            isDataLeft ? { rejected: actual.rejected } : actual,
            data.length === 0 ? { rejected: type } : { rejected: type, data: data[0] },
          );
        },
      };
    },
  };
}

/** What became of a command, as it is compared and shown. */
type Outcome =
  { readonly decided: readonly Payload[] } | { readonly rejected: string; readonly data?: unknown };

interface Payload {
  readonly type: string;
  readonly data: unknown;
  readonly id?: string;
}

async function outcomeOf(
  aggregate: AnyAggregate,
  streamId: string,
  from: VersionedState,
  name: string,
  input: unknown,
): Promise<Outcome> {
  const { category } = aggregate;
  const command = await readyCommand(aggregate, { category, name, input });
  const decided = await decide(aggregate, streamId, command, from);
  if ('rejection' in decided) {
    return { rejected: decided.rejection.type, data: decided.rejection.data };
  }
  return { decided: await payloadsOf(aggregate, decided.events, streamId) };
}

async function payloadsOf(
  aggregate: AnyAggregate,
  events: readonly NewEvent[],
  streamId: string,
): Promise<readonly Payload[]> {
  return Promise.all(
    events.map(async (event) => ({
      type: event.type,
      data: await validData(aggregate, event, streamId),
      ...(event.id === undefined ? {} : { id: event.id }),
    })),
  );
}

/** Leaves out the ids of events where no id is expected. */
function withoutIds(actual: Outcome, expected: { readonly decided: readonly Payload[] }): Outcome {
  if (!('decided' in actual)) return actual;
  return {
    decided: actual.decided.map(({ id, ...payload }, index) =>
      id === undefined || expected.decided[index]?.id === undefined ? payload : { ...payload, id },
    ),
  };
}

function assertOutcome(
  { category }: AnyAggregate,
  command: string,
  actual: Outcome,
  expected: Outcome,
): void {
  if (isDeepStrictEqual(actual, expected)) return;
  const told =
    describe(actual) === describe(expected) ? 'did so with other data' : describe(actual);
  const difference = new AssertionError({ actual, expected, operator: 'deepStrictEqual' });
  // Not with `actual` and `expected` of its own: test runners would print the difference once more.
  throw new AssertionError({
    message: `Command ${command} of '${category}' should have ${describe(expected)}, but ${told}.\n\n${difference.message}`,
  });
}

function describe(outcome: Outcome): string {
  if ('rejected' in outcome) return `answered with the rejection ${outcome.rejected}`;
  return `decided ${outcome.decided.map(({ type }) => type).join(', ') || 'nothing'}`;
}

/** `await given(…).when(…)` calls `then` with functions. Thrown at once, or it would wait for ever. */
function assertNotAwaited(command: string, expected: unknown): void {
  if (Array.isArray(expected)) return;
  throw new SteleError(
    'invalid-argument',
    `Say what is expected of command ${command}: .then([…events]) or .thenRejected('…').`,
  );
}
