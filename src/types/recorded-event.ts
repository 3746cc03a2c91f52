import type { Metadata, RecordedMetadata } from './metadata.ts';

/** An event that was decided and not stored yet. Made by `emit`. */
export interface NewEvent<
  Category extends string = string,
  Type extends string = string,
  Data = unknown,
> {
  readonly category: Category;
  readonly type: Type;
  readonly data: Data;
  /** A UUID, when the caller wants to name the event: storing it twice then stores it once. */
  readonly id?: string | undefined;
}

/** An event in its stream, as `evolve` sees it. */
export interface StreamEvent<
  Type extends string = string,
  Data = unknown,
  Meta = Metadata & RecordedMetadata,
> {
  /** A UUID, version 7 unless the caller made it. */
  readonly id: string;
  readonly type: Type;
  readonly data: Data;
  readonly streamId: string;
  /** Its place in the stream: 1, 2, 3 … */
  readonly version: number;
  readonly metadata: Meta;
}

/** An event as it is stored. */
export interface RecordedEvent<
  Type extends string = string,
  Data = unknown,
  Meta = Metadata & RecordedMetadata,
> extends StreamEvent<Type, Data, Meta> {
  /** Its place in the whole store: grows, may have holes. */
  readonly position: number;
}
