import { AsyncLocalStorage } from 'node:async_hooks';
import { SteleError } from '../types/errors.ts';

/** What a store is doing at the moment, so that closing it can wait for that. */
export interface InFlight {
  /**
   * Runs an operation of the store's.
   *
   * @throws SteleError `store-closed` after {@link close}, unless it belongs to an operation that is
   * in flight: a `decide` that loads another stream, or a handler that appends
   */
  readonly run: <T>(operation: () => Promise<T>) => Promise<T>;
  /** Refuses further operations, and resolves when the last one has ended. */
  close(): Promise<void>;
}

export function inFlight(): InFlight {
  const inside = new AsyncLocalStorage<true>();
  let count = 0;
  let closed = false;
  let onIdle: (() => void) | undefined;
  return {
    run: async (operation) => {
      if (closed && (count === 0 || inside.getStore() !== true)) {
        throw new SteleError('store-closed', 'The store is closed.');
      }
      count += 1;
      try {
        return await inside.run(true, operation);
      } finally {
        count -= 1;
        if (count === 0) onIdle?.();
      }
    },
    close: () =>
      new Promise((resolve) => {
        closed = true;
        onIdle = resolve;
        if (count === 0) resolve();
      }),
  };
}
