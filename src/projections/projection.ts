import type { InlineProjection, Transaction } from '../store/inline.ts';
import type { AnyAggregate, EventOf, EventTypeOf } from '../types/aggregate.ts';
import { SteleError } from '../types/errors.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';

/** Updates a read model by one event. Its SQL runs in the given transaction, and ends with it. */
export type ProjectionHandler<Event> = (
  event: Event,
  transaction: Transaction,
) => Promise<void> | void;

/** A handler for each event of the aggregates, by name, with the event's precise type. */
export type ProjectionHandlers<A extends AnyAggregate> = Merge<
  A extends AnyAggregate
    ? { readonly [Type in EventTypeOf<A>]: ProjectionHandler<EventOf<A, Type>> }
    : never
>;

type Merge<Union> = (Union extends unknown ? (member: Union) => void : never) extends (
  merged: infer Merged,
) => void
  ? { [Key in keyof Merged]: Merged[Key] }
  : never;

/** What {@link projection} is given. */
export interface ProjectionDefinition<
  Aggregates extends readonly AnyAggregate[],
  Others extends 'ignore' | undefined,
> {
  /** The aggregates whose events it is made of. */
  readonly aggregates: Aggregates;
  /** `'ignore'` to handle only the events that are named in `on`. */
  readonly others?: Others;
  /** The handlers; one for every event, unless `others` says otherwise. */
  readonly on: Others extends 'ignore'
    ? Partial<ProjectionHandlers<Aggregates[number]>>
    : ProjectionHandlers<Aggregates[number]>;
}

/** A function from events to a read model. Made by {@link projection}. */
export type Projection = InlineProjection;

/**
 * Declares how events become a read model in tables of your own. Given to `openStore`, it runs
 * *inline*: in the transaction of the append, so that the read model is never behind, and what a
 * handler throws rolls the append back.
 *
 * @throws SteleError `invalid-argument` when a handler is missing, or is for no event
 *
 * @example
 * ```ts
 * const Users = projection('users', {
 *   aggregates: [User],
 *   on: {
 *     UserCreated: async ({ streamId, data }, transaction) => {
 *       await transaction.query('insert into users (id, email) values ($1, $2)', [streamId, data.email]);
 *     },
 *     EmailChanged: async ({ streamId, data }, transaction) => {
 *       await transaction.query('update users set email = $2 where id = $1', [streamId, data.email]);
 *     },
 *   },
 * });
 * ```
 */
export function projection<
  const Aggregates extends readonly AnyAggregate[],
  Others extends 'ignore' | undefined = undefined,
>(name: string, definition: ProjectionDefinition<Aggregates, Others>): Projection {
  const { aggregates, others } = definition;
  // The keys of `on` are events of the aggregates and each handler takes its event: checked where it
  // was declared, and below for those who do not compile.
  const handlers = definition.on as {
    readonly [type: string]: ProjectionHandler<RecordedEvent> | undefined;
  };
  const events = aggregates.flatMap((aggregate) => Object.keys(aggregate.events));
  const missing = events.filter((type) => typeof handlers[type] !== 'function');
  if (others !== 'ignore' && missing.length > 0) {
    throw new SteleError(
      'invalid-argument',
      `Projection '${name}' has no handler for ${missing.join(', ')}. Add one, or say \`others: 'ignore'\`.`,
    );
  }
  const unknown = Object.keys(handlers).filter((type) => !events.includes(type));
  if (unknown.length > 0) {
    throw new SteleError(
      'invalid-argument',
      `Projection '${name}' has a handler for ${unknown.join(', ')}, which none of its aggregates declares.`,
    );
  }
  const wanted = new Map(
    aggregates.map((aggregate) => [
      aggregate.category,
      new Set(Object.keys(aggregate.events).filter((type) => Object.hasOwn(handlers, type))),
    ]),
  );
  return Object.freeze({
    name,
    aggregates,
    handles: (category: string, type: string) => wanted.get(category)?.has(type) === true,
    apply: async (event: RecordedEvent, transaction: Transaction) => {
      await handlers[event.type]?.(event, transaction);
    },
  });
}
