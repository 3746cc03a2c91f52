import { isDeepStrictEqual } from 'node:util';
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
    for (const { kind, path } of changes) {
      lastChange.set(JSON.stringify(path), event);
      // What has lost its last part is a value of its own from now on: an empty one.
      const around = path.slice(0, -1);
      if (kind === 'removed' && isEmpty(valueAt(after, around))) {
        lastChange.set(JSON.stringify(around), event);
      }
    }
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

/**
 * What differs between two states. Plain objects and arrays are looked into; anything else, such as a
 * Date, a Map or a class instance, counts as one value.
 */
function changesBetween(before: unknown, after: unknown): readonly Change[] {
  const changes: Change[] = [];
  collectChanges(before, after, [], changes);
  return changes;
}

type Path = readonly (string | number)[];

function collectChanges(before: unknown, after: unknown, path: Path, changes: Change[]): void {
  // States share what did not change, so most of two states is never looked at.
  if (Object.is(before, after)) return;
  if (
    !isContainer(before) ||
    !isContainer(after) ||
    Array.isArray(before) !== Array.isArray(after)
  ) {
    if (!isDeepStrictEqual(before, after)) changes.push({ kind: 'changed', path, before, after });
    return;
  }
  for (const [key, value] of Object.entries(before)) {
    const place = [...path, keyIn(before, key)];
    if (Object.hasOwn(after, key)) collectChanges(value, after[key], place, changes);
    else changes.push({ kind: 'removed', path: place, before: value, after: undefined });
  }
  for (const [key, value] of Object.entries(after)) {
    if (Object.hasOwn(before, key)) continue;
    const place = [...path, keyIn(after, key)];
    changes.push({ kind: 'added', path: place, before: undefined, after: value });
  }
}

type Container = Readonly<Record<string, unknown>>;

function isContainer(value: unknown): value is Container {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return Array.isArray(value) || prototype === Object.prototype || prototype === null;
}

function isEmpty(value: unknown): boolean {
  return isContainer(value) && Object.keys(value).length === 0;
}

function keyIn(container: Container, key: string): string | number {
  return Array.isArray(container) ? Number(key) : key;
}

function leavesOf(value: unknown, path: Path): { path: Path; value: unknown }[] {
  const entries = isContainer(value) ? Object.entries(value) : [];
  if (!isContainer(value) || entries.length === 0) return [{ path, value }];
  return entries.flatMap(([key, item]) => leavesOf(item, [...path, keyIn(value, key)]));
}

function valueAt(state: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (value, key) => (isContainer(value) ? value[String(key)] : undefined),
    state,
  );
}
