import type { Transaction } from '../store/inline.ts';
import type { AnyEventOf, AnyEventTypeOf } from '../store/store.ts';
import { clientMaker } from '../subscriptions/client-maker.ts';
import type { AnyAggregate } from '../types/aggregate.ts';
import { SteleError } from '../types/errors.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import { buildProjection, eventTypesOf, type Projection, type TableOptions } from './definition.ts';

/** What {@link batchProjection} is given. */
export interface BatchProjectionDefinition<
  Aggregates extends readonly AnyAggregate[],
  Type extends AnyEventTypeOf<Aggregates[number]>,
  Client = Transaction,
> extends TableOptions<Client> {
  /** The aggregates whose events it is made of. */
  readonly aggregates: Aggregates;
  /** The events that it takes; all of the aggregates' unless given. */
  readonly types?: readonly Type[] | undefined;
  /**
   * Updates the read model by several events, at least one, in the order of their positions. Called in
   * one transaction, with as many as there are to handle: those of one append, or a page of history.
   */
  readonly batch: (
    events: readonly Extract<AnyEventOf<Aggregates[number]>, { type: NoInfer<Type> }>[],
    transaction: NoInfer<Client>,
  ) => Promise<void> | void;
}

/**
 * Declares a read model that is made of many events at once, such as by one `insert … select unnest`:
 * the fastest way to project and to rebuild.
 *
 * @throws SteleError `invalid-argument` when `types` names an event that no aggregate declares
 *
 * @example
 * ```ts
 * const SignUps = batchProjection('sign-ups', {
 *   aggregates: [User],
 *   tables: 'create table sign_ups (email text, at timestamptz)',
 *   types: ['UserCreated'],
 *   batch: async (events, transaction) => {
 *     await transaction.query('insert into sign_ups select * from unnest($1::text[], $2::timestamptz[])', [
 *       events.map(({ data }) => data.email),
 *       events.map(({ metadata }) => metadata.timestamp),
 *     ]);
 *   },
 * });
 * ```
 */
export function batchProjection<
  const Aggregates extends readonly AnyAggregate[],
  const Type extends AnyEventTypeOf<Aggregates[number]> = AnyEventTypeOf<Aggregates[number]>,
  Client = Transaction,
>(name: string, definition: BatchProjectionDefinition<Aggregates, Type, Client>): Projection {
  const { aggregates, client } = definition;
  const known = eventTypesOf(name, aggregates);
  const types: readonly string[] = definition.types ?? known;
  const unknown = types.filter((type) => !known.includes(type));
  if (unknown.length > 0 || types.length === 0) {
    throw new SteleError(
      'invalid-argument',
      `Projection '${name}' takes ${unknown.join(', ') || 'no events'}, but its aggregates declare ${known.join(', ')}.`,
    );
  }
  if (typeof definition.batch !== 'function') {
    throw new SteleError('invalid-argument', `Projection '${name}' needs a function \`batch\`.`);
  }
  // It gets the events that it takes and what `client` makes: checked where it was declared.
  const batch = definition.batch as (
    events: readonly RecordedEvent[],
    transaction: unknown,
  ) => Promise<void> | void;
  const clientOf = clientMaker(client);
  return buildProjection({
    kind: 'batch',
    name,
    aggregates,
    types,
    options: definition,
    code: { batch },
    handler: {
      batch: async (events, transaction) => {
        await batch(events, clientOf(transaction));
      },
    },
  });
}
