/**
 * Appends that wait at the same moment in one process travel together, in one statement and one
 * commit, each with its own verdict.
 *
 *     queued ──▶ in flight ──▶ settled
 *       ▲            │
 *       └────────────┘  patient, when another transaction holds its stream; alone, when its group
 *                       failed, or one who shares its stream was stored before; again, when the connection was lost
 *
 * Why it is safe:
 * - A stream is in at most one flight, and those who wait for it go in the order they came: appends
 *   of one caller to one stream are stored in the order they were made.
 * - An append with a condition, or to several streams, shares its streams with nobody in its group:
 *   the database can judge it by the head it finds, and where it is not stored, nobody's version
 *   depends on that.
 * - A group never waits for a lock: appends whose stream is locked come back as `busy` and go again
 *   with nobody but those who want the same stream, and then wait for it.
 * - A group that fails as a whole, such as by a payload that only the database refuses, is sent again
 *   one by one, so that only the culprit fails.
 * - What is sent again after the connection was lost is looked up by its ids first.
 */
import { AsyncResource } from 'node:async_hooks';
import { asDatabaseError, type Database } from '../db/client.ts';
import { collide, pause, reconnect } from '../db/retry.ts';
import { hasState, isConnectionLoss, isTransient, sqlstate } from '../db/sqlstate.ts';
import { ProjectionError } from '../types/errors.ts';
import { sendAppends, type PreparedAppend, type Verdict, type Write } from './append-statement.ts';
import type { Statements } from './statements.ts';

/** Sends appends, and settles each with its own verdict, which is never `busy`. */
export interface GroupCommit {
  submit(append: PreparedAppend): Promise<Verdict>;
  /**
   * For an append that has a transaction of its own, in the same order and under the same rules.
   *
   * @param run - sends it; `undefined` when it must not wait and found a stream locked
   */
  submitTransaction<T>(append: PreparedAppend, run: RunTransaction<T | undefined>): Promise<T>;
}

type RunTransaction<T> = (append: PreparedAppend, wait: boolean) => Promise<T>;

interface Waiting {
  append: PreparedAppend;
  readonly resolve: (verdict: Verdict) => void;
  readonly reject: (error: unknown) => void;
  /** Sends it, where it has a transaction of its own, and settles it unless it is `busy`. */
  readonly run: RunTransaction<'busy' | 'settled'> | undefined;
  /** Whether it must be sent without company: its group failed, or it has its own transaction. */
  alone: boolean;
  /** Whether it waits for a stream that another transaction holds. */
  patient: boolean;
  attempt: number;
}

/**
 * Two flights at a time: while one is being committed, the next is being written. With one, 1,024
 * callers reached 0.75 times the rate; with four, groups are smaller and the rate is no higher.
 */
const lanes = 2;

/**
 * So many that wait are shared out between the lanes, so that the database works on one half while
 * this process prepares the other: 64 callers reach 1.16 times the rate. Fewer travel together, since
 * a statement costs as much as ten more events in it.
 */
const smallestShare = 16;

/** A group ends at so many events, or so many characters of payload: what one commit takes at ease. */
const maximumEvents = 1_000;
const maximumCharacters = 4_000_000;

/** After this long in the air, a flight that may wait for a lock does, and counts no more as a lane's. */
const stalledMs = 25;

