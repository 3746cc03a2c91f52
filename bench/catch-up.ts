import { openRuntime, subscription, type Runnable, type Store } from 'stele';

import { Order } from './order.ts';

/** Long enough for whatever is caught up with. */
const patience = { timeoutMs: 3_600_000 } as const;

/**
 * Starts what has never run, and waits until it has handled all there is.
 *
 * @returns events per second
 */
export async function catchUp(store: Store, subject: Runnable, events: number): Promise<number> {
  const started = performance.now();
  await using runtime = await openRuntime(store, { run: [subject] });
  await runtime.caughtUp(patience);
  return (events * 1_000) / (performance.now() - started);
}

let made = 0;

/** A name that no subscription has had. */
export function newName(kind: string): string {
  made += 1;
  return `${kind}-${made}`;
}

/**
 * Has a new subscription handle so many events after a position, and then leave.
 *
 * @returns events per second
 */
export async function catchUpFrom(store: Store, after: number, events: number): Promise<number> {
  let handled = 0;
  let done: (at: number) => void = () => undefined;
  const ended = new Promise<number>((resolve) => {
    done = resolve;
  });
  const stretch = subscription(newName('stretch'), {
    aggregates: [Order],
    from: { position: after },
    on: {
      LineAdded: () => {
        handled += 1;
        if (handled === events) done(performance.now());
      },
    },
  });
  const started = performance.now();
  await using _ = await openRuntime(store, { run: [stretch] });
  return (events * 1_000) / ((await ended) - started);
}
