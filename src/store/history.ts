import diff from 'microdiff';
import type { AnyAggregate } from '../types/aggregate.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import { streamPages, type ReaderParts, type StreamRange } from './read.ts';
import { evolve, initial } from './state.ts';

/** One place in a state that an event changed. */
export interface Change {
  readonly kind: 'added' | 'changed' | 'removed';
  /** From the root of the state; empty when the state itself is replaced. */
  readonly path: readonly (string | number)[];
  /** `undefined` when it was added. */
  readonly before: unknown;
  /** `undefined` when it was removed. */
  readonly after: unknown;
}

/** What one event did to the state. */
export interface HistoryEntry<Event = RecordedEvent, State = unknown> {
  readonly event: Event;
  readonly before: State;
  readonly after: State;
  readonly changes: readonly Change[];
}

/** A value in the state, and the event that last set it. */
export interface BlameEntry<Event = RecordedEvent> {
  readonly path: readonly (string | number)[];
  readonly value: unknown;
  /** `undefined` for what has been so since before the first event. */
  readonly event: Event | undefined;
}

/** For each event of a stream, the state before and after it, and what it changed. */
export async function* historyOf(
  parts: ReaderParts,
  aggregate: AnyAggregate,
  streamId: string,
  range: Pick<StreamRange, 'to' | 'until'> = {},
): AsyncGenerator<HistoryEntry> {
  let before = initial(aggregate).state;
  for await (const events of streamPages(parts, streamId, range)) {
    for (const event of events) {
      const after = evolve(aggregate, before, event);
      yield { event, before, after, changes: changesBetween(before, after) };
      before = after;
    }
  }
}

/** For every value of the state, the event that last set it. */
export async function blameOf(
  parts: ReaderParts,
  aggregate: AnyAggregate,
  streamId: string,
  range: Pick<StreamRange, 'to' | 'until'> = {},
): Promise<readonly BlameEntry[]> {
  // A value was last set by the latest change at its own path or at one that leads to it, so it is
  // enough to remember the last event of each path.
  const lastChange = new Map<string, RecordedEvent>();
  let state = initial(aggregate).state;
  for await (const { event, after, changes } of historyOf(parts, aggregate, streamId, range)) {
    for (const { path } of changes) lastChange.set(JSON.stringify(path), event);
    state = after;
  }
  return leavesOf(state, []).map(({ path, value }) => {
    let event: RecordedEvent | undefined;
    for (let length = 0; length <= path.length; length += 1) {
      const candidate = lastChange.get(JSON.stringify(path.slice(0, length)));
      if (candidate !== undefined && candidate.version > (event?.version ?? 0)) event = candidate;
    }
    return { path, value, event };
  });
}

/** What differs between two states. A class instance counts as one value. */
function changesBetween(before: unknown, after: unknown): readonly Change[] {
  // Wrapped, since a state may be a bare value and microdiff compares objects.
  return diff({ state: before }, { state: after }, { cyclesFix: false }).map(
    (difference): Change => {
      const path = difference.path.slice(1);
      if (difference.type === 'CREATE') {
        return { kind: 'added', path, before: undefined, after: difference.value };
      }
      if (difference.type === 'REMOVE') {
        return { kind: 'removed', path, before: difference.oldValue, after: undefined };
      }
      return { kind: 'changed', path, before: difference.oldValue, after: difference.value };
    },
  );
}

function leavesOf(
  value: unknown,
  path: readonly (string | number)[],
): { path: readonly (string | number)[]; value: unknown }[] {
  const isArray = Array.isArray(value);
  const prototype: unknown =
    typeof value === 'object' && value !== null ? Object.getPrototypeOf(value) : undefined;
  if (!isArray && prototype !== Object.prototype && prototype !== null) return [{ path, value }];
  const entries = Object.entries(value as object);
  if (entries.length === 0) return [{ path, value }];
  return entries.flatMap(([key, item]) => leavesOf(item, [...path, isArray ? Number(key) : key]));
}
