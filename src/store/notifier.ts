import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../db/client.ts';
import type { Statements } from './statements.ts';

/** Tells other processes that something was appended. */
export interface Notifier {
  appended(): void;
  /** Sends what is still to be sent. */
  close(): Promise<void>;
}

/**
 * At most one notification in this time: whoever hears one reads all there is. A notification inside
 * the append would cost a third to two thirds of its throughput, by the lock that Postgres takes for it
 * at commit; these are sent after it, by themselves.
 */
const pauseMs = 10;

/** The channel on which a store's processes hear of each other. */
export function channelOf(schema: string): string {
  return `stele:${schema}`;
}

/** The longest that closing waits for the last one. */
const closingMs = 1_000;

export function notifier(database: Database, statements: Statements, schema: string): Notifier {
  let sending: Promise<void> | undefined;
  let wanted = false;
  let timer: NodeJS.Timeout | undefined;
  let lastAt = Number.NEGATIVE_INFINITY;

  // It stands in nobody's way: where all connections are lent, it is sent a little later.
  const send = (): void => {
    lastAt = performance.now();
    if (!database.hasFree()) {
      schedule();
      return;
    }
    wanted = false;
    // Who listens also asks by itself from time to time, so a lost notification costs only time.
    sending = database.tell(statements.notify, [channelOf(schema)]).finally(() => {
      sending = undefined;
      if (wanted) schedule();
    });
  };
  const schedule = (): void => {
    if (timer !== undefined || sending !== undefined) return;
    const wait = lastAt + pauseMs - performance.now();
    if (wait <= 0) {
      send();
      return;
    }
    timer = setTimeout(() => {
      timer = undefined;
      send();
    }, wait);
    timer.unref();
  };
  return {
    appended: () => {
      wanted = true;
      schedule();
    },
    close: async () => {
      if (sending === undefined && wanted && database.hasFree()) send();
      wanted = false;
      clearTimeout(timer);
      // A pool of the application's may have ended meanwhile, and forgets those who wait then.
      const patience = new AbortController();
      await Promise.race([
        sending,
        delay(closingMs, undefined, { signal: patience.signal }).catch(() => undefined),
      ]);
      patience.abort();
    },
  };
}
