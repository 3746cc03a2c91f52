import type pg from 'pg';
import type {
  AnyAggregate,
  CommandInputOf,
  CommandNameOf,
  CommandOf,
  EventOf,
  EventTypeOf,
  MetadataSchemaOf,
  RejectionOf,
  StateOf,
} from '../types/aggregate.ts';
import type { DistinctAggregates } from '../types/distinct-aggregates.ts';
import type { ExpectedVersion } from '../types/errors.ts';
import type { MetadataArguments, MetadataProperty } from '../types/metadata.ts';
import type { NewEvent, RecordedEvent } from '../types/recorded-event.ts';
import type { Schema } from '../types/schema.ts';
import type { Stream } from '../types/stream.ts';
import type { StoredEvents } from './append.ts';
import type { CausationNode } from './correlation.ts';
import type { BlameEntry, HistoryEntry } from './history.ts';
import type { InlineProjection, Transaction } from './inline.ts';
import type { Waitable } from './waitable.ts';
import type { LoadMoment } from './load.ts';

/** What `openStore` is given. */
export interface StoreOptions<Aggregates extends readonly AnyAggregate[]> {
  /** A connection string, or `pg`'s pool options. Without it and without `pool`, `pg` reads `PGHOST` etc. */
  readonly connection?: string | pg.PoolConfig | undefined;
  /** A pool of the application's own, instead of `connection`. It is left open by `close()`. */
  readonly pool?: pg.Pool | undefined;
  /** The Postgres schema of Stele's tables; `stele` unless given. */
  readonly schema?: string | undefined;
  /** Every aggregate whose streams this store reads or writes. */
  readonly aggregates: DistinctAggregates<Aggregates>;
  /** Projections that run in the transaction of the append. */
  readonly projections?: readonly InlineProjection[] | undefined;
  /** Whether to migrate the database when it is not at this library's version; `true` unless given. */
  readonly migrate?: boolean | undefined;
  /** `false` for a pooler that cannot carry prepared statements; `true` unless given. */
  readonly prepare?: boolean | undefined;
  /**
   * What to do when the tables of one of `projections` were built by another definition, or not yet:
   * `'refuse'` to open, unless given, or `'ignore'` it, so that they can be rebuilt. Until then, an
   * append that needs that projection fails with `projection-changed`.
   */
  readonly changedProjections?: 'refuse' | 'ignore' | undefined;
  /** For how many streams `load` and `execute` remember the state; 1,000 unless given. */
  readonly cachedStates?: number | undefined;
}

/** What an append may be given besides its events and metadata. */
export interface AppendOptions {
  /** What the stream must be at; `'any'` unless given. */
  readonly expectedVersion?: ExpectedVersion | undefined;
  /**
   * Sent again to the same stream with the same key, the append stores nothing and returns the first
   * result. A command's key counts for that command only; one that stores nothing is not remembered.
   */
  readonly idempotencyKey?: string | undefined;
  /** A client inside a transaction of the caller's: the append is stored when that commits. */
  readonly transaction?: Transaction | undefined;
  /**
   * What has to have handled the append's events before it is answered, so that a query that follows
   * finds them. When that takes longer than five seconds, a `wait-timeout` is thrown, and the events are
   * stored all the same.
   */
  readonly waitFor?: readonly Waitable[] | undefined;
}

/** One of several streams that are appended to at once. */
export type StreamAppend<S extends Stream> = {
  readonly stream: S;
  readonly events: readonly NewEvent<NoInfer<S>['category']>[];
  /** What the stream must be at; `'any'` unless given. */
  readonly expectedVersion?: ExpectedVersion | undefined;
} & MetadataProperty<NoInfer<S> extends Stream<string, infer M> ? M : undefined>;

/** What an append has stored. */
export type AppendResult = StoredEvents;

