import type { InputOf, OutputOf, Schema } from './schema.ts';

/** The metadata that Stele knows by name. Any of it may be set on an append or around it. */
export interface Metadata {
  /** Who did it. */
  readonly userId?: string | undefined;
  /** What belongs together, across streams: usually one request. */
  readonly correlationId?: string | undefined;
  /** The id of the event that led to this one. */
  readonly causationId?: string | undefined;
  /** W3C trace context of the span that appended. */
  readonly traceparent?: string | undefined;
  readonly tracestate?: string | undefined;
}

/** The metadata that a stored event carries besides what was given. */
export interface RecordedMetadata {
  /** When the event was stored, by the database's clock. Never goes back within a stream. */
  readonly timestamp: Date;
  /** The key that the append was given, if it was; a command's, with the command's name. */
  readonly idempotencyKey?: string;
}

/** What an append must be given: Stele's keys, and those that the aggregate's schema declares. */
export type MetadataInput<M extends Schema | undefined> = M extends Schema
  ? Flat<Omit<Metadata, keyof InputOf<M>> & InputOf<M>>
  : Metadata;

/** An intersection as one object type, which errors print shorter. */
type Flat<T> = { [K in keyof T]: T[K] };

/** What a handler finds: Stele's keys, the declared ones, and the timestamp. */
export type MetadataOutput<M extends Schema | undefined> = (M extends Schema
  ? Omit<Metadata, keyof OutputOf<M>> & OutputOf<M>
  : Metadata) &
  RecordedMetadata;

/** The property `metadata`, which may be left out unless it has a key that must be given. */
export type MetadataProperty<M extends Schema | undefined> =
  Metadata extends MetadataInput<M>
    ? { readonly metadata?: MetadataInput<M> | undefined }
    : { readonly metadata: MetadataInput<M> };

/** `[options?]`, or `[options]` where the metadata has a key that must be given. */
export type MetadataArguments<M extends Schema | undefined, Options> =
  Metadata extends MetadataInput<M>
    ? [options?: Options & MetadataProperty<M>]
    : [options: Options & MetadataProperty<M>];
