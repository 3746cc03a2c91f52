import type { StoreParts } from '../store/parts.ts';
import { storedNameOf, type EventRow } from '../store/row-codec.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import type { Consumer } from './consumer.ts';
import type { SubscriptionStatements } from './statements.ts';

/** What of the store a consumer wants, by the names that things are stored under. */
export interface Filter {
  readonly categories: readonly string[];
  readonly types: readonly string[];
  /** JSON; `null` for any metadata. */
  readonly metadata: string | null;
}

/** The filter follows from the handlers, so that what is asked for and what is handled cannot differ. */
export function filterOf({
  aggregates,
  handles,
  metadata,
}: Pick<Consumer, 'aggregates' | 'handles' | 'metadata'>): Filter {
  const categories: string[] = [];
  const types: string[] = [];
  for (const { category, events } of aggregates) {
    const wanted = Object.entries(events).filter(([type]) => handles(category, type));
    if (wanted.length > 0) categories.push(category);
    for (const [type, definition] of wanted) types.push(storedNameOf(type, definition));
  }
  return { categories, types, metadata: metadata === undefined ? null : JSON.stringify(metadata) };
}

/** Which part of the streams is read: one of so many. */
export interface Part {
  readonly partition: number;
  readonly partitions: number;
}

/** An event of a page; or why it cannot be decoded. */
export interface Item {
  readonly position: number;
  readonly streamId: string;
  readonly version: number;
  /** The name it is stored under. */
  readonly type: string;
  readonly event: RecordedEvent | undefined;
  readonly failure: { readonly error: unknown } | undefined;
}

export interface Page {
  readonly items: readonly Item[];
  /** Up to where nothing else is of interest. */
  readonly upTo: number;
  readonly isFull: boolean;
}

/** What reading pages works with. */
export interface PageReader {
  readonly parts: StoreParts;
  readonly statements: SubscriptionStatements;
  readonly filter: Filter;
  readonly part: Part;
  readonly size: number;
}

/** The next events after a position, up to one that is safe to read. */
export async function fetchPage(
  { parts: { database, codec }, statements, filter, part, size }: PageReader,
  after: number,
  safe: number,
): Promise<Page> {
  const { categories, types, metadata } = filter;
  const [only] = categories;
  const single = categories.length === 1;
  const rows = await database.read<EventRow>(
    single ? statements.categoryPage : statements.storePage,
    [
      after,
      safe,
      single ? only : categories,
      types,
      part.partitions,
      part.partition,
      metadata,
      size,
    ],
  );
  const items = rows.map((row) => itemOf(row, codec));
  const last = items.at(-1);
  const isFull = items.length === size;
  return { items, isFull, upTo: isFull && last !== undefined ? last.position : safe };
}

/** Decodes a row. One that fails is only its own failure: those before it are handled all the same. */
export function itemOf(row: EventRow, codec: StoreParts['codec']): Item {
  const [position, streamId, version, , type] = row;
  let event: RecordedEvent | undefined;
  let failure: Item['failure'];
  try {
    event = codec(row);
  } catch (error) {
    failure = { error };
  }
  // A literal: with a spread in it, half of the time of reading went here (4 µs for each event).
  return { position, streamId, version, type, event, failure };
}
