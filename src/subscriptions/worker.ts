/**
 * A process's part in running subscriptions: it says that it lives, owns its share of the partitions,
 * and runs them.
 *
 *     free ──(claimed: the epoch goes up)──▶ owned ──(heartbeat)──▶ owned
 *      ▲                                       │
 *      ├──(let go: paused, more than a share, closing)──┤
 *      └──(no heartbeat for the time of a lease)────────┘
 *
 * Why no two owners both get their work committed: a claim ends the epoch of the owner before, and a
 * checkpoint is only written in its own epoch. Nothing depends on clocks of processes: the server's
 * clock says when a lease is over, and a claim by mistake costs work, not truth.
 *
 * Why a dead owner does not block the next one: a lease ends by itself, and its session, which may hold
 * locks in a read model, is ended by the server after standing still for the time of a lease.
 *
 * A reaction has no transaction that could be undone. Its owner stops by its own clock when its
 * heartbeats have failed for the time of a lease, so only an event that is under way then can be
 * handled by two at the same moment.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { StoreParts } from '../store/parts.ts';
import type { Blocker } from '../types/errors.ts';
import type { Consumer } from './consumer.ts';
import { listen } from './listener.ts';
import { filterOf, type Filter } from './page.ts';
import { runPartition, type Control, type End } from './partition.ts';
import { register } from './registration.ts';
import { safePositions } from './safe-positions.ts';
import { subscriptionStatements } from './statements.ts';

/** What a worker tells whoever runs it. */
export type Notice =
  | {
      readonly kind: 'retrying' | 'stopped' | 'parked';
      readonly subscription: string;
      readonly partition: number;
      readonly message: string;
    }
  | { readonly kind: 'outdated'; readonly subscription: string; readonly partition: number }
  | { readonly kind: 'stalled'; readonly blockers: readonly Blocker[] };

export interface WorkerOptions {
  readonly leaseMs: number;
  readonly onNotice: (notice: Notice) => void;
  /** Handles nothing behind this position, which is known to be safe. */
  readonly until?: number | undefined;
}

/** Subscriptions that this process runs. */
export interface Worker {
  readonly id: string;
  /** Looks at once for what was changed: paused, resumed, asked for. */
  refresh(): Promise<void>;
  /** Runs one more. */
  add(consumer: Consumer): Promise<void>;
  /** Tells other processes to refresh. */
  tell(): Promise<void>;
  /** Finishes what is being handled, and lets go of everything. */
  close(): Promise<void>;
}

interface Owned {
  readonly epoch: number;
  readonly control: Control;
  readonly lost: AbortController;
}

interface Run {
  readonly consumer: Consumer;
  readonly filter: Filter;
}

type HeartbeatRow = [
  subscription: string,
  partition: number,
  partitions: number,
  epoch: number,
  checkpoint: number,
  requests: boolean,
  keep: boolean,
];

/** Heartbeats in the time of a lease: two may be lost. */
const heartbeats = 3;
/**
 * For so long, a process whose code is too old leaves a subscription to others. It will not learn, but
 * what comes after the newer events may be for it again.
 */
const outdatedLeases = 6;

