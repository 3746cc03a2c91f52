import type { Transaction } from '../store/inline.ts';
import type { AnyEventTypeOf, EventNamed } from '../store/store.ts';
import { clientMaker } from '../subscriptions/client-maker.ts';
import type { AnyAggregate } from '../types/aggregate.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import { buildProjection, handledTypes, type Projection, type TableOptions } from './definition.ts';

/**
 * Updates a read model by one event. Its SQL runs in the given transaction, and ends with it.
 *
 * @typeParam Client - what the projection's `client` makes of the transaction
 */
export type ProjectionHandler<Event, Client = Transaction> = (
  event: Event,
  transaction: Client,
) => Promise<void> | void;

/** A handler for each event of the aggregates, by name, with the event's precise type. */
export type ProjectionHandlers<A extends AnyAggregate, Client = Transaction> = {
  readonly [Type in AnyEventTypeOf<A>]: ProjectionHandler<EventNamed<A, Type>, NoInfer<Client>>;
};

/** The names of events that must have a handler. */
export type RequiredTypes<
  A extends AnyAggregate,
  Others extends 'ignore' | undefined,
> = Others extends 'ignore' ? never : AnyEventTypeOf<A>;

/** The names of events that may have a handler. */
export type OptionalTypes<
  A extends AnyAggregate,
  Others extends 'ignore' | undefined,
> = Others extends 'ignore' ? AnyEventTypeOf<A> : never;

/** What {@link projection} is given. */
export interface ProjectionDefinition<
  Aggregates extends readonly AnyAggregate[],
  Others extends 'ignore' | undefined,
  Client = Transaction,
> extends TableOptions<Client> {
  /** The aggregates whose events it is made of. */
  readonly aggregates: Aggregates;
  /** `'ignore'` to handle only the events that are named in `on`. */
  readonly others?: Others;
  /** The handlers; one for every event, unless `others` says otherwise. */
  // Mapped types instead of a conditional one, into which the compiler would put the default of Client
  // before it looks at what `client` returns; and written out, since errors then print the handlers
  // instead of a name and a whole aggregate.
  readonly on: {
    readonly [Type in RequiredTypes<Aggregates[number], Others>]: ProjectionHandler<
      EventNamed<Aggregates[number], Type>,
      NoInfer<Client>
    >;
  } & {
    readonly [Type in OptionalTypes<Aggregates[number], Others>]?: ProjectionHandler<
      EventNamed<Aggregates[number], Type>,
      NoInfer<Client>
    >;
  };
}

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
 *   tables: 'create table users (id text primary key, email text not null unique)',
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
  Client = Transaction,
>(name: string, definition: ProjectionDefinition<Aggregates, Others, Client>): Projection {
  const { aggregates, others, client } = definition;
  const types = handledTypes(name, aggregates, definition.on, others);
  // The keys of `on` are events of the aggregates, and each handler takes its event and what `client`
  // makes: checked where it was declared, and above for those who do not compile.
  const handlers = definition.on as {
    readonly [type: string]: ProjectionHandler<RecordedEvent, unknown> | undefined;
  };
  const clientOf = clientMaker(client);
  return buildProjection({
    kind: 'projection',
    name,
    aggregates,
    types,
    options: definition,
    code: { ...handlers },
    handler: {
      each: async (event, transaction) => {
        await handlers[event.type]?.(event, clientOf(transaction));
      },
    },
  });
}
