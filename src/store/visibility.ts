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
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../db/client.ts';
import { ReadStalledError, type Blocker } from '../types/errors.ts';
import type { Statements } from './statements.ts';

interface Watermark {
  readonly position: number;
  readonly transactions: readonly string[];
}

/** How long a read waits for transactions that have appended and stay open, in milliseconds. */
const patienceMs = 10_000;

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
  signal?: AbortSignal,
): Promise<number> {
  const asked = await watermark(database, statements);
  const started = performance.now();
  let waiting = asked.transactions;
  let wait = firstWaitMs;
  while (waiting.length > 0) {
    signal?.throwIfAborted();
    const waited = performance.now() - started;
    if (waited > patienceMs) {
      const blockers = await blockersAmong(database, statements, waiting);
      throw new ReadStalledError(waited, blockers);
    }
    await delay(wait, undefined, signal === undefined ? {} : { signal });
    wait = Math.min(wait * 2, longestWaitMs);
    const { transactions } = await watermark(database, statements);
    const open = new Set(transactions);
    waiting = waiting.filter((transaction) => open.has(transaction));
  }
  return asked.position;
}

async function watermark(database: Database, statements: Statements): Promise<Watermark> {
  const [row] = await database.read<[number, string[]]>(statements.watermark, []);
  if (row === undefined) throw new Error('The function `watermark` always returns a row.');
  return { position: row[0], transactions: row[1] };
}

async function blockersAmong(
  database: Database,
  statements: Statements,
  transactions: readonly string[],
): Promise<readonly Blocker[]> {
  const rows = await database.read<[number, string, string, number]>(statements.blockers, [
    transactions,
  ]);
  return rows.map(([pid, application, state, ageMs]) => ({ pid, application, state, ageMs }));
}