/** Registers the consumers and starts to run them. */
export async function startWorker(
  parts: StoreParts,
  consumers: readonly Consumer[],
  { leaseMs, onNotice: tell, until }: WorkerOptions,
): Promise<Worker> {
  const { database, schema, signals } = parts;
  // What the application does with it must not disturb the work.
  const onNotice = (notice: Notice): void => {
    try {
      tell(notice);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  };
  const statements = subscriptionStatements(schema);
  for (const consumer of consumers) await register(parts, statements, consumer);

  const id = randomUUID();
  const label = `${hostname()} ${process.pid}`;
  const runs = new Map<string, Run>(
    consumers.map((consumer) => [consumer.name, { consumer, filter: filterOf(consumer) }]),
  );
  const owned = new Map<string, Owned>();
  /** What is being worked on, also for partitions that are lost: their handlers do not know yet. */
  const underWay = new Set<Promise<unknown>>();
  /** Subscriptions that have met an event newer than this code, and until when they are left to others. */
  const outdated = new Map<string, number>();
  let closing = false;
  let leaseEnds: NodeJS.Timeout | undefined;

  const positions = safePositions(
    parts,
    (blockers) => {
      onNotice({ kind: 'stalled', blockers });
    },
    until,
  );
  const ears = listen(parts, statements, {
    appended: () => {
      positions.nudge();
    },
    control: () => void refresh(),
    hears: (yes) => {
      positions.hears(yes);
    },
  });

  const begin = (row: HeartbeatRow): void => {
    const [subscription, partition, partitions, epoch] = row;
    const run = runs.get(subscription);
    if (run === undefined) return;
    const control: Control = { isStopping: false, hasRequests: false, wakeUp: () => undefined };
    const lost = new AbortController();
    const key = keyOf(subscription, partition);
    // It may have been set back.
    signals.forget(subscription, partition);
    const ended = runPartition({
      work: {
        parts,
        statements,
        consumer: run.consumer,
        lease: { subscription, partition, partitions, epoch },
        leaseMs,
        lost: lost.signal,
      },
      filter: run.filter,
      safePositions: positions,
      control,
      until,
      onTrouble: (kind, message) => {
        onNotice({ kind, subscription, partition, message });
      },
    })
      .then((end) => afterEnd(row, end))
      .finally(() => underWay.delete(ended));
    underWay.add(ended);
    owned.set(key, { epoch, control, lost });
  };

  const afterEnd = async (row: HeartbeatRow, end: End): Promise<void> => {
    const [subscription, partition, , epoch] = row;
    const key = keyOf(subscription, partition);
    if (end === 'released') {
      await database
        .query(statements.release, [subscription, partition, epoch])
        .catch(() => undefined);
    }
    if (owned.get(key)?.epoch === epoch) {
      owned.delete(key);
      signals.forget(subscription, partition);
    }
    if (end === 'outdated') {
      const isKnown = (outdated.get(subscription) ?? 0) > performance.now();
      outdated.set(subscription, performance.now() + leaseMs * outdatedLeases);
      if (!isKnown) onNotice({ kind: 'outdated', subscription, partition });
    }
    if (closing) return;
    if (end === 'released' || end === 'outdated') {
      await refresh();
      await ears.tell();
    } else if (end === 'fenced') {
      await refresh();
    }
  };

  const stop = (item: Owned): void => {
    item.control.isStopping = true;
    item.control.wakeUp();
  };
  const abandon = (item: Owned): void => {
    item.lost.abort();
    stop(item);
  };

  /** By this process's own clock, its leases are over when no heartbeat has arrived for their time. */
  const leasesExtended = (sentAt: number): void => {
    clearTimeout(leaseEnds);
    const end = (): void => {
      for (const [key, item] of owned) {
        item.lost.abort();
        if (isReaction(key)) stop(item);
      }
    };
    leaseEnds = setTimeout(end, sentAt + leaseMs - performance.now()).unref();
  };

  const heartbeat = async (): Promise<void> => {
    if (closing) return;
    const sentAt = performance.now();
    const able = [...runs.keys()].filter((name) => (outdated.get(name) ?? 0) <= sentAt);
    let rows: HeartbeatRow[];
    try {
      rows = await database.query<HeartbeatRow>(statements.heartbeat, [id, label, able, leaseMs]);
    } catch {
      // The database is away. Leases end by themselves.
      return;
    }
    leasesExtended(sentAt);
    const seen = new Set<string>();
    for (const row of rows) {
      const [subscription, partition, , epoch, , requests, keep] = row;
      const key = keyOf(subscription, partition);
      seen.add(key);
      const item = owned.get(key);
      if (item !== undefined && item.epoch !== epoch) abandon(item);
      if (item?.epoch !== epoch && !closing) begin(row);
      const current = owned.get(key);
      if (current === undefined) continue;
      if (!keep) stop(current);
      if (requests) {
        current.control.hasRequests = true;
        current.control.wakeUp();
      }
    }
    for (const [key, item] of owned) if (!seen.has(key)) abandon(item);
  };
  const isReaction = (key: string): boolean => {
    const run = runs.get(key.slice(key.indexOf(' ') + 1));
    return run !== undefined && 'react' in run.consumer.handler;
  };

  // One at a time; who asks while one is under way gets the next one.
  let beating: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  const refresh = (): Promise<void> => {
    if (beating === undefined) {
      beating = heartbeat().finally(() => {
        beating = undefined;
      });
      return beating;
    }
    next ??= beating.then(() => {
      next = undefined;
      return refresh();
    });
    return next;
  };

  await refresh();
  // Those who have had more than their share from now on let go of it.
  void ears.tell();
  const timer = setInterval(() => void refresh(), leaseMs / heartbeats);

  let closed: Promise<void> | undefined;
  const worker: Worker = {
    id,
    refresh,
    add: async (consumer) => {
      await register(parts, statements, consumer);
      if (closing) return;
      runs.set(consumer.name, { consumer, filter: filterOf(consumer) });
      await refresh();
      await ears.tell();
    },
    tell: () => ears.tell(),
    close: () =>
      (closed ??= (async () => {
        closing = true;
        clearInterval(timer);
        await beating;
        // Heartbeats go on while the last batches are handled, however long they take.
        const alive = setInterval(() => {
          const sentAt = performance.now();
          database.query(statements.heartbeat, [id, label, [], leaseMs]).then(
            () => {
              leasesExtended(sentAt);
            },
            () => undefined,
          );
        }, leaseMs / heartbeats);
        for (const item of owned.values()) stop(item);
        await Promise.all(underWay);
        clearInterval(alive);
        clearTimeout(leaseEnds);
        await database.query(statements.leave, [id]).catch(() => undefined);
        await ears.tell();
        await ears.close();
        await positions.close();
      })()),
  };
  return worker;
}

function keyOf(subscription: string, partition: number): string {
  return `${partition} ${subscription}`;
}
