import type { Line } from './order.ts';

/** An event store, or plain SQL, that does the same work as the others on the same server. */
export interface Contestant extends AsyncDisposable {
  readonly name: string;
  /** Appends one event, which becomes event `version` of the order's stream. */
  readonly append: (order: string, version: number, line: Line) => Promise<unknown>;
  /** Appends events to an order that has none. */
  readonly appendBatch: (order: string, lines: readonly Line[]) => Promise<unknown>;
  /** Reads all events of an order, one by one, and counts them. */
  readonly read: (order: string) => Promise<number>;
}

/**
 * The life of an order: opened, then added to by the same caller, five events in all. So one append
 * in five opens a stream, as in an application whose streams are short.
 */
export function orders(): () => { readonly order: string; readonly version: number } {
  let order = crypto.randomUUID();
  let version = 0;
  return () => {
    if (version === 5) {
      order = crypto.randomUUID();
      version = 0;
    }
    version += 1;
    return { order, version };
  };
}
