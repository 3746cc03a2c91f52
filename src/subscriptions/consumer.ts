import type { Transaction } from '../store/inline.ts';
import type { AnyAggregate } from '../types/aggregate.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';

/** Where a subscription begins that has never run. Later it goes on from its checkpoint. */
export type StartingPoint =
  | 'beginning'
  /** Everything that is committed after it was started, and nothing that was committed before. */
  | 'now'
  /** After a position. */
  | { readonly position: number }
  /** Everything that was stored at this time or later. */
  | { readonly time: Date };

/** What happens when a handler fails. */
export interface FailurePolicy {
  /** How often an event is tried, the first time included; 5 unless given. */
  readonly attempts?: number | undefined;
  /**
   * What happens after the last attempt. `'stop'`, unless given: the subscription stops until a person
   * retries it. `'park'`: the event and all later ones of its stream are set aside, in order, until a
   * person replays or discards them; other streams go on.
   */
  readonly onFailure?: 'stop' | 'park' | undefined;
}

/** What a reaction gets besides the event. */
export interface ReactionContext {
  /** The same whenever this reaction gets this event: hand it on to whoever can refuse repetitions. */
  readonly idempotencyKey: string;
  /** Aborted when this process has lost the event's partition, so that another one may be handling it. */
  readonly signal: AbortSignal;
}

/** Handles events: one by one or a batch, in a transaction; or one by one, outside of any. */
export type Handler =
  | { readonly each: (event: RecordedEvent, transaction: Transaction) => Promise<void> }
  | {
      readonly batch: (events: readonly RecordedEvent[], transaction: Transaction) => Promise<void>;
    }
  | { readonly react: (event: RecordedEvent, context: ReactionContext) => Promise<void> };

/** What runs from a checkpoint. */
export interface Consumer extends FailurePolicy {
  readonly name: string;
  readonly kind: 'transactional' | 'reaction' | 'projection';
  readonly aggregates: readonly AnyAggregate[];
  /** Whether it wants events of this type, by its key in the aggregate's `events`. */
  readonly handles: (category: string, type: string) => boolean;
  /** Only events whose metadata contains this. */
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
  readonly from: StartingPoint;
  /** How many may work on it at the same time, each on streams of its own. */
  readonly partitions: number;
  readonly handler: Handler;
  /** SQL at the beginning of each of its transactions, such as `set local search_path`. */
  readonly settings?: string | undefined;
  /** Whether somebody else has to have made it: it is joined, and never begun. */
  readonly joins?: boolean | undefined;
  /** The session's own search path, where `settings` sets another one. */
  readonly sessionPath?: string | undefined;
  /** Whether it handles what was handled before, so that its handlers may append nothing. */
  readonly replays?: boolean | undefined;
  /** Whether this code is the one to run it; asked by each new owner of a partition. */
  readonly isCurrent?: (() => Promise<boolean>) | undefined;
  /** How many events are fetched at a time; 1,000 unless given. */
  readonly pageSize?: number | undefined;
}
