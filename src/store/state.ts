import type { AnyAggregate } from '../types/aggregate.ts';
import { SteleError } from '../types/errors.ts';
import type { StreamEvent } from '../types/recorded-event.ts';

/** A state and the version of the stream that it belongs to. */
export interface VersionedState {
  readonly state: unknown;
  /** 0 when the stream has no events. */
  readonly version: number;
}

/** What a stream without events is like. */
export function initial(aggregate: AnyAggregate): VersionedState {
  return { state: aggregate.initialState(), version: 0 };
}

/**
 * The state after one more event.
 *
 * @throws SteleError `evolve-failed` when the aggregate's handler throws
 */
export function evolve(aggregate: AnyAggregate, state: unknown, event: StreamEvent): unknown {
  // The handler and the event are of one aggregate and one name, so they fit each other; their types
  // were checked together where the aggregate was declared.
  const handler = aggregate.evolve[event.type] as
    ((state: unknown, event: StreamEvent) => unknown) | undefined;
  try {
    if (handler === undefined) throw new TypeError(`there is no handler for ${event.type}`);
    return handler(state, event);
  } catch (cause) {
    throw new SteleError(
      'evolve-failed',
      `Aggregate '${aggregate.category}' could not evolve by ${event.type} (event ${event.version} of stream '${event.streamId}'): ` +
        (cause instanceof Error ? cause.message : String(cause)),
      { cause },
    );
  }
}

/** {@link evolve} by several events, which follow the state. */
export function evolveAll(
  aggregate: AnyAggregate,
  from: VersionedState,
  events: readonly StreamEvent[],
): VersionedState {
  let { state, version } = from;
  for (const event of events) {
    state = evolve(aggregate, state, event);
    version = event.version;
  }
  return { state, version };
}

/** States that were computed before. The database, not the cache, says whether one is still current. */
export interface StateCache {
  get(aggregate: AnyAggregate, streamId: string): VersionedState | undefined;
  /** Keeps a state, unless a newer one is kept already. It is frozen: it will be handed out again. */
  set(aggregate: AnyAggregate, streamId: string, entry: VersionedState): void;
  delete(streamId: string): void;
}

/** Keeps the states of the streams that were used last. */
export function stateCache(capacity: number): StateCache {
  // A map iterates in the order of insertion, so its first key is the one used longest ago.
  const entries = new Map<string, { aggregate: AnyAggregate; entry: VersionedState }>();
  const frozen = new WeakSet<object>();
  return {
    get: (aggregate, streamId) => {
      const found = entries.get(streamId);
      if (found === undefined || found.aggregate !== aggregate) return undefined;
      entries.delete(streamId);
      entries.set(streamId, found);
      return found.entry;
    },
    set: (aggregate, streamId, entry) => {
      if (capacity === 0) return;
      const known = entries.get(streamId);
      if (known?.aggregate === aggregate && known.entry.version >= entry.version) return;
      deepFreeze(entry.state, frozen);
      entries.delete(streamId);
      entries.set(streamId, { aggregate, entry });
      for (const oldest of entries.keys()) {
        if (entries.size <= capacity) break;
        entries.delete(oldest);
      }
    },
    delete: (streamId) => {
      entries.delete(streamId);
    },
  };
}

/**
 * Freezes plain objects and arrays. Those in `frozen` are left: an older state has shared them. That
 * an object is frozen itself would not say that what is in it is, too.
 */
export function deepFreeze(value: unknown, frozen: WeakSet<object>): void {
  if (typeof value !== 'object' || value === null || frozen.has(value)) return;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null) return;
  Object.freeze(value);
  frozen.add(value);
  for (const item of Object.values(value)) deepFreeze(item, frozen);
}
