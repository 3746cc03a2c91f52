import type pg from 'pg';
import type { AnyAggregate } from '../types/aggregate.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import type { StoreParts } from './parts.ts';

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
  /** {@link apply}, where it rather has all its events of an append at once. */
  readonly applyAll?: (events: readonly RecordedEvent[], transaction: Transaction) => Promise<void>;
  /** Where its tables are in a schema of its own: what they must have been built by. */
  readonly tables?: { readonly fingerprint: string };
  /**
   * Runs when a store is opened with it.
   *
   * @param changed - whether to refuse tables that were not built by this definition
   */
  readonly prepare?: (parts: StoreParts, changed: 'refuse' | 'ignore') => Promise<void>;
}

/** One of several events could not be handled; `cause` is why. */
export class FailedEvent extends Error {
  override readonly name: string = 'FailedEvent';
  readonly event: RecordedEvent;

  constructor(event: RecordedEvent, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`${event.type} (event ${event.version} of stream '${event.streamId}'): ${reason}`, {
      cause,
    });
    this.event = event;
  }
}
