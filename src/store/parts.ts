import type { Database } from '../db/client.ts';
import type { AnyAggregate } from '../types/aggregate.ts';
import type { InFlight } from './in-flight.ts';
import type { InlineProjection } from './inline.ts';
import type { Registry } from './registry.ts';
import type { RowCodec } from './row-codec.ts';
import type { Signals } from './signals.ts';
import type { Statements } from './statements.ts';
import type { Store } from './store.ts';

/** What the layers above the store work with. */
export interface StoreParts {
  readonly database: Database;
  /** The Postgres schema of the store's tables. */
  readonly schema: string;
  readonly statements: Statements;
  readonly codec: RowCodec;
  readonly aggregates: readonly AnyAggregate[];
  readonly aggregateOf: Registry['aggregateOf'];
  readonly inline: readonly InlineProjection[];
  readonly signals: Signals;
  readonly inFlight: InFlight;
  /** Runs before the store closes, while it can still be used. */
  readonly beforeClose: Set<() => Promise<void>>;
}

const parts = new WeakMap<Store, StoreParts>();

/** Remembers what a store is made of. */
export function setParts(store: Store, of: StoreParts): void {
  parts.set(store, of);
}

/** What a store is made of. */
export function partsOf(store: Store): StoreParts {
  const found = parts.get(store);
  if (found === undefined) {
    throw new TypeError(
      'This is no store that `openStore` has opened, or one of another copy of the package.',
    );
  }
  return found;
}
