import { validData } from '../store/payload.ts';
import { deepFreeze, evolve } from '../store/state.ts';
import type { AnyAggregate, MetadataSchemaOf, StateOf } from '../types/aggregate.ts';
import { SteleError } from '../types/errors.ts';
import type { MetadataOutput, RecordedMetadata } from '../types/metadata.ts';
import type { NewEvent, StreamEvent } from '../types/recorded-event.ts';
import { streamOf } from '../types/stream.ts';

/** The stream that events of a test stand in. */
export interface StreamSettings<A extends AnyAggregate> {
  /** The id after the category; `1` unless given. */
  readonly id?: string | undefined;
  /** What the metadata of each event holds besides its timestamp. */
  readonly metadata?: Omit<MetadataOutput<MetadataSchemaOf<A>>, keyof RecordedMetadata> | undefined;
  /** When each event was stored; the beginning of 1970 unless given. */
  readonly timestamp?: Date | undefined;
}

/** Events of one aggregate, made by its `emit`. */
export type EventsOf<A extends AnyAggregate> = readonly NewEvent<A['category']>[];

/**
 * The state that events lead to, without a database. Each payload goes through the event's newest
 * schema, as it does when it is stored. States are frozen, so that a handler which changes one in
 * place fails here and not in production.
 *
 * @throws ValidationError when a payload could not be stored
 * @throws SteleError `evolve-failed` when a handler throws; `invalid-argument` when a schema answers
 * only later, for which {@link given} is there
 *
 * @example
 * ```ts
 * const user = replay(User, [
 *   User.emit.UserCreated({ email: 'old@example.com', username: 'ada', hashedPassword: '' }),
 *   User.emit.EmailChanged({ email: 'new@example.com' }),
 * ]);
 * assert.equal(user.email, 'new@example.com');
 * ```
 */
export function replay<A extends AnyAggregate>(
  aggregate: A,
  events: EventsOf<NoInfer<A>>,
  settings: StreamSettings<NoInfer<A>> = {},
): StateOf<A> {
  const { streamId } = streamIn(aggregate, settings);
  const states = statesOf(aggregate);
  for (const [index, event] of events.entries()) {
    const data = validData(aggregate, event, streamId);
    if (data instanceof Promise) {
      throw new SteleError(
        'invalid-argument',
        `The schema of ${event.type} answers with a promise, but replay does not wait. Use given(…).when(…).`,
      );
    }
    states.evolve(storedAs(event, data, streamId, index + 1, settings));
  }
  return states.current();
}

/** {@link replay} with schemas that may answer later. */
export async function replayLater(
  aggregate: AnyAggregate,
  events: readonly NewEvent[],
  settings: StreamSettings<AnyAggregate>,
): Promise<unknown> {
  const { streamId } = streamIn(aggregate, settings);
  const states = statesOf(aggregate);
  for (const [index, event] of events.entries()) {
    const data = await validData(aggregate, event, streamId);
    states.evolve(storedAs(event, data, streamId, index + 1, settings));
  }
  return states.current();
}

/** One state after the other, each frozen. */
function statesOf(aggregate: AnyAggregate): {
  readonly current: () => unknown;
  readonly evolve: (event: StreamEvent) => void;
} {
  const frozen = new WeakSet<object>();
  let state: unknown;
  const become = (next: unknown): void => {
    deepFreeze(next, frozen);
    state = next;
  };
  become(aggregate.initialState());
  return {
    current: () => state,
    evolve: (event) => {
      become(evolve(aggregate, state, event));
    },
  };
}

/** The stream of a test. */
export function streamIn(
  aggregate: AnyAggregate,
  { id = '1' }: { readonly id?: string | undefined },
): { readonly streamId: string } {
  return streamOf(aggregate.category, id);
}

function storedAs(
  { id, type }: NewEvent,
  data: unknown,
  streamId: string,
  version: number,
  { metadata, timestamp = new Date(0) }: StreamSettings<AnyAggregate>,
): StreamEvent {
  return {
    // The same in every run, so that a test may compare it.
    id: id ?? `00000000-0000-7000-8000-${version.toString(16).padStart(12, '0')}`,
    type,
    data,
    streamId,
    version,
    metadata: { ...metadata, timestamp },
  };
}
