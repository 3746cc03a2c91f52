import type { AnyAggregate } from '../types/aggregate.ts';
import { SteleError } from '../types/errors.ts';
import type { Transaction } from './inline.ts';
import { streamPages, type ReaderParts } from './read.ts';
import { evolveAll, initial, type StateCache, type VersionedState } from './state.ts';

/** What loading works with. */
export interface LoaderParts extends ReaderParts {
  readonly cache: StateCache;
}

/** Which moment of a stream to load; none is now. */
export interface LoadMoment {
  /** The state as it was at this time. */
  readonly at?: Date | undefined;
  /** The state as it was at this version. */
  readonly version?: number | undefined;
  /** Reads inside a transaction, and sees what it has appended. */
  readonly transaction?: Transaction | undefined;
}

/** The state of a stream now, or as it was. */
export async function loadState(
  parts: LoaderParts,
  aggregate: AnyAggregate,
  streamId: string,
  { at, version, transaction }: LoadMoment,
): Promise<VersionedState> {
  if (version !== undefined && !(Number.isSafeInteger(version) && version >= 0)) {
    throw new SteleError(
      'invalid-argument',
      `A version is a whole number from 0, but got ${version}.`,
    );
  }
  if (at !== undefined && !(at instanceof Date && !Number.isNaN(at.getTime()))) {
    throw new SteleError(
      'invalid-argument',
      `A time to load at is a valid Date, but got ${String(at)}.`,
    );
  }
  const now = at === undefined && version === undefined && transaction === undefined;
  const known = now ? parts.cache.get(aggregate, streamId) : undefined;
  let current = known ?? initial(aggregate);
  const range = { from: current.version + 1, to: version, until: at, transaction };
  for await (const events of streamPages(parts, streamId, range)) {
    current = evolveAll(aggregate, current, events);
  }
  if (version !== undefined && at === undefined && current.version < version) {
    throw new SteleError(
      'invalid-argument',
      `Stream '${streamId}' cannot be loaded at version ${version}: it is at version ${current.version}.`,
    );
  }
  if (now && current.version > 0) parts.cache.set(aggregate, streamId, current);
  return current;
}
