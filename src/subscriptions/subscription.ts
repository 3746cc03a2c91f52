import type { Transaction } from '../store/inline.ts';
import type { AnyEventTypeOf, EventNamed } from '../store/store.ts';
import type { Waitable } from '../store/waitable.ts';
import type { AnyAggregate } from '../types/aggregate.ts';
import { SteleError } from '../types/errors.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import { clientMaker } from './client-maker.ts';
import type { Consumer, FailurePolicy, ReactionContext, StartingPoint } from './consumer.ts';
import { waitUntilHandled } from './wait-for.ts';

/** Handles an event of its precise type. */
export type SubscriptionHandler<Event, Context> = (
  event: Event,
  context: Context,
) => Promise<void> | void;

/** What a subscription or a reaction is given besides its handlers. */
export interface SubscriptionOptions<
  Aggregates extends readonly AnyAggregate[],
> extends FailurePolicy {
  /** The aggregates whose events it gets. */
  readonly aggregates: Aggregates;
  /** Only events whose metadata contains this. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  /** Where it begins when it has never run; `'beginning'` unless given. */
  readonly from?: StartingPoint | undefined;
  /**
   * How many may work on it at the same time, in one process or several; 1 unless given. Each gets
   * streams of its own: the events of a stream stay in order, those of different streams do not.
   */
  readonly partitions?: number | undefined;
}

/** What {@link subscription} is given. */
export interface SubscriptionDefinition<
  Aggregates extends readonly AnyAggregate[],
  Client,
> extends SubscriptionOptions<Aggregates> {
  /** What the handlers get instead of the `pg` client of the transaction: an ORM's, made of it. */
  readonly client?: ((transaction: Transaction) => Client) | undefined;
  /** The handlers. Only events that have one are read. */
  // Written out, since errors then print the handlers instead of a name and a whole aggregate. Mapped
  // types and NoInfer, since the compiler would else not wait for what `client` returns.
  readonly on: {
    readonly [Type in AnyEventTypeOf<Aggregates[number]>]?: SubscriptionHandler<
      EventNamed<Aggregates[number], Type>,
      NoInfer<Client>
    >;
  };
}

/** What {@link reaction} is given. */
export interface ReactionDefinition<
  Aggregates extends readonly AnyAggregate[],
> extends SubscriptionOptions<Aggregates> {
  /** The handlers. Only events that have one are read. */
  readonly on: {
    readonly [Type in AnyEventTypeOf<Aggregates[number]>]?: SubscriptionHandler<
      EventNamed<Aggregates[number], Type>,
      ReactionContext
    >;
  };
}

/** A durable consumer of the store. Made by {@link subscription} or {@link reaction}. */
export interface Subscription extends Consumer, Waitable {}

/**
 * Declares a durable consumer whose handlers do nothing but SQL. They run in the transaction in which
 * the checkpoint is written: exactly once, whatever crashes. What a handler throws rolls that back, and
 * it is tried again as `onFailure` says.
 *
 * @throws SteleError `invalid-argument` for a handler of an event that no aggregate declares
 *
 * @example
 * ```ts
 * const Audit = subscription('audit', {
 *   aggregates: [User],
 *   on: {
 *     EmailChanged: async ({ streamId, metadata }, transaction) => {
 *       await transaction.query('insert into audit (what, who) values ($1, $2)', [streamId, metadata.userId]);
 *     },
 *   },
 * });
 * ```
 */
export function subscription<
  const Aggregates extends readonly AnyAggregate[],
  Client = Transaction,
>(name: string, definition: SubscriptionDefinition<Aggregates, Client>): Subscription {
  const clientOf = clientMaker(definition.client);
  const handlers = handlersOf<Client>(name, definition.aggregates, definition.on);
  return consumer(name, 'transactional', definition, Object.keys(handlers), {
    each: async (event, transaction) => {
      // Made by `client`; without it, Client is its default, Transaction.
      await handlers[event.type]?.(event, clientOf(transaction) as Client);
    },
  });
}

/**
 * Declares a durable consumer whose handlers act on the outside: send an e-mail, call a service, execute
 * a command. Each event is handled at least once, and again when its process died before the checkpoint
 * was written: pass `idempotencyKey` on, so that a repetition has no further effect.
 *
 * @throws SteleError `invalid-argument` for a handler of an event that no aggregate declares
 *
 * @example
 * ```ts
 * const Welcome = reaction('welcome-email', {
 *   aggregates: [User],
 *   from: 'now',
 *   on: {
 *     UserCreated: ({ data }, { idempotencyKey }) =>
 *       mailer.send({ to: data.email, subject: 'Welcome', messageId: idempotencyKey }),
 *   },
 * });
 * ```
 */
export function reaction<const Aggregates extends readonly AnyAggregate[]>(
  name: string,
  definition: ReactionDefinition<Aggregates>,
): Subscription {
  const handlers = handlersOf<ReactionContext>(name, definition.aggregates, definition.on);
  return consumer(name, 'reaction', definition, Object.keys(handlers), {
    react: async (event, context) => {
      await handlers[event.type]?.(event, context);
    },
  });
}

type UntypedHandlers<Context> = Readonly<
  Record<string, ((event: RecordedEvent, context: Context) => Promise<void> | void) | undefined>
>;

function handlersOf<Context>(
  name: string,
  aggregates: readonly AnyAggregate[],
  on: object,
): UntypedHandlers<Context> {
  // The keys are events of the aggregates, and each handler takes its event: checked where it was
  // declared, and here for those who do not compile.
  const handlers = on as UntypedHandlers<Context>;
  const events = new Set(aggregates.flatMap((aggregate) => Object.keys(aggregate.events)));
  for (const [type, handler] of Object.entries(handlers)) {
    if (!events.has(type)) {
      throw new SteleError(
        'invalid-argument',
        `'${name}' has a handler for ${type}, which none of its aggregates declares.`,
      );
    }
    if (typeof handler !== 'function') {
      throw new SteleError(
        'invalid-argument',
        `The handler of '${name}' for ${type} is no function.`,
      );
    }
  }
  if (Object.keys(handlers).length === 0) {
    throw new SteleError(
      'invalid-argument',
      `'${name}' has no handler, so it would get no events.`,
    );
  }
  return handlers;
}

function consumer(
  name: string,
  kind: Consumer['kind'],
  options: SubscriptionOptions<readonly AnyAggregate[]>,
  types: readonly string[],
  handler: Consumer['handler'],
): Subscription {
  const { aggregates, metadata, from = 'beginning', partitions = 1, attempts, onFailure } = options;
  const wanted = new Set(types);
  return Object.freeze({
    name,
    kind,
    aggregates,
    handles: (_: string, type: string) => wanted.has(type),
    metadata,
    from,
    partitions,
    attempts,
    onFailure,
    handler,
    waitUntil: (parts, position, wait) => waitUntilHandled(parts, name, position, wait),
  } satisfies Subscription);
}
