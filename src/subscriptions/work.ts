import type pg from 'pg';
import { inTransaction } from '../db/transaction.ts';
import { causedBy, runHandler } from '../store/ambient.ts';
import type { StoreParts } from '../store/parts.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import type { Consumer } from './consumer.ts';
import { HandlerError, type RecordedFailure } from './failure.ts';
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
  /** Waits until there is a connection to spare for a handler's transaction. */
  readonly withSlot: <T>(task: () => Promise<T>) => Promise<T>;
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
  const { handler } = work.consumer;
  if ('react' in handler) throw new TypeError('A reaction has no transaction.');
  let handled = 0;
  let checkpoint = progress.known;
  await inWork(work, async (client) => {
    const started = performance.now();
    handled = 0;
    if ('batch' in handler) {
      const events: RecordedEvent[] = [];
      for (const item of items) {
        if (progress.parked.has(item.streamId)) await park(work, client, item, 0, null);
        else if (item.event !== undefined) events.push(item.event);
      }
      if (events.length > 0) {
        await guarded(items.length === 1 ? 0 : undefined, () =>
          runHandler(() => handler.batch(events, client)),
        );
      }
      handled = items.length;
    } else {
      for (const [index, item] of items.entries()) {
        const { event } = item;
        if (progress.parked.has(item.streamId)) await park(work, client, item, 0, null);
        else if (event !== undefined) {
          await guarded(index, () =>
            causedBy(event, () => runHandler(() => handler.each(event, client))),
          );
        }
        handled = index + 1;
        if (performance.now() - started > longestTransactionMs) break;
      }
    }
    checkpoint = handled === items.length ? upTo : (items[handled - 1]?.position ?? upTo);
    await advance(work, client, progress.known, checkpoint);
  });
  progress.known = checkpoint;
  progress.passed = checkpoint;
  return handled;
}

/** Lets a reaction have an event, and then moves the checkpoint: in this order, so that none is left out. */
export async function react(work: Work, progress: Progress, item: Item): Promise<void> {
  const { handler, name } = work.consumer;
  const { event } = item;
  if (!('react' in handler) || event === undefined) throw new TypeError('Nothing to react to.');
  const context = { idempotencyKey: `${name}:${event.id}`, signal: work.lost };
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

/** Sets an event aside, and goes on behind it. */
export async function parkFailed(
  work: Work,
  progress: Progress,
  item: Item,
  failure: RecordedFailure | null,
): Promise<void> {
  await inWork(work, async (client) => {
    await park(work, client, item, failure?.attempt ?? 0, failure);
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
  { parts, consumer, leaseMs, withSlot }: Work,
  task: (client: pg.PoolClient) => Promise<T>,
): Promise<T> {
  const settings = `set local idle_in_transaction_session_timeout = ${leaseMs};${consumer.settings ?? ''}`;
  return withSlot(() => inTransaction(parts.database, task, settings));
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
