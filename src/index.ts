/**
 * Stele: type-safe event sourcing for TypeScript and PostgreSQL.
 *
 * @module
 */

// Declaring
export { aggregate } from './types/aggregate.ts';
export { event } from './types/event.ts';
export { type } from './types/schema.ts';
export { projection } from './projections/projection.ts';

// Running
export { openStore } from './store/open-store.ts';
export { causedBy, withMetadata } from './store/ambient.ts';
export { migrate, migrationSql } from './db/migrate.ts';

// Errors
export {
  ConcurrencyError,
  DuplicateEventError,
  isSteleError,
  ProjectionError,
  ReadStalledError,
  SteleError,
  UnknownEventTypeError,
  UnknownSchemaVersionError,
  UnstorableValueError,
  ValidationError,
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
export type {
  Projection,
  ProjectionHandler,
  ProjectionHandlers,
} from './projections/projection.ts';

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
export type { MigrationReport } from './db/migrate.ts';
export type { Blocker, ErrorCode, ExpectedVersion, Issue } from './types/errors.ts';
