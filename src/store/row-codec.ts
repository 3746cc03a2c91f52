import type { AnyAggregate } from '../types/aggregate.ts';
import { SteleError, UnknownEventTypeError, UnknownSchemaVersionError } from '../types/errors.ts';
import type { EventDefinition, EventVersion } from '../types/event.ts';
import type { Metadata } from '../types/metadata.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import { categoryOf } from '../types/stream.ts';

/** A row of the columns that the statements select. */
export type EventRow = [
  position: number,
  streamId: string,
  version: number,
  id: string,
  type: string,
  schemaVersion: number,
  data: unknown,
  metadata: Metadata & { timestamp?: Date },
  recordedAt: number,
];

/** Turns rows into events: the payload by its stored schema version, then up to the newest. */
export type RowCodec = (row: EventRow) => RecordedEvent;

interface KnownEvent {
  readonly name: string;
  readonly versions: readonly EventVersion[];
}

/**
 * @throws UnknownEventTypeError, when reading, for a type that no aggregate declares
 * @throws UnknownSchemaVersionError, when reading, for a payload that newer code has written
 */
export function rowCodec(aggregates: readonly AnyAggregate[]): RowCodec {
  const categories = new Map(
    aggregates.map(({ category, events }) => [category, knownEvents(events)]),
  );
  return ([position, streamId, version, id, type, schemaVersion, stored, metadata, recordedAt]) => {
    const known = categories.get(categoryOf(streamId))?.get(type);
    if (known === undefined) throw new UnknownEventTypeError(streamId, version, type);
    const knownVersion = known.versions.length;
    if (schemaVersion > knownVersion) {
      throw new UnknownSchemaVersionError({
        streamId,
        version,
        eventType: type,
        schemaVersion,
        knownVersion,
      });
    }
    let data = stored;
    try {
      data = decode(known.versions, schemaVersion, stored);
    } catch (cause) {
      throw new SteleError(
        'upcast-failed',
        `Event ${version} of stream '${streamId}', ${type} of schema version ${schemaVersion}, could not be turned into version ${knownVersion}: ` +
          `${cause instanceof Error ? cause.message : String(cause)}. Mend its upcaster or codec.`,
        { cause },
      );
    }
    // The metadata object was parsed for this row alone, so it may be completed in place.
    metadata.timestamp = new Date(Math.round(recordedAt));
    return {
      id,
      type: known.name,
      data,
      streamId,
      version,
      position,
      metadata: metadata as RecordedEvent['metadata'],
    };
  };
}

/** The name an event is stored under. */
export function storedNameOf(name: string, definition: EventDefinition): string {
  return definition.storedName ?? name;
}

function knownEvents(events: AnyAggregate['events']): Map<string, KnownEvent> {
  return new Map(
    Object.entries(events).map(([name, definition]) => [
      storedNameOf(name, definition),
      { name, versions: definition.versions },
    ]),
  );
}

function decode(
  versions: readonly EventVersion[],
  schemaVersion: number,
  stored: unknown,
): unknown {
  const codec = versions[schemaVersion - 1]?.codec;
  let data = codec === undefined ? stored : codec.decode(stored);
  for (const { upcast } of versions.slice(schemaVersion)) {
    if (upcast !== undefined) data = upcast(data);
  }
  return data;
}
