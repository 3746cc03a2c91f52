/**
 * One partition of a subscription, in the hands of its owner.
 *
 *     running ──(a handler fails)──▶ retrying ──(it succeeds)──▶ running
 *        │                              │
 *        │                              ├─(last attempt, 'stop')──▶ stopped ──(a person retries)──▶ waiting
 *        │                              └─(last attempt, 'park')──▶ running, the stream set aside
 *        ├─(an event is newer than the code)──▶ outdated ──(a process that may know it)──▶ running
 *        └─(released, or the process has died)──▶ waiting ──(claimed)──▶ running
 *
 * Why nothing is skipped or handled twice:
 * - Pages are read up to a safe position only, and in order, so no event appears below the checkpoint.
 * - The checkpoint is written in the transaction of what was handled, on the condition that the
 *   partition's epoch is still ours and the checkpoint is where we left it. Whoever has been taken over
 *   without noticing rolls back. A reaction's is written after it.
 * - When the answer to a COMMIT is lost, the checkpoint is read again before anything else.
 * - A batch that fails is cut into smaller ones until the event that fails stands alone. It is passed
 *   only by being set aside in the same transaction as the checkpoint.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { backoff, reconnect, type RetryPolicy } from '../db/retry.ts';
import { SteleError } from '../types/errors.ts';
import { kindOf, HandlerError, recordOf, type FailureKind } from './failure.ts';
import { fetchPage, type Filter, type Item, type Page } from './page.ts';
import { carryOutRequests, findParked } from './parking.ts';
import type { SafePositions } from './safe-positions.ts';
import {
  flush,
  handleTogether,
  parkFailed,
  parkTogether,
  react,
  type Progress,
  type Work,
} from './work.ts';

/** Why the owner has let go of a partition. */
export type End = 'released' | 'fenced' | 'stopped' | 'outdated';

/** What is asked of an owner from outside. */
export interface Control {
  /** Whether to let go after what is being handled. */
  isStopping: boolean;
  /** Whether a person has asked for something about events that are set aside. */
  hasRequests: boolean;
  /** Ends whatever is waited for. */
  wakeUp: () => void;
}

export interface PartitionParts {
  readonly work: Work;
  readonly filter: Filter;
  readonly safePositions: SafePositions;
  readonly control: Control;
  /** The last position to handle; it then only holds the partition. */
  readonly until: number | undefined;
  readonly onTrouble: (kind: 'retrying' | 'stopped' | 'parked', message: string) => void;
}

/** A checkpoint that has only passed events of others is written after so long. */
const flushAfterMs = 250;
/** Who has nothing left to do waits for a word from outside; this only bounds a timer. */
const longestWaitMs = 1_000_000;
const defaultAttempts = 5;
/** Who only collides is tried so much more often. */
const collisionPatience = 4;
const pauses: RetryPolicy = { attempts: 0, baseMs: 100, maximumMs: 30_000 };
const collisionPauses: RetryPolicy = { attempts: 0, baseMs: 5, maximumMs: 500 };

/** Runs a partition until it is let go. Never throws: what fails is kept in the database. */
export async function runPartition(parts: PartitionParts): Promise<End> {
  const { work, control } = parts;
  const progress: Progress = {
    passed: 0,
    known: 0,
    behindSince: undefined,
    parked: new Set(),
  };
  let passed = 0;
  for (let attempt = 1; ;) {
    try {
      if (!(await findProgress(work, progress))) return 'fenced';
      if ((await work.consumer.isCurrent?.()) === false) return await leaveToOthers(work);
      passed = progress.passed;
      return await consume(parts, progress);
    } catch (error) {
      const kind = kindOf(error);
      if (kind === 'fenced') return 'fenced';
      if (control.isStopping) return 'released';
      attempt = progress.passed > passed ? 2 : Math.min(attempt + 1, reconnect.attempts);
      if (kind !== 'away') await complain(parts, error, attempt);
      await interruptibly(control, backoff(reconnect, attempt));
    }
  }
}

/** Says that something fails which is not a handler: a page that cannot be read, a missing right. */
async function complain(
  { work: { parts, statements, lease }, onTrouble }: PartitionParts,
  error: unknown,
  attempt: number,
): Promise<void> {
  const record = recordOf(error, attempt, undefined);
  const { subscription, partition, epoch } = lease;
  const values = [subscription, partition, epoch, 'retrying', JSON.stringify(record)];
  await parts.database.query(statements.trouble, values).catch(() => undefined);
  onTrouble('retrying', record.message);
}

