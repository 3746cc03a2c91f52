/**
 * Stele: type-safe event sourcing for TypeScript and PostgreSQL.
 *
 * @module
 */

// Declaring
export { aggregate } from './types/aggregate.ts';
export { event } from './types/event.ts';
export { type } from './types/schema.ts';
export { reaction, subscription } from './subscriptions/subscription.ts';
export { projection } from './projections/projection.ts';
export { batchProjection } from './projections/batch-projection.ts';
export { documentProjection } from './projections/document-projection.ts';

// Reading what projections make
export { liveDocuments } from './projections/live-documents.ts';
export { poolOf } from './projections/pool-of.ts';
export { readModel } from './projections/read-model.ts';

// Building again
export { compare } from './projections/compare.ts';
export { cancelRebuild, rebuild } from './projections/rebuild.ts';
export { rollback } from './projections/rollback.ts';

// Running
export { openStore } from './store/open-store.ts';
export { causedBy, withMetadata } from './store/ambient.ts';
export { openRuntime } from './runtime/runtime.ts';
export { migrate, migrationSql } from './db/migrate.ts';

// Errors
export {
  ConcurrencyError,
  DuplicateEventError,
  isSteleError,
  ProjectionError,
  ReadStalledError,
  SteleError,
  SubscriptionStoppedError,
  UnknownEventTypeError,
  UnknownSchemaVersionError,
  UnstorableValueError,
  ValidationError,
  WaitTimeoutError,
} from './types/errors.ts';
export { DatabaseError } from './db/client.ts';

// Types of what was declared, for code written outside of it
export type {
  Aggregate,
  AnyAggregate,
  Command,
  CommandBuilder,
  CommandInputOf,
  CommandNameOf,
  CommandOf,
  DecideContext,
  Decision,
  Emit,
  EventOf,
  EventTypeOf,
  Reject,
  Rejection,
  RejectionOf,
  RejectionTypeOf,
  StateOf,
  StreamEventOf,
} from './types/aggregate.ts';
export type { Codec, EventBuilder, EventData, EventDefinition, EventInput } from './types/event.ts';
export type { Metadata, RecordedMetadata } from './types/metadata.ts';
export type { NewEvent, RecordedEvent, StreamEvent } from './types/recorded-event.ts';
export type { Schema } from './types/schema.ts';
export type { Stream } from './types/stream.ts';
export type { Projection, ProjectionOptions, TableOptions } from './projections/definition.ts';
export type {
  ProjectionDefinition,
  ProjectionHandler,
  ProjectionHandlers,
} from './projections/projection.ts';
export type {
  DocumentMatch,
  Documents,
  FindOptions,
  KeyedDocument,
} from './projections/document-reader.ts';
export type { CompareOptions, Comparison } from './projections/compare.ts';
export type { RebuildOptions, RebuildResult } from './projections/rebuild.ts';
export type { BuildOptions, RebuildProgress } from './projections/shadow.ts';
export type { RowDifference, TableDifference } from './projections/table-difference.ts';
export type { PastMoment } from './projections/history.ts';
export type { ModelOf, ReadMoment } from './projections/read-model.ts';
export type { BatchProjectionDefinition } from './projections/batch-projection.ts';
export type {
  DocumentHandler,
  DocumentHandlers,
  DocumentProjection,
  DocumentProjectionDefinition,
} from './projections/document-projection.ts';

// Types of what runs behind the appends
export type { FailurePolicy, ReactionContext, StartingPoint } from './subscriptions/consumer.ts';
export type { ParkedSelection } from './subscriptions/control.ts';
export type { FailureKind, RecordedFailure } from './subscriptions/failure.ts';
export type {
  ReactionDefinition,
  Subscription,
  SubscriptionDefinition,
  SubscriptionHandler,
  SubscriptionOptions,
} from './subscriptions/subscription.ts';
export type { ParkedEvent, PartitionStatus, SubscriptionStatus } from './runtime/inspect.ts';
export type { Runnable, Runtime, RuntimeNotice, RuntimeOptions } from './runtime/runtime.ts';

// Types of the store
export type {
  Accepted,
  AnyEventOf,
  AnyEventTypeOf,
  AppendOptions,
  AppendResult,
  Events,
  ExecuteOptions,
  Loaded,
  Outcome,
  ReadOptions,
  ReadStreamOptions,
  Rejected,
  Store,
  StoreOptions,
  StreamAppend,
  UpTo,
} from './store/store.ts';
export type { CausationNode } from './store/correlation.ts';
export type { BlameEntry, Change, HistoryEntry } from './store/history.ts';
export type { InlineProjection, Transaction } from './store/inline.ts';
export type { LoadMoment } from './store/load.ts';
export type { Waitable, WaitOptions } from './store/waitable.ts';
export type { MigrationReport } from './db/migrate.ts';
export type { Blocker, ErrorCode, ExpectedVersion, Issue } from './types/errors.ts';
