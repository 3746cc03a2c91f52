/**
 * How far this process may read, asked once for all of its subscriptions.
 *
 * Each look at the database is a watermark (see `store/visibility.ts`): the last position taken, and
 * the transactions that may hold one up to it. It is also news of the watermarks before it, since it
 * shows which of their transactions have ended:
 *
 *     look ──▶ pending ──(all of its transactions have ended)──▶ safe
 *
 * A watermark waits for the transactions of its own moment only, so a stream of appends holds nothing
 * up; and the newest of those that are safe is all that counts. After a lost connection all pending
 * ones are forgotten: the server may have crashed and give positions out again.
 *
 * Looks are taken when something was appended here, when another process says that it has, while
 * watermarks are pending, and from time to time while somebody waits. Who comes back from handling events
 * finds the answer there.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { StoreParts } from '../store/parts.ts';
import { blockersAmong, watermark } from '../store/visibility.ts';
import type { Blocker } from '../types/errors.ts';
import type { Filter } from './page.ts';
import { subscriptionStatements } from './statements.ts';

export interface SafePositions {
  /** The newest position that is known to be safe. */
  readonly latest: () => number;
  /**
   * Resolves when a position above the given one is safe, or the signal is aborted.
   *
   * @returns a position up to which there is nothing that the filter wants, where that is known
   */
  beyond(position: number, signal: AbortSignal, filter: Filter): Promise<number | undefined>;
  /** Something may have been appended. */
  nudge(): void;
  /** Whether notifications arrive, so that asking by itself can be rare. */
  hears(yes: boolean): void;
  /** The transactions that hold reading up, when they have for long. */
  readonly stalled: () => readonly Blocker[];
  close(): Promise<void>;
}

interface Waiter {
  readonly above: number;
  readonly types: readonly string[];
  readonly resolve: (upTo?: number) => void;
}

interface Pending {
  position: number;
  open: readonly string[];
}

/** Between two looks, while appends come in one after another; and while they come in many at a time. */
const shortestGapsMs = [1, 4] as const;
const manyAtATime = 20;
/** Between two looks while a transaction that has appended stays open: doubles from the first. */
const pendingGapsMs = [1, 50] as const;
/** Between two looks when nothing happens: doubles from the first. */
const idleGapsMs = [2, 1_000] as const;
/** The same where notifications do not arrive, as through some poolers. */
const longestUnheardGapMs = 500;
/** More watermarks wait only behind a transaction that is open for long; the newest replaces the last. */
const mostPending = 64;
/** News of more positions than this are not asked for: everybody looks for himself. */
const mostNews = 2_000;
/** When a transaction that stays open is worth a mention. */
const stalledAfterMs = 10_000;

/** @param known - a position that is known to be safe already */
export function safePositions(
  { database, statements, signals, schema }: StoreParts,
  onStall: (blockers: readonly Blocker[]) => void,
  known = 0,
): SafePositions {
  const queries = subscriptionStatements(schema);
  let safe = known;
  let pending: Pending[] = [];
  /** Since when nothing has become safe although something was taken. */
  let pendingSince: number | undefined;
  let blockers: readonly Blocker[] = [];
  const closing = new AbortController();
  let hears = false;
  let gap: number = idleGapsMs[0];
  let nudged = false;
  let wakeUp: (() => void) | undefined;
  const waiting = new Set<Waiter>();

  const track = (position: number, visible: number, transactions: readonly string[]): void => {
    const before = safe;
    let done = -1;
    for (const [index, item] of pending.entries()) {
      item.open = item.open.filter((transaction) => transactions.includes(transaction));
      if (item.open.length === 0) done = index;
    }
    const last = pending[done];
    if (last !== undefined) {
      safe = Math.max(safe, Math.min(last.position, visible));
      pending = pending.slice(done + 1);
    }
    if (transactions.length === 0) {
      safe = Math.max(safe, Math.min(position, visible));
      pending = [];
    } else if (position > (pending.at(-1)?.position ?? safe)) {
      if (pending.length >= mostPending) pending.pop();
      pending.push({ position, open: transactions });
    }
    if (pending.length === 0 || safe > before) {
      pendingSince = undefined;
      blockers = [];
    }
  };

  /**
   * Tells those who wait. Where they are several, it is asked once what has come, so that not each of
   * them asks the database whether something of it is for him.
   */
  const announce = async (upTo: number): Promise<void> => {
    const ready = [...waiting].filter(({ above }) => above < upTo);
    const from = Math.min(...ready.map(({ above }) => above));
    let news: ReadonlySet<string> | undefined;
    if (ready.length > 1 && upTo - from <= mostNews) {
      const rows = await database
        .query<[string]>(queries.news, [from, upTo])
        .catch(() => undefined);
      news = rows && new Set(rows.map(([type]) => type));
    }
    for (const { types, resolve } of ready) {
      resolve(news === undefined || types.some((type) => news.has(type)) ? undefined : upTo);
    }
  };

  const look = async (): Promise<void> => {
    const before = safe;
    const { position, visible, transactions } = await watermark(database, statements);
    track(position, visible, transactions);
    if (safe > before) await announce(safe);
    const [first, longest] =
      pending.length > 0
        ? pendingGapsMs
        : [idleGapsMs[0], hears ? idleGapsMs[1] : longestUnheardGapMs];
    gap = safe > before ? first : Math.min(Math.max(first, gap * 2), longest);
    if (pending.length > 0 && blockers.length === 0) {
      pendingSince ??= performance.now();
      const waited = performance.now() - pendingSince;
      if (waited < stalledAfterMs) return;
      blockers = await blockersAmong(database, statements, pending[0]?.open ?? [], waited);
      if (blockers.length > 0) onStall(blockers);
    }
  };

  const sleep = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  const run = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      const started = performance.now();
      const before = safe;
      const wasNudged = nudged;
      nudged = false;
      if (waiting.size > 0 || wasNudged || pending.length > 0) {
        try {
          await look();
        } catch {
          // The database is away. The subscriptions find that out by themselves.
          pending = [];
          gap = Math.min(gap * 2, idleGapsMs[1]);
        }
      }
      const rest = waiting.size > 0 || pending.length > 0 ? gap : idleGapsMs[1];
      if (!nudged && !closing.signal.aborted) await sleep(rest);
      // Whoever appends without a pause must not have the database asked without one.
      const shortest = shortestGapsMs[safe - before > manyAtATime ? 1 : 0];
      const early = started + shortest - performance.now();
      if (nudged && early > 0) await delay(early);
    }
  };
  const running = run();

  const nudge = (): void => {
    nudged = true;
    gap = idleGapsMs[0];
    wakeUp?.();
  };
  const stopListening = signals.onAppended(nudge);

  return {
    latest: () => safe,
    nudge,
    hears: (yes) => {
      hears = yes;
    },
    stalled: () => blockers,
    beyond: (position, signal, { types }) => {
      if (safe > position || signal.aborted) return Promise.resolve(undefined);
      return new Promise((resolve) => {
        const settle = (upTo?: number): void => {
          waiting.delete(waiter);
          signal.removeEventListener('abort', onAbort);
          resolve(upTo);
        };
        const onAbort = (): void => {
          settle();
        };
        const waiter = { above: position, types, resolve: settle };
        waiting.add(waiter);
        signal.addEventListener('abort', onAbort);
        // Where nobody waited, nobody has looked for a while.
        if (waiting.size === 1) nudge();
      });
    },
    close: async () => {
      closing.abort();
      stopListening();
      wakeUp?.();
      await running;
    },
  };
}