/** The read model is of another definition, which other processes may have. */
async function leaveToOthers({ parts, statements, consumer, lease }: Work): Promise<End> {
  const { subscription, partition, epoch } = lease;
  const error = recordOf(
    new SteleError(
      'projection-changed',
      `The tables of '${consumer.name}' were built by another definition than this process has.`,
    ),
    1,
    undefined,
  );
  const values = [subscription, partition, epoch, 'outdated', JSON.stringify(error)];
  const rows = await parts.database.query(statements.trouble, values);
  return rows.length > 0 ? 'outdated' : 'fenced';
}

/** Finds out where the partition is by the database; whether it is still ours. */
async function findProgress(work: Work, progress: Progress): Promise<boolean> {
  const { parts, statements, lease } = work;
  const [row] = await parts.database.read<[number, number]>(statements.partition, [
    lease.subscription,
    lease.partition,
  ]);
  if (row === undefined || row[0] !== lease.epoch) return false;
  const [, checkpoint] = row;
  progress.known = checkpoint;
  // A reaction need not see again what it has seen. Anything else may have been taken back: a crash of
  // the server forgets commits that did not wait for the disk.
  const hasSeen = 'react' in work.consumer.handler ? progress.passed : 0;
  progress.passed = Math.max(hasSeen, checkpoint);
  await findParked(work, progress);
  return true;
}

async function consume(parts: PartitionParts, progress: Progress): Promise<End> {
  const { work, filter, safePositions, control, until = Number.MAX_SAFE_INTEGER } = parts;
  const reader = {
    parts: work.parts,
    statements: work.statements,
    filter,
    part: work.lease,
    size: work.consumer.pageSize ?? 1_000,
  };
  /** The page after this one, on its way while this one is handled. */
  let ahead: Promise<Page> | undefined;
  report(work, progress);
  while (!control.isStopping) {
    if (control.hasRequests) {
      control.hasRequests = false;
      await carryOutRequests(work, progress);
    }
    if (progress.passed >= until) {
      await flush(work, progress);
      await interruptibly(control, longestWaitMs);
      continue;
    }
    const safe = Math.min(safePositions.latest(), until);
    if (ahead === undefined && safe <= progress.passed) {
      await waitForMore(parts, progress);
      continue;
    }
    const page = await (ahead ?? fetchPage(reader, progress.passed, safe));
    ahead = page.isFull && page.upTo < safe ? fetchPage(reader, page.upTo, safe) : undefined;
    // Handling may end before it is awaited.
    ahead?.catch(() => undefined);
    const end = await handlePage(parts, progress, page);
    if (end !== undefined) return end;
  }
  await flush(work, progress);
  return 'released';
}

async function waitForMore(
  { work, filter, safePositions, control }: PartitionParts,
  progress: Progress,
): Promise<void> {
  if (control.isStopping || control.hasRequests) return;
  const wait = new AbortController();
  control.wakeUp = () => {
    wait.abort();
  };
  const now = performance.now();
  if (progress.passed > progress.known) progress.behindSince ??= now;
  else progress.behindSince = undefined;
  const flushAt = (progress.behindSince ?? Number.POSITIVE_INFINITY) + flushAfterMs;
  const timer = flushAt < Infinity ? setTimeout(control.wakeUp, flushAt - now) : undefined;
  const nothingUpTo = await safePositions.beyond(progress.passed, wait.signal, filter);
  clearTimeout(timer);
  if (nothingUpTo !== undefined) {
    progress.passed = nothingUpTo;
    report(work, progress);
  }
  if (performance.now() >= flushAt) await flush(work, progress);
}

