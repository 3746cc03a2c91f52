/**
 * Which positions are safe to read.
 *
 * Positions are taken in one order and committed in another, so a reader that goes on from the
 * highest position it has seen loses what commits later below it. The reader therefore asks for a
 * *watermark*: the last position taken, and the transactions that held a lock on the events table
 * when that was read. Every transaction takes that lock before it takes a position, and lets go of it
 * only after its rows are visible. So once each of those transactions has ended, all events up to
 * the watermark are visible: it is *safe*.
 *
 *     asked ──(no transactions)──▶ safe
 *       │                           ▲
 *       └─▶ waiting ──(each of them has ended)
 *
 * A watermark waits for the transactions of its own moment only, so a stream of new appends does not
 * hold it up, and neither does a transaction that has not appended, here or in another database.
 *
 * A server that crashes forgets the positions of transactions that did not commit, and gives them
 * out again. So a watermark belongs to one life of the server: where the connection is lost, another
 * one is asked for. And the safe position is never above the highest event that is visible: no
 * position up to a committed one is given out again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { asDatabaseError, type Database } from '../db/client.ts';
import { reconnect, retry } from '../db/retry.ts';
import { isConnectionLoss } from '../db/sqlstate.ts';
import { ReadStalledError, type Blocker } from '../types/errors.ts';
import type { Statements } from './statements.ts';

/** What a look at the database has shown. */
export interface Watermark {
  readonly position: number;
  /** The highest position that was visible after the transactions had been looked at. */
  readonly visible: number;
  readonly transactions: readonly string[];
}

/** How to wait for transactions that have appended and stay open. */
interface Waiting {
  readonly signal?: AbortSignal | undefined;
  readonly patienceMs?: number | undefined;
}

/** How long a read waits unless told otherwise. */
const defaultPatienceMs = 10_000;

/** The first wait between two looks; it doubles up to the longest. Most appends end within it. */
const firstWaitMs = 1;
const longestWaitMs = 50;

/**
 * A position up to which everything is visible, and which is not below any event that was committed
 * when this was called.
 *
 * @throws ReadStalledError when a transaction that has appended stays open for more than ten seconds
 */
export async function safePosition(
  database: Database,
  statements: Statements,
  waiting: Waiting = {},
): Promise<number> {
  const { signal } = waiting;
  const mayTryAgain = (error: unknown): boolean => !signal?.aborted && isConnectionLoss(error);
  try {
    return await retry(reconnect, mayTryAgain, () => waitUntilSafe(database, statements, waiting));
  } catch (error) {
    signal?.throwIfAborted();
    throw asDatabaseError('Reading', error);
  }
}

async function waitUntilSafe(
  database: Database,
  statements: Statements,
  { signal, patienceMs = defaultPatienceMs }: Waiting,
): Promise<number> {
  signal?.throwIfAborted();
  const asked = await watermark(database, statements);
  const started = performance.now();
  let { visible, transactions: open } = asked;
  for (let wait = firstWaitMs; open.length > 0; wait = Math.min(wait * 2, longestWaitMs)) {
    const waited = performance.now() - started;
    if (waited > patienceMs) {
      const blockers = await blockersAmong(database, statements, open, waited);
      if (blockers.length > 0) throw new ReadStalledError(waited, blockers);
    }
    await delay(wait, undefined, signal === undefined ? {} : { signal });
    const now = await watermark(database, statements);
    visible = now.visible;
    open = open.filter((transaction) => now.transactions.includes(transaction));
  }
  return Math.min(asked.position, visible);
}

/** One look at how far the store may be read. */
export async function watermark(database: Database, statements: Statements): Promise<Watermark> {
  const [row] = await database.query<[number, number, string[]]>(statements.watermark, []);
  if (row === undefined) throw new Error('The function `watermark` always returns a row.');
  return { position: row[0], visible: row[1], transactions: row[2] };
}

/** Which sessions these transactions belong to, the oldest first. */
export async function blockersAmong(
  database: Database,
  statements: Statements,
  transactions: readonly string[],
  waitedMs: number,
): Promise<readonly Blocker[]> {
  const rows = await database.query<[number, string, string, number]>(statements.blockers, [
    transactions,
    waitedMs,
  ]);
  return rows.map(([pid, application, state, ageMs]) => ({ pid, application, state, ageMs }));
}