/** What a command may be given besides its input and metadata. */
export interface ExecuteOptions extends AppendOptions {
  /**
   * What the stream must be at. With it, a stream that has moved on is a {@link ConcurrencyError};
   * without it, the command is decided again.
   */
  readonly expectedVersion?: ExpectedVersion | undefined;
  /** How often the command is decided before the store gives up; 20 unless given. */
  readonly attempts?: number | undefined;
}

/** A command was accepted, and what it decided is stored. */
export interface Accepted<A extends AnyAggregate> {
  readonly ok: true;
  /** The state after the command. */
  readonly state: StateOf<A>;
  /** The stream's version after the command. */
  readonly version: number;
  /** What was stored; empty when there was nothing to do. */
  readonly events: readonly EventOf<A>[];
  /** The position of the last event; `undefined` when there is none. */
  readonly position: number | undefined;
  /** Whether an earlier execution with the same idempotency key had stored this. */
  readonly deduplicated: boolean;
}

/** A command was refused. Nothing was stored. */
export interface Rejected<A extends AnyAggregate> {
  readonly ok: false;
  /** Which of the aggregate's `errors`, with its data. */
  readonly error: RejectionOf<A>;
  /** The state that it was decided on. */
  readonly state: StateOf<A>;
  readonly version: number;
}

/** What became of a command; tell by `ok`. */
export type Outcome<A extends AnyAggregate> = Accepted<A> | Rejected<A>;

/** The state of a stream. */
export interface Loaded<A extends AnyAggregate> {
  readonly state: StateOf<A>;
  /** The version that the state belongs to; 0 when the stream does not exist. */
  readonly version: number;
}

/** Which part of a stream to read; all of it, forwards, unless said otherwise. */
export interface ReadStreamOptions {
  /** The first version, included. */
  readonly from?: number | undefined;
  /** The last version, included. */
  readonly to?: number | undefined;
  /** Only what was stored up to this moment. */
  readonly until?: Date | undefined;
  /** From the newest event to the oldest. */
  readonly backwards?: boolean | undefined;
  readonly limit?: number | undefined;
}

/** Which part of the store to read; all of it unless said otherwise. */
export interface ReadOptions<A extends AnyAggregate, Type extends AnyEventTypeOf<A>> {
  /** Only the streams of these aggregates. */
  readonly aggregates?: readonly A[] | undefined;
  /** Only events of these types. */
  readonly types?: readonly Type[] | undefined;
  /** A position; reading starts after it. */
  readonly after?: number | undefined;
  readonly limit?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A moment of the past, for history and blame. */
export interface UpTo {
  /** The last version, included. */
  readonly to?: number | undefined;
  /** Only what was stored up to this moment. */
  readonly until?: Date | undefined;
}

/** The names of all events of any of several aggregates. */
export type AnyEventTypeOf<A extends AnyAggregate> = A extends AnyAggregate
  ? EventTypeOf<A>
  : never;

/** Any event of any of several aggregates. */
export type AnyEventOf<A extends AnyAggregate> = A extends AnyAggregate ? EventOf<A> : never;

/** The event of this name, of whichever of the aggregates declares it. */
export type EventNamed<A extends AnyAggregate, Type extends string> = A extends AnyAggregate
  ? Type extends EventTypeOf<A>
    ? EventOf<A, Type>
    : never
  : never;

/** Events that are fetched page by page as they are consumed. No connection is held in between. */
export type Events<Event> = AsyncGenerator<Event, void, undefined>;

/** An open event store. Made by `openStore`. */
export interface Store extends AsyncDisposable {
  /**
   * Appends events to a stream, all or none. Concurrent appends share a commit.
   *
   * @throws ConcurrencyError when the stream is not at `expectedVersion`
   * @throws ValidationError, UnstorableValueError before anything is sent
   * @throws DuplicateEventError when an id of these events belongs to another event of the stream
   * @throws ProjectionError when an inline projection failed; nothing is stored then
   * @throws DatabaseError when the database cannot be reached for about ten seconds, or refuses. If
   * the connection was lost, the events may have been stored: append again with the same ids or key
   */
  append<Category extends string, M extends Schema | undefined>(
    stream: Stream<Category, M>,
    events: readonly NewEvent<NoInfer<Category>>[],
    ...options: MetadataArguments<M, AppendOptions>
  ): Promise<AppendResult>;

