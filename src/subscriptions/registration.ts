import { asDatabaseError, type Database } from '../db/client.ts';
import { inTransaction } from '../db/transaction.ts';
import type { StoreParts } from '../store/parts.ts';
import { safePosition, watermark } from '../store/visibility.ts';
import { isSteleError, SteleError } from '../types/errors.ts';
import type { Consumer, StartingPoint } from './consumer.ts';
import { filterOf } from './page.ts';
import type { SubscriptionStatements } from './statements.ts';

/**
 * Makes a subscription known, and its partitions at the position where it begins, unless they are there.
 * In how many partitions it is split is settled then.
 *
 * @throws SteleError `invalid-argument` when it is split into another number of partitions already
 */
export async function register(
  parts: StoreParts,
  statements: SubscriptionStatements,
  consumer: Consumer,
): Promise<void> {
  checkConsumer(consumer);
  const { database } = parts;
  const { name, kind, partitions } = consumer;
  const { categories, types, metadata } = filterOf(consumer);
  const [row] = await database.read<[number]>(statements.partitionCount, [name]);
  const isNew = row?.[0] === 0;
  if (isNew && consumer.joins === true) return;
  const start = isNew ? await startOf(parts, statements, consumer.from) : 0;
  try {
    await inTransaction(database, async (client) => {
      const values = [name, kind, partitions, categories, types, metadata];
      const rows = await database.on<[number, string]>(client, statements.subscribe, values);
      const [[count, known] = [partitions, kind]] = rows;
      if (known !== kind) throw otherKind(name, known, kind);
      if (count !== partitions) throw otherPartitions(consumer, count);
      if (isNew) await database.on(client, statements.addPartitions, [name, count, start]);
    });
  } catch (error) {
    throw asDatabaseError(`Registering '${name}'`, error);
  }
}

function otherKind(name: string, found: string, wanted: string): SteleError {
  return new SteleError(
    'invalid-argument',
    `'${name}' has run as ${found} before, and its checkpoint is that one's: it cannot be run as ${wanted}. Give it another name.`,
  );
}

function otherPartitions({ name, kind, partitions }: Consumer, found: number): SteleError {
  const otherwise =
    kind === 'projection' ? 'rebuild it, which changes their number' : 'give it another name';
  return new SteleError(
    'invalid-argument',
    `'${name}' is split into ${found} partitions, each with a checkpoint of its own, and cannot be run with ${partitions}. ` +
      `Say \`partitions: ${found}\`, or ${otherwise}.`,
  );
}

function checkConsumer({ name, partitions, attempts = 1 }: Consumer): void {
  if (typeof name !== 'string' || !/^[\w.:~-]{1,100}$/u.test(name)) {
    throw new SteleError(
      'invalid-argument',
      `The name of a subscription has 1 to 100 letters, digits, '_', '-', '.' or ':', but got '${name}'.`,
    );
  }
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > 1024) {
    throw new SteleError(
      'invalid-argument',
      `'${name}' can be split into 1 to 1024 partitions, but got ${partitions}.`,
    );
  }
  if (!Number.isInteger(attempts) || attempts < 1) {
    throw new SteleError(
      'invalid-argument',
      `'${name}' has to try an event at least once, but got ${attempts} attempts.`,
    );
  }
}

/** The checkpoint to begin at. */
export async function startOf(
  parts: StoreParts,
  statements: SubscriptionStatements,
  from: StartingPoint,
): Promise<number> {
  if (from === 'beginning') return 0;
  if (from === 'now') return presentPosition(parts, statements);
  if ('position' in from) {
    if (Number.isSafeInteger(from.position) && from.position >= 0) return from.position;
    throw new SteleError(
      'invalid-argument',
      `A position to begin after is a whole number from 0, but got ${from.position}.`,
    );
  }
  if (!(from.time instanceof Date) || Number.isNaN(from.time.getTime())) {
    throw new SteleError('invalid-argument', `A time to begin at is a valid Date.`);
  }
  // In this order: what was in flight may be the first since then, and is visible only afterwards.
  const present = await presentPosition(parts, statements);
  const [row] = await parts.database.read<[number | null]>(statements.firstSince, [
    from.time.toISOString(),
  ]);
  return Math.min(present, (row?.[0] ?? Number.MAX_SAFE_INTEGER) - 1);
}

/** How long the start waits for those who are appending at this moment. */
const patienceMs = 1_000;
/** Between the reading of a clock for an event and the taking of its position. */
const marginMs = 5_000;

/**
 * A position below which nothing commits any more. What was in flight when this was asked is waited
 * for, and then belongs to the past: it was committed before this is answered.
 *
 * A transaction that stays open is not waited for, and what it holds must not be lost. Its positions
 * are not known, but it took them after it began, and events of that time say when they were stored:
 * so the start moves to before it began, and some events that were committed shortly before are
 * delivered, too.
 */
async function presentPosition(
  { database, statements: storeStatements }: StoreParts,
  statements: SubscriptionStatements,
): Promise<number> {
  try {
    return await safePosition(database, storeStatements, { patienceMs });
  } catch (error) {
    if (!isSteleError(error, 'read-stalled')) throw error;
  }
  return beforeOpen(database, statements, await present(database, storeStatements));
}

async function present(database: Database, statements: StoreParts['statements']): Promise<number> {
  const { position, visible } = await watermark(database, statements);
  return Math.min(position, visible);
}

async function beforeOpen(
  database: Database,
  statements: SubscriptionStatements,
  otherwise: number,
): Promise<number> {
  const [row] = await database.read<[number | null]>(statements.openSince, []);
  const since = row?.[0];
  if (since === undefined || since === null) return otherwise;
  const before = new Date(since - marginMs).toISOString();
  const [last] = await database.read<[number]>(statements.lastBefore, [before]);
  return last?.[0] ?? 0;
}
