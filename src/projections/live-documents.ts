import { partsOf } from '../store/parts.ts';
import type { EventRow } from '../store/row-codec.ts';
import { deepFreeze } from '../store/state.ts';
import type { Store } from '../store/store.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import { documentKey, type DocumentProjection } from './document-projection.ts';
import { historyEnd, historyPages, type PastMoment } from './history.ts';
import { projectionParts } from './parts.ts';
import { rebuildFailed } from './replay.ts';

/**
 * The documents of a projection, made in memory of all its events, or of those up to a moment: for one
 * question about the past or about a projection that does not run, where they fit into memory. No
 * connection is held between two pages of events, and nothing is written.
 *
 * @throws SteleError `rebuild-failed` when a handler throws
 *
 * @example
 * ```ts
 * const profiles = await liveDocuments(store, Profiles, { at: yesterday });
 * profiles.get('ada')?.email;
 * ```
 */
export async function liveDocuments<Document>(
  store: Store,
  projection: DocumentProjection<Document>,
  moment: PastMoment = {},
): Promise<ReadonlyMap<string, Document>> {
  const parts = partsOf(store);
  const definition = projectionParts(projection);
  const { keyOf, initial, evolve } = projection[documentKey];
  const documents = new Map<string, unknown>();
  const frozen = new WeakSet<object>();
  const apply = (event: RecordedEvent): void => {
    const key = keyOf(event);
    if (key === null) return;
    const before = documents.get(key) ?? initial();
    deepFreeze(before, frozen);
    const after = evolve(before, event);
    if (after === null) documents.delete(key);
    else documents.set(key, after);
  };
  await parts.inFlight.run(async () => {
    const end = await historyEnd(parts, moment);
    const pages = historyPages(parts, definition, end, (statement, values) =>
      parts.database.read<EventRow>(statement, values),
    );
    for await (const events of pages) {
      try {
        events.forEach(apply);
      } catch (error) {
        throw rebuildFailed(definition.name, error);
      }
    }
  });
  // Its handlers make documents of its type: checked where it was declared.
  return documents as Map<string, Document>;
}