  /**
   * Appends to several streams, all or nothing, in one transaction.
   *
   * @returns what was stored in each stream, in the order given
   * @throws what {@link Store.append} throws
   */
  appendAll<const Streams extends readonly Stream[]>(
    appends: { readonly [I in keyof Streams]: StreamAppend<Streams[I]> },
    options?: Omit<AppendOptions, 'expectedVersion'>,
  ): Promise<readonly AppendResult[]>;

  /**
   * Loads the state of a stream: now, as it was at a time (`at`), or at a `version`. A stream that
   * does not exist has its initial state and version 0.
   *
   * @throws UnknownSchemaVersionError, UnknownEventTypeError when newer code wrote what it finds
   */
  load<A extends AnyAggregate>(aggregate: A, id: string, moment?: LoadMoment): Promise<Loaded<A>>;

  /**
   * Executes a command: loads the state, lets the command decide, appends what it decided. When the
   * stream moves on meanwhile, it is decided again. While `decide` runs, no connection is held.
   *
   * @returns the events stored, or the rejection; a rejection is a value and never thrown
   * @throws ConcurrencyError when `expectedVersion` was given and does not hold
   * @throws SteleError `retries-exhausted` when the stream moved on at every attempt
   * @throws ValidationError for a wrong input; and what {@link Store.append} throws
   */
  execute<A extends AnyAggregate, Name extends CommandNameOf<A>>(
    aggregate: A,
    id: string,
    command: Name,
    input: CommandInputOf<A, Name>,
    ...options: MetadataArguments<MetadataSchemaOf<A>, ExecuteOptions>
  ): Promise<Outcome<A>>;

  /**
   * Executes several commands on one stream in one append: each decides on the state that the ones
   * before it leave, and the first rejection rejects them all.
   */
  executeAll<A extends AnyAggregate>(
    aggregate: A,
    id: string,
    commands: readonly CommandOf<A>[],
    ...options: MetadataArguments<MetadataSchemaOf<A>, ExecuteOptions>
  ): Promise<Outcome<A>>;

  /** Reads the events of one stream. */
  readStream<A extends AnyAggregate>(
    aggregate: A,
    id: string,
    options?: ReadStreamOptions,
  ): Events<EventOf<A>>;

  /**
   * Reads the store in the order of positions: everything that was committed when reading began, each
   * event once. It waits for appends that were in flight at that moment, so that none is left out.
   *
   * @throws ReadStalledError when a transaction that has appended stays open for over ten seconds
   */
  read<A extends AnyAggregate = AnyAggregate, Type extends AnyEventTypeOf<A> = AnyEventTypeOf<A>>(
    options?: ReadOptions<A, Type>,
  ): Events<AnyAggregate extends A ? RecordedEvent : Extract<AnyEventOf<A>, { type: Type }>>;

  /** One event by its id; `undefined` when there is none. */
  event(id: string): Promise<RecordedEvent | undefined>;

  /** The events of a correlation, each below the event that caused it. */
  correlation(correlationId: string): Promise<readonly CausationNode[]>;

  /** How the state of a stream came to be: each event with the state before, after, and what changed. */
  history<A extends AnyAggregate>(
    aggregate: A,
    id: string,
    upTo?: UpTo,
  ): Events<HistoryEntry<EventOf<A>, StateOf<A>>>;

  /** For every value of the state, the event that last set it. */
  blame<A extends AnyAggregate>(
    aggregate: A,
    id: string,
    upTo?: UpTo,
  ): Promise<readonly BlameEntry<EventOf<A>>[]>;

  /** Finishes what is in flight, and closes the pool unless it was given. Safe to call twice. */
  close(): Promise<void>;
}
