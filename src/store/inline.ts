import type pg from 'pg';
import type { AnyAggregate } from '../types/aggregate.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';

/** A connection inside a transaction. Stele commits or rolls back; a handler only runs its SQL. */
export type Transaction = Pick<pg.ClientBase, 'query'>;

/** What the store needs of a projection that runs in the append's transaction. */
export interface InlineProjection {
  readonly name: string;
  /** The aggregates whose events it is made of. */
  readonly aggregates: readonly AnyAggregate[];
  /** Whether it wants events of this type. */
  readonly handles: (category: string, type: string) => boolean;
  /** Updates the read model; what it throws rolls the append back. */
  readonly apply: (event: RecordedEvent, transaction: Transaction) => Promise<void>;
}
