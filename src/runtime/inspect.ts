import type { StoreParts } from '../store/parts.ts';
import type { RecordedFailure } from '../subscriptions/failure.ts';
import { runtimeStatements } from './statements.ts';

/** How a partition is doing. */
export interface PartitionStatus {
  readonly partition: number;
  /**
   * - `running`: a process owns it, and handles or waits for events
   * - `retrying`: the same, and its handler has failed on an event that is tried again
   * - `waiting`: no process owns it
   * - `stopped`: its handler has failed for good; a person has to retry it
   * - `outdated`: an event or its tables are newer than the code of the process that had it
   */
  readonly status: 'running' | 'retrying' | 'waiting' | 'stopped' | 'outdated';
  /** Since when it has this status. */
  readonly since: Date;
  /** Host and process id of its owner; `undefined` when nobody owns it. */
  readonly owner: string | undefined;
  /** Goes up with each new owner. */
  readonly epoch: number;
  /** Everything up to this position has been handled. */
  readonly checkpoint: number;
  readonly handledAt: Date | undefined;
  readonly lag: {
    /** How many events are still to be handled; not counted beyond 10,000. */
    readonly events: number;
    /** How old the oldest of them is, in milliseconds; 0 when there is none. */
    readonly ms: number;
  };
  /** How many events are set aside. */
  readonly parked: number;
  /** The last failure, also when it has been overcome. */
  readonly error: RecordedFailure | undefined;
}

/** How a subscription or an asynchronous projection is doing. */
export interface SubscriptionStatus {
  readonly name: string;
  readonly kind: 'transactional' | 'reaction' | 'projection';
  readonly paused: boolean;
  readonly partitions: readonly PartitionStatus[];
}

/** An event that is set aside. */
export interface ParkedEvent {
  readonly streamId: string;
  readonly version: number;
  readonly position: number;
  /** The name it is stored under. */
  readonly type: string;
  /** 0 for an event that only waits behind one that failed. */
  readonly attempts: number;
  readonly error: RecordedFailure | undefined;
  readonly parkedAt: Date;
  /** What a person has asked for and has not been done yet. */
  readonly request: 'replay' | 'discard' | undefined;
}

const mostCounted = 10_000;

type PartitionRow = [
  name: string,
  kind: SubscriptionStatus['kind'],
  subscriptionStatus: 'active' | 'paused',
  partition: number,
  status: PartitionStatus['status'],
  since: number,
  checkpoint: number,
  epoch: number,
  owner: string | null,
  handledAt: number | null,
  error: RecordedFailure | null,
  lagEvents: number,
  lagMs: number | null,
  parked: number,
];

/** How everything that runs behind the appends is doing, in whichever process. Reads only. */
export async function inspect({
  database,
  schema,
}: StoreParts): Promise<readonly SubscriptionStatus[]> {
  const { partitions } = runtimeStatements(schema);
  const rows = await database.read<PartitionRow>(partitions, [mostCounted]);
  const found = new Map<string, SubscriptionStatus & { partitions: PartitionStatus[] }>();
  for (const row of rows) {
    const [name, kind, subscriptionStatus] = row;
    let status = found.get(name);
    if (status === undefined) {
      status = { name, kind, paused: subscriptionStatus === 'paused', partitions: [] };
      found.set(name, status);
    }
    status.partitions.push(partitionStatus(row));
  }
  return [...found.values()];
}

function partitionStatus(row: PartitionRow): PartitionStatus {
  const [, , , partition, status, since, checkpoint, epoch, owner, handledAt, error] = row;
  const [lagEvents, lagMs, parked] = row.slice(11) as [number, number | null, number];
  // A process that died has not said so.
  const isOwned = owner !== null;
  const isActive = status === 'running' || status === 'retrying';
  return {
    partition,
    status: isActive && !isOwned ? 'waiting' : status,
    since: new Date(since),
    owner: owner ?? undefined,
    epoch,
    checkpoint,
    handledAt: handledAt === null ? undefined : new Date(handledAt),
    lag: { events: lagEvents, ms: Math.max(0, Math.round(lagMs ?? 0)) },
    parked,
    error: error ?? undefined,
  };
}

type ParkedRow = [
  streamId: string,
  version: number,
  position: number,
  type: string,
  attempts: number,
  error: RecordedFailure | null,
  parkedAt: number,
  request: 'replay' | 'discard' | null,
];

/** The events that a subscription has set aside, in order. */
export async function parkedEvents(
  { database, schema }: StoreParts,
  name: string,
  limit: number,
): Promise<readonly ParkedEvent[]> {
  const rows = await database.read<ParkedRow>(runtimeStatements(schema).parked, [name, limit]);
  return rows.map(([streamId, version, position, type, attempts, error, parkedAt, request]) => ({
    streamId,
    version,
    position,
    type,
    attempts,
    error: error ?? undefined,
    parkedAt: new Date(parkedAt),
    request: request ?? undefined,
  }));
}
