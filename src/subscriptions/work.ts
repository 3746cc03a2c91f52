import type pg from 'pg';
import { inTransaction } from '../db/transaction.ts';
import { causedBy, causedByEach, runHandler } from '../store/ambient.ts';
import type { StoreParts } from '../store/parts.ts';
import { SteleError } from '../types/errors.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import type { Consumer } from './consumer.ts';
import { HandlerError, kindOf, type RecordedFailure } from './failure.ts';
import type { Item, Part } from './page.ts';
import type { SubscriptionStatements } from './statements.ts';

/** The right to work on a partition, until somebody else takes it over. */
export interface Lease extends Part {
  readonly subscription: string;
  /** Goes up with each new owner. */
  readonly epoch: number;
}

/** What the owner of a partition works with. */
export interface Work {
  readonly parts: StoreParts;
  readonly statements: SubscriptionStatements;
  readonly consumer: Consumer;
  readonly lease: Lease;
  readonly leaseMs: number;
  /** Aborted when the partition has been lost. */
  readonly lost: AbortSignal;
}

/** How far a partition has come. */
export interface Progress {
  /** Nothing up to here is left to handle. */
  passed: number;
  /** The checkpoint in the database. */
  known: number;
  /** Since when it is behind; by `performance.now()`. */
  behindSince: number | undefined;
  /** Streams whose events are set aside. Only the owner adds and takes away. */
  readonly parked: Set<string>;
}

/** A transaction is committed at the next event after so long, so that nothing is locked for longer. */
const longestTransactionMs = 200;

/**
 * Handles events in one transaction together with the checkpoint.
 *
 * @returns how many were handled: all of them, unless they took long
 * @throws HandlerError for what a handler threw
 */
export async function handleTogether(
  work: Work,
  progress: Progress,
  items: readonly Item[],
  upTo: number,
): Promise<number> {
  let handled = 0;
  let checkpoint = progress.known;
  await inWork(work, async (client) => {
    handled = await handleAll(work, client, items);
    checkpoint = handled === items.length ? upTo : (items[handled - 1]?.position ?? progress.known);
    await advance(work, client, progress.known, checkpoint);
  });
  progress.known = checkpoint;
  progress.passed = checkpoint;
  return handled;
}

/**
 * Runs the handlers of a transaction.
 *
 * @returns how many were handled: all of them, unless they took long
 * @throws HandlerError for what a handler threw
 */
export async function handleAll(
  { consumer: { handler, sessionPath, replays = false } }: Work,
  client: pg.PoolClient,
  items: readonly Item[],
): Promise<number> {
  if ('react' in handler) throw new TypeError('A reaction has no transaction.');
  const events = items.map(({ event }) => {
    if (event === undefined) throw new TypeError('What cannot be decoded is not handled.');
    return event;
  });
  let done = 0;
  const run = async (handles: (event: RecordedEvent) => void): Promise<void> => {
    if ('batch' in handler) {
      await guarded(events.length === 1 ? 0 : undefined, () => handler.batch(events, client));
      done = events.length;
      return;
    }
    const started = performance.now();
    for (const event of events) {
      handles(event);
      await guarded(done, () => handler.each(event, client));
      done += 1;
      if (performance.now() - started > longestTransactionMs) return;
    }
  };
  await causedByEach((handles) => runHandler(() => run(handles), sessionPath, replays));
  return done;
}

/** Sets events aside that come behind others of their streams that are. */
export async function parkTogether(
  work: Work,
  progress: Progress,
  items: readonly Item[],
  upTo: number,
): Promise<number> {
  await inWork(work, async (client) => {
    for (const item of items) await park(work, client, item, 0, null);
    await advance(work, client, progress.known, upTo);
  });
  progress.known = upTo;
  progress.passed = upTo;
  return items.length;
}

/** Lets a reaction have an event, and then moves the checkpoint: in this order, so that none is left out. */
export async function react(work: Work, progress: Progress, item: Item): Promise<void> {
  const { handler, name } = work.consumer;
  const { event } = item;
  if (!('react' in handler) || event === undefined) throw new TypeError('Nothing to react to.');
  const context = { idempotencyKey: `${name}.${event.id}`, signal: work.lost };
  await guarded(0, () => causedBy(event, () => handler.react(event, context)));
  progress.passed = item.position;
}

/** Moves the checkpoint to what has been passed. */
export async function flush(work: Work, progress: Progress): Promise<void> {
  if (progress.passed === progress.known) return;
  const target = progress.passed;
  await advance(work, null, progress.known, target);
  progress.known = target;
}

/** Sets an event aside that has failed, and goes on behind it. */
export async function parkFailed(
  work: Work,
  progress: Progress,
  item: Item,
  failure: RecordedFailure,
): Promise<void> {
  await inWork(work, async (client) => {
    await park(work, client, item, failure.attempt, failure);
    await advance(work, client, progress.known, item.position);
  });
  progress.parked.add(item.streamId);
  progress.known = item.position;
  progress.passed = item.position;
}

/**
 * A transaction of the partition's. The server ends its session when this process stands still in it
 * for a lease's time, so that what it has locked does not keep the next owner waiting for longer.
 */
export async function inWork<T>(
  { parts, consumer, leaseMs }: Work,
  task: (client: pg.PoolClient) => Promise<T>,
): Promise<T> {
  const settings = `set local idle_in_transaction_session_timeout = ${leaseMs};${consumer.settings ?? ''}`;
  return parts.database.withSlot(async () => {
    const started = performance.now();
    try {
      return await inTransaction(parts.database, task, settings);
    } catch (error) {
      // It would end like this every time, so it is a failure of the handler's, which people hear of.
      const lasted = performance.now() - started;
      if (lasted < leaseMs || kindOf(error) !== 'away') throw error;
      throw new HandlerError(undefined, stoodStill(consumer.name, lasted, leaseMs, error));
    }
  });
}

function stoodStill(name: string, lasted: number, leaseMs: number, cause: unknown): SteleError {
  return new SteleError(
    'transaction-lost',
    `The connection of '${name}' was lost in a transaction that lasted ${Math.round(lasted)} ms. The server ends it when no statement comes for longer than a lease (${leaseMs} ms). ` +
      'Let handlers do nothing but SQL, use a reaction for the rest, or give a longer leaseMs.',
    { cause },
  );
}

/** @throws an error of SQLSTATE ST003 when the partition is owned by somebody else */
export async function advance(
  { parts: { database }, statements, lease }: Work,
  client: pg.PoolClient | null,
  known: number,
  checkpoint: number,
): Promise<void> {
  const { subscription, partition, epoch } = lease;
  const values = [subscription, partition, epoch, known, checkpoint];
  if (client === null) await database.query(statements.advance, values);
  else await database.on(client, statements.advance, values);
}

async function park(
  { parts: { database }, statements, lease }: Work,
  client: pg.PoolClient,
  { streamId, version, position, type }: Item,
  attempts: number,
  failure: RecordedFailure | null,
): Promise<void> {
  const { subscription, partition } = lease;
  const error = failure === null ? null : JSON.stringify(failure);
  const values = [subscription, partition, streamId, version, position, type, attempts, error];
  await database.on(client, statements.park, values);
}

async function guarded(index: number | undefined, task: () => Promise<void>): Promise<void> {
  try {
    await task();
  } catch (cause) {
    throw new HandlerError(index, cause);
  }
}