export function groupCommit(database: Database, statements: Statements): GroupCommit {
  let queue: Waiting[] = [];
  const streamsInFlight = new Set<string>();
  // Flights that may wait for a lock leave the lanes their connections.
  // However many of them wait, one more transaction has a connection, of those that are for such.
  const mostWaiters = Math.max(1, database.size - lanes - 1);
  const mostTransactions = mostWaiters + 1;
  let flights = 0;
  let inFlight = 0;
  let transactions = 0;
  let waiters = 0;
  let stalled = 0;
  let scheduled = false;

  const mayFly = ({ run, patient }: Waiting): boolean =>
    (run === undefined ? flights - stalled < lanes : transactions < mostTransactions) &&
    (!patient || waiters < mostWaiters);

  const schedule = (): void => {
    if (scheduled) return;
    scheduled = true;
    // After the microtasks, so that callers that go on at the same moment share a group. Where nobody
    // is on the way, at once after them: a single caller need not wait for a turn of the event loop.
    if (flights === 0) process.nextTick(takeOff);
    else setImmediate(takeOff);
  };

  const takeOff = (): void => {
    scheduled = false;
    while (queue.some(mayFly)) {
      const group = takeGroup();
      if (group.length === 0) break;
      void fly(group);
    }
  };

  /** The longest group that may go now, in the order of arrival. */
  const takeGroup = (): Waiting[] => {
    const group: Waiting[] = [];
    const left: Waiting[] = [];
    const taken = new Set<string>();
    /** Streams that nobody may touch any more: somebody before is waiting for them. */
    const closed = new Set<string>(streamsInFlight);
    /** Of appends that may have been stored before: the same one twice would fail the group. */
    const resentIds = new Set<string>();
    let room = { events: maximumEvents, characters: maximumCharacters };
    const most = Math.max(smallestShare, Math.ceil((queue.length + inFlight) / lanes));
    let end = queue.length;
    for (const [index, waiting] of queue.entries()) {
      if (group[0]?.alone === true || group.length >= most || room.events <= 0) {
        end = index;
        break;
      }
      const { writes } = waiting.append;
      const size = sizeOf(writes);
      const exclusive = writes.length > 1 || writes[0]?.expectedVersion !== 'any';
      const ids = waiting.append.resent ? idsOf(writes) : [];
      const held =
        writes.some(({ streamId }) => closed.has(streamId) || (exclusive && taken.has(streamId))) ||
        ids.some((id) => resentIds.has(id));
      const fits = room.events >= size.events && room.characters >= size.characters;
      const [leader] = group;
      const joins = leader === undefined ? mayFly(waiting) : fits && mayJoin(leader, waiting);
      if (held || !joins) {
        left.push(waiting);
        for (const { streamId } of writes) closed.add(streamId);
        continue;
      }
      group.push(waiting);
      for (const id of ids) resentIds.add(id);
      room = {
        events: room.events - size.events,
        characters: room.characters - size.characters,
      };
      for (const { streamId } of writes) {
        taken.add(streamId);
        if (exclusive) closed.add(streamId);
      }
    }
    queue = left.concat(queue.slice(end));
    return group;
  };

  const fly = async (group: readonly Waiting[]): Promise<void> => {
    const streams = group.flatMap(({ append }) => append.writes.map(({ streamId }) => streamId));
    for (const stream of streams) streamsInFlight.add(stream);
    const wait = group[0]?.patient === true || (group.length === 1 && waiters < mostWaiters);
    if (wait) waiters += 1;
    try {
      await send(group, wait);
    } catch (error) {
      await recover(group, error);
    } finally {
      if (wait) waiters -= 1;
      for (const stream of streams) streamsInFlight.delete(stream);
      if (queue.length > 0) schedule();
    }
  };

  const send = async (group: readonly Waiting[], wait: boolean): Promise<void> => {
    const [leader] = group;
    if (leader?.run !== undefined) {
      transactions += 1;
      try {
        if ((await leader.run(leader.append, wait)) === 'busy') becomePatient([leader]);
      } finally {
        transactions -= 1;
      }
      return;
    }
    flights += 1;
    inFlight += group.length;
    let isStalled = false;
    const timer = wait
      ? setTimeout(() => {
          isStalled = true;
          stalled += 1;
          schedule();
        }, stalledMs)
      : undefined;
    try {
      const appends = group.map(({ append }) => append);
      settle(group, await sendAppends(database, statements, null, appends, wait));
    } finally {
      clearTimeout(timer);
      flights -= 1;
      inFlight -= group.length;
      if (isStalled) stalled -= 1;
    }
  };

  const settle = (group: readonly Waiting[], verdicts: readonly Verdict[]): void => {
    const busy: Waiting[] = [];
    const crowded: Waiting[] = [];
    group.forEach((waiting, index) => {
      const verdict = verdicts[index];
      if (verdict === undefined) throw new Error('Every append of a group has a verdict.');
      if (verdict.kind === 'busy') busy.push(waiting);
      else if (verdict.kind === 'crowded') crowded.push(waiting);
      else waiting.resolve(verdict);
    });
    becomePatient(busy);
    becomeAlone(crowded);
  };

  const becomePatient = (busy: readonly Waiting[]): void => {
    for (const waiting of busy) waiting.patient = true;
    queue = [...busy, ...queue];
  };

  const becomeAlone = (crowd: readonly Waiting[]): void => {
    for (const waiting of crowd) waiting.alone = true;
    queue = [...crowd, ...queue];
  };

  const recover = async (group: readonly Waiting[], error: unknown): Promise<void> => {
    const lost = isConnectionLoss(error);
    if (group.length > 1 && !lost) {
      becomeAlone(group);
      return;
    }
    if (hasState(error, sqlstate.lockNotAvailable) && group[0]?.patient === false) {
      becomePatient(group);
      return;
    }
    const policy = lost ? reconnect : collide;
    const attempt = Math.max(...group.map((waiting) => waiting.attempt)) + 1;
    const collided = isTransient(error instanceof ProjectionError ? error.cause : error);
    if (attempt > policy.attempts || !(lost || collided)) {
      for (const { reject } of group) reject(asDatabaseError('Appending', error));
      return;
    }
    await pause(policy, attempt);
    for (const waiting of group) {
      waiting.attempt = attempt;
      // It may have been stored and only its answer lost.
      if (lost) waiting.append = { ...waiting.append, resent: true };
    }
    queue = [...group, ...queue];
  };

  const enqueue = (waiting: Pick<Waiting, 'append' | 'resolve' | 'reject' | 'run'>): void => {
    const { append, resolve, reject, run } = waiting;
    // A literal, since a spread in it takes 4 µs for each append.
    queue.push({
      append,
      resolve,
      reject,
      run,
      alone: run !== undefined,
      patient: false,
      attempt: 1,
    });
    schedule();
  };

  return {
    submit: (append) =>
      new Promise((resolve, reject) => {
        enqueue({ append, resolve, reject, run: undefined });
      }),
    submitTransaction: <T>(append: PreparedAppend, run: RunTransaction<T | undefined>) =>
      new Promise<T>((resolve, reject) => {
        const settle: RunTransaction<'busy' | 'settled'> = async (append, wait) => {
          const result = await run(append, wait);
          if (result === undefined) return 'busy';
          resolve(result);
          return 'settled';
        };
        // The code that runs in the transaction is the caller's, and so is its asynchronous context.
        enqueue({ append, resolve: () => undefined, reject, run: AsyncResource.bind(settle) });
      }),
  };
}

/** Whether an append may go in the group that another one opened. */
function mayJoin(leader: Waiting, waiting: Waiting): boolean {
  if (leader.alone || waiting.alone) return false;
  if (!leader.patient) return !waiting.patient;
  const streams = new Set(leader.append.writes.map(({ streamId }) => streamId));
  return waiting.append.writes.every(({ streamId }) => streams.has(streamId));
}

function idsOf(writes: readonly Write[]): string[] {
  return writes.flatMap(({ events }) => events.map(({ id }) => id));
}

function sizeOf(writes: readonly Write[]): { events: number; characters: number } {
  let events = 0;
  let characters = 0;
  for (const write of writes) {
    events += write.events.length;
    characters += write.metadataJson.length;
    for (const { json } of write.events) characters += json.length;
  }
  return { events, characters };
}