/** Handles a page, however often it takes; why the partition has to be let go, if it has. */
async function handlePage(
  parts: PartitionParts,
  progress: Progress,
  { items, upTo }: Page,
): Promise<End | undefined> {
  const { work, control } = parts;
  let index = 0;
  /** The first event that a failure may have come from, and how many are handled at once until then. */
  let suspect: number | undefined;
  let most = Number.POSITIVE_INFINITY;
  let attempt = 1;
  while (index < items.length) {
    if (control.isStopping) return undefined;
    const batch = nextBatch(parts, progress, items, { index, suspect, most });
    const isLast = index + batch.length === items.length;
    const batchEnd = isLast ? upTo : (batch.at(-1)?.position ?? upTo);
    try {
      const handled = await handleBatch(work, progress, batch, batchEnd);
      index += handled;
      attempt = 1;
      if (suspect !== undefined && index > suspect) suspect = undefined;
      most *= 2;
      report(work, progress);
    } catch (error) {
      const kind = kindOf(error);
      if (kind === 'fenced' || kind === 'away') throw error;
      if (batch.length > 1) {
        const at = error instanceof HandlerError ? error.index : undefined;
        if (at === undefined) most = Math.max(1, Math.floor(batch.length / 8));
        else suspect = index + at;
        continue;
      }
      const end = await failed(parts, progress, batch[0], { error, kind, attempt });
      if (end === 'parked') {
        index += 1;
        attempt = 1;
        suspect = undefined;
        report(work, progress);
      } else if (end === 'again') {
        attempt += 1;
      } else {
        return end;
      }
    }
  }
  progress.passed = upTo;
  report(work, progress);
  return undefined;
}

/**
 * The next events that are handled at once: those to be set aside and the others take turns, and one that
 * is suspect, or cannot be decoded, stands alone.
 */
function nextBatch(
  { work }: PartitionParts,
  { parked }: Progress,
  items: readonly Item[],
  { index, suspect, most }: { index: number; suspect: number | undefined; most: number },
): readonly Item[] {
  const first = items[index];
  const single = 'react' in work.consumer.handler || suspect === index;
  let end = Math.min(items.length, index + (single ? 1 : Math.max(1, most)));
  if (suspect !== undefined && suspect > index) end = Math.min(end, suspect);
  const isParked = first !== undefined && parked.has(first.streamId);
  const breaksOff = ({ streamId, failure }: Item): boolean =>
    parked.has(streamId) !== isParked || (failure !== undefined && !isParked);
  const other = items.slice(index + 1, end).findIndex(breaksOff);
  if (other !== -1) end = index + 1 + other;
  return items.slice(index, first?.failure !== undefined && !isParked ? index + 1 : end);
}

async function handleBatch(
  work: Work,
  progress: Progress,
  batch: readonly Item[],
  upTo: number,
): Promise<number> {
  const [first] = batch;
  if (first === undefined) return 0;
  if (progress.parked.has(first.streamId)) {
    await flush(work, progress);
    return parkTogether(work, progress, batch, upTo);
  }
  if (first.failure !== undefined) throw first.failure.error;
  if (!('react' in work.consumer.handler)) return handleTogether(work, progress, batch, upTo);
  await react(work, progress, first);
  await flush(work, progress);
  return 1;
}

/** After an event has failed alone: tries again later, sets it aside, or gives up. */
async function failed(
  { work, control, onTrouble }: PartitionParts,
  progress: Progress,
  item: Item | undefined,
  { error, kind, attempt }: { error: unknown; kind: FailureKind; attempt: number },
): Promise<'again' | 'parked' | Exclude<End, 'released'>> {
  const { attempts = defaultAttempts, onFailure = 'stop' } = work.consumer;
  const record = recordOf(error, attempt, item);
  const note = async (status: 'retrying' | 'stopped' | 'outdated'): Promise<boolean> => {
    const { subscription, partition, epoch } = work.lease;
    const values = [subscription, partition, epoch, status, JSON.stringify(record)];
    const rows = await work.parts.database.query(work.statements.trouble, values);
    return rows.length > 0;
  };
  await flush(work, progress);
  if (kind === 'newer') return (await note('outdated')) ? 'outdated' : 'fenced';
  const most = kind === 'collision' ? attempts * collisionPatience : attempts;
  if (attempt < most && kind !== 'permanent') {
    if (!(await note('retrying'))) return 'fenced';
    onTrouble('retrying', record.message);
    const policy = kind === 'collision' ? collisionPauses : pauses;
    await interruptibly(control, backoff(policy, attempt + 1));
    return 'again';
  }
  if (onFailure === 'park' && item !== undefined) {
    await parkFailed(work, progress, item, record);
    onTrouble('parked', record.message);
    return 'parked';
  }
  if (!(await note('stopped'))) return 'fenced';
  onTrouble('stopped', record.message);
  return 'stopped';
}

async function interruptibly(control: Control, ms: number): Promise<void> {
  if (control.isStopping) return;
  const wait = new AbortController();
  control.wakeUp = () => {
    wait.abort();
  };
  await delay(ms, undefined, { signal: wait.signal }).catch(() => undefined);
}

function report({ parts: { signals }, lease }: Work, { passed }: Progress): void {
  signals.progressed(lease.subscription, lease, passed);
}
