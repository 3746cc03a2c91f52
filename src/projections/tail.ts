import type pg from 'pg';
import type { EventRow } from '../store/row-codec.ts';
import { subscriptionStatements } from '../subscriptions/statements.ts';
import type { Part } from '../subscriptions/page.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import { replayEvents } from './replay.ts';
import { enterSchema } from './schema.ts';
import type { ShadowParts } from './shadow.ts';
import { storedTypes } from './tables.ts';

/** A part of the streams, and from where to where. */
export interface Tail extends Part {
  readonly after: number;
  readonly upTo: number;
}

const pageSize = 1_000;

/**
 * Handles the last events that are missing in a schema, inside a transaction that sees them all, and
 * from then on finds that schema's tables first.
 *
 * @returns how many there were
 */
export async function handleTail(
  { parts, projection }: ShadowParts,
  client: pg.PoolClient,
  schemaName: string,
  tails: readonly Tail[],
): Promise<number> {
  const { storePage } = subscriptionStatements(parts.schema);
  const { categories, types } = storedTypes(projection);
  await enterSchema(client, schemaName);
  let count = 0;
  for (const { partition, partitions, after, upTo } of tails) {
    let last = after;
    for (let size = pageSize; size === pageSize;) {
      const values = [last, upTo, categories, types, partitions, partition, null, pageSize];
      const rows = await parts.database.on<EventRow>(client, storePage, values);
      const events: RecordedEvent[] = rows.map(parts.codec);
      if (events.length > 0) await replayEvents(projection, events, client);
      last = events.at(-1)?.position ?? last;
      size = events.length;
      count += size;
    }
  }
  return count;
}
