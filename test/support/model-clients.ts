import type pg from 'pg';

import { aggregate, event, isSteleError, openStore, type } from 'stele';
import type { AppendResult, RecordedEvent, Store } from 'stele';
import type { TestDatabase } from './database.ts';
import type { ModelAppend, ModelEvent, ModelOutcome } from './model.ts';

/** Two kinds of stream whose state is everything that was added since it was last cleared. */
export const Ledger = aggregate('ledger', {
  events: { Added: event<{ n: number }>(), Cleared: event<{ n: number }>() },
  initialState: (): readonly number[] => [],
  evolve: { Added: (state, { data }) => [...state, data.n], Cleared: () => [] },
  commands: {
    add: { input: type<object>(), decide: (_, state, { emit }) => emit.Added({ n: state.length }) },
  },
});
export const Journal = aggregate('journal', {
  events: {
    Added: event<{ n: number }>().storedAs('journal.added'),
    Cleared: event<{ n: number }>().storedAs('journal.cleared'),
  },
  initialState: (): readonly number[] => [],
  evolve: { Added: (state, { data }) => [...state, data.n], Cleared: () => [] },
  commands: {
    add: { input: type<object>(), decide: (_, state, { emit }) => emit.Added({ n: state.length }) },
  },
});

/** `ledger-7` as its aggregate and its id. */
export function target(streamId: string): [typeof Ledger, string] {
  const [category = '', id = ''] = streamId.split('-');
  // Both are declared alike; only their names differ.
  return [(category === 'ledger' ? Ledger : Journal) as unknown as typeof Ledger, id];
}

export function openModelStore(database: TestDatabase): Promise<Store> {
  return openStore({
    connection: { connectionString: database.connectionString, max: 4 },
    aggregates: [Ledger, Journal],
    // So few that states are forgotten, too.
    cachedStates: 2,
  });
}

/** Appends what the model describes, and answers as the model does. */
export async function appendTo(
  store: Store,
  { writes, key }: ModelAppend,
  transaction?: pg.Client,
): Promise<ModelOutcome> {
  const options = { idempotencyKey: key, transaction };
  const appends = writes.map(({ streamId, expected, events: drafts }) => {
    const [kind, id] = target(streamId);
    return {
      stream: kind.stream(id),
      expectedVersion: expected,
      events: drafts.map((draft) => ({
        ...kind.emit[draft.type]({ n: draft.n }),
        ...(draft.id === undefined ? {} : { id: draft.id }),
      })),
    };
  });
  const [only] = appends;
  return answer(
    only !== undefined && appends.length === 1
      ? store
          .append(only.stream, only.events, { ...options, expectedVersion: only.expectedVersion })
          .then((result) => [result])
      : store.appendAll(appends, options),
  );
}

/** Executes `add`, which appends one event with the number of those that are there. */
export async function addTo(store: Store, streamId: string): Promise<ModelOutcome> {
  const [kind, id] = target(streamId);
  const result = await store.execute(kind, id, 'add', {}, { attempts: 1_000 });
  if (!result.ok) throw new Error('The command has no rejection.');
  return {
    kind: 'stored',
    deduplicated: result.deduplicated,
    events: result.events.map(modelEvent),
  };
}

async function answer(results: Promise<readonly AppendResult[]>): Promise<ModelOutcome> {
  try {
    const stored = await results;
    return {
      kind: 'stored',
      deduplicated: stored.every(({ deduplicated }) => deduplicated),
      events: stored.flatMap((result) => result.events.map(modelEvent)),
    };
  } catch (error) {
    if (isSteleError(error, 'concurrency')) {
      return { kind: 'conflict', streamId: error.streamId, actual: error.actualVersion };
    }
    if (isSteleError(error, 'duplicate-event')) return { kind: 'duplicate' };
    throw error;
  }
}

/** What the model keeps of an event. */
function modelEvent(event: RecordedEvent): ModelEvent {
  const { id, type, streamId, version, position, metadata } = event;
  const { n } = event.data as { n: number };
  const { timestamp, idempotencyKey: key } = metadata;
  return { id, type, n, streamId, version, position, time: timestamp.getTime(), key };
}

/** All of a reading, as the model keeps it. */
export async function collect(reading: AsyncIterable<RecordedEvent>): Promise<ModelEvent[]> {
  const found: ModelEvent[] = [];
  for await (const item of reading) found.push(modelEvent(item));
  return found;
}
