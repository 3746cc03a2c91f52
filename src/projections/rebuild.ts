/**
 * Builds the tables of a projection again, beside the live ones, and then exchanges them.
 *
 *     (none) ──▶ building ──▶ catching up ──▶ swapped: the earlier tables are kept for a while
 *                  │  ▲            │
 *                  │  └────────────┤ (the process died, or a handler failed: the next rebuild of the
 *                  │               │  same definition goes on from the shadow's checkpoints)
 *                  └───────────────┴──▶ (none): cancelled, or begun anew by another definition
 *
 * Why readers never see an empty, partial or doubled read model:
 * - The shadow is in a Postgres schema of its own. Nobody reads there.
 * - Its events are handled by the same code as those of a subscription: in order, each once, its
 *   checkpoint in the same transaction.
 * - The swap is one transaction: nobody can write to the live tables from its beginning, the shadow gets
 *   the few events that they have and it has not, and both schemas change their names. Who reads sees the
 *   one or the other (see `swap.ts`).
 * - Whoever worked on the live tables has lost its epoch then, and cannot commit.
 */
import { collide, retry } from '../db/retry.ts';
import { isTransient } from '../db/sqlstate.ts';
import { inTransaction } from '../db/transaction.ts';
import { channelOf } from '../store/notifier.ts';
import { partsOf, type StoreParts } from '../store/parts.ts';
import type { Store } from '../store/store.ts';
import { safePosition } from '../store/visibility.ts';
import { subscriptionStatements } from '../subscriptions/statements.ts';
import { isSteleError, SteleError } from '../types/errors.ts';
import { shadowPrefix } from './async.ts';
import type { Projection } from './definition.ts';
import { projectionParts } from './parts.ts';
import { rebuildStatements } from './rebuild-statements.ts';
import { dropSchema, schemaNames } from './schema.ts';
import {
  countEvents,
  dropShadow,
  fillShadow,
  openShadow,
  report,
  type BuildOptions,
  type ProjectionRow,
  type ShadowParts,
} from './shadow.ts';
import { swap } from './swap.ts';
import { projectionStatements } from './statements.ts';

/** What {@link rebuild} may be given. */
export interface RebuildOptions extends BuildOptions {
  /** How long the earlier tables are kept for {@link rollback}, in milliseconds; a day unless given. */
  readonly keepMs?: number | undefined;
}

/** What a rebuild has done. */
export interface RebuildResult {
  /** How many events this call has handled; those of an earlier attempt, or of `compare`, not again. */
  readonly events: number;
  /** The position up to which the new tables have everything. */
  readonly position: number;
  readonly durationMs: number;
  /** How long nobody could write to the live tables. */
  readonly swapMs: number;
}

const dayMs = 24 * 60 * 60 * 1_000;
/** What a setting of the server can hold, in milliseconds: 24 days. */
const longestMs = 2 ** 31 - 1;
/** How long a transaction that has appended and stays open is waited for. */
const patienceMs = 5_000;
/** So few positions behind, the rest is done in the swap. */
const shortTail = 500;
/** After so many rounds under load that does not let it come nearer, it swaps with what is left. */
const mostRounds = 10;

/**
 * Builds the read model of a projection again by the given definition, while the one before it goes on
 * serving, and exchanges them when it has caught up. Readers see the one or the other, and nothing in
 * between. The projection may run inline or behind the appends, and appends go on; for an inline one, all
 * of them wait during the swap, for as long as it takes.
 *
 * When it fails, the live tables are as they were. When its process dies, the next rebuild by the same
 * definition goes on where it was. Several processes may rebuild the same: they share the work.
 *
 * @throws SteleError `rebuild-failed` when a handler fails, or it was cancelled
 * @throws SteleError `rebuild-running` when another definition is being built
 * @throws the signal's reason, when `signal` is aborted
 *
 * @example
 * ```ts
 * await rebuild(store, Users, { onProgress: ({ handled, total }) => bar.update(handled / total) });
 * ```
 */
export async function rebuild(
  store: Store,
  projection: Projection,
  options: RebuildOptions = {},
): Promise<RebuildResult> {
  const parts = partsOf(store);
  return parts.inFlight.run(() => rebuildWith(parts, projection, options));
}

/** How {@link rebuildWith} is to be done. */
interface RebuildWay {
  /** Whether what was built is dropped when the signal is aborted, or left for the next. */
  readonly onAbort: 'drop' | 'leave';
  /** Whether the shadow is built, or is what was live before. */
  readonly origin: 'built' | 'kept';
}

/** {@link rebuild} on the parts of a store. */
export async function rebuildWith(
  parts: StoreParts,
  projection: Projection,
  options: RebuildOptions,
  { onAbort, origin }: RebuildWay = { onAbort: 'drop', origin: 'built' },
): Promise<RebuildResult> {
  checkOptions(options);
  const startedAt = performance.now();
  await dropExpired(parts);
  options.signal?.throwIfAborted();
  const shadow = await openShadow(parts, projection, options, origin);
  try {
    await catchUp(shadow);
    report(shadow, 'swapping');
    const { position, swapMs } = await swap(shadow, options.keepMs ?? dayMs);
    // Those who worked on the live tables have lost them, and those who have the new code may begin.
    await parts.database.tell(subscriptionStatements(parts.schema).notify, [
      channelOf(parts.schema),
      'control',
    ]);
    report(shadow, 'done');
    return resultOf(shadow, startedAt, position, swapMs);
  } catch (error) {
    const position = await exchangedBy(shadow);
    if (position !== undefined) return resultOf(shadow, startedAt, position, 0);
    if (options.signal?.aborted && onAbort === 'drop') await cancel(parts, shadow.projection.name);
    throw error;
  }
}

function checkOptions({ keepMs = dayMs, leaseMs = dayMs }: RebuildOptions): void {
  for (const [name, value, least] of [
    ['keepMs', keepMs, 0],
    ['leaseMs', leaseMs, 100],
  ] as const) {
    if (Number.isFinite(value) && value >= least && value <= longestMs) continue;
    throw new SteleError(
      'invalid-argument',
      `\`${name}\` is from ${least} to ${longestMs} milliseconds, but got ${value}.`,
    );
  }
}

function resultOf(
  { meter }: ShadowParts,
  startedAt: number,
  position: number,
  swapMs: number,
): RebuildResult {
  const events = meter.handled - meter.before;
  return { events, position, durationMs: performance.now() - startedAt, swapMs };
}

/** Where the live tables are, when another process that built the same has exchanged them meanwhile. */
async function exchangedBy({
  parts: { database },
  projection: { name, fingerprint },
  statements,
  liveBuiltAt,
}: ShadowParts): Promise<number | undefined> {
  const rows = await database.read<ProjectionRow>(statements.row, [name]).catch(() => []);
  const [row] = rows;
  if (row === undefined || row[1] !== fingerprint || row[2] !== null) return undefined;
  if (row[5] === liveBuiltAt) return undefined;
  const checkpoints = await database.read<[number, number]>(statements.checkpoints, [name]);
  return Math.max(0, ...checkpoints.map(([, checkpoint]) => checkpoint));
}

/** Fills the shadow until little is left, and the swap is short. */
async function catchUp(shadow: ShadowParts): Promise<void> {
  let target = await presentPosition(shadow);
  await countEvents(shadow, target);
  await fillShadow(shadow, target, 'building');
  for (let round = 1; round <= mostRounds; round += 1) {
    const latest = await presentPosition(shadow);
    if (latest - target <= shortTail) return;
    target = latest;
    await fillShadow(shadow, target, 'catching-up');
  }
}

/**
 * A position that is safe to read up to. Where a transaction that has appended stays open, it is as far
 * as the live tables have come: they cannot go on either. An inline projection's live tables do, so
 * there it has to end.
 */
async function presentPosition({
  parts: { database, statements: storeStatements },
  projection,
  statements,
  mode,
  options: { signal },
}: ShadowParts): Promise<number> {
  try {
    return await safePosition(database, storeStatements, { signal, patienceMs });
  } catch (error) {
    if (mode === 'inline' || !isSteleError(error, 'read-stalled')) throw error;
    const values = [projection.name];
    const rows = await database.read<[number, number]>(statements.checkpoints, values);
    if (rows.length === 0) throw error;
    return Math.max(...rows.map(([, checkpoint]) => checkpoint));
  }
}

/**
 * Drops what a rebuild has built and not yet exchanged, whichever process works on it. The live tables
 * stay as they are.
 */
export async function cancelRebuild(store: Store, projection: Projection): Promise<void> {
  const parts = partsOf(store);
  const { name } = projectionParts(projection);
  await parts.inFlight.run(() => cancel(parts, name));
}

async function cancel(parts: StoreParts, name: string): Promise<void> {
  const { database, schema } = parts;
  const statements = rebuildStatements(schema);
  await endShadows(parts, name);
  await retry(collide, isTransient, () =>
    inTransaction(database, async (client) => {
      await database.on(client, projectionStatements(schema).lockProjection, [schema, name]);
      await database.on(client, statements.lockRow, [name]);
      await dropShadow(parts, statements, client, name);
    }),
  );
}

/**
 * Ends the epochs of those who work on a shadow, in a transaction of its own: whoever is at work then
 * fails, and lets go of the tables that are to be dropped.
 */
export async function endShadows({ database, schema }: StoreParts, name: string): Promise<void> {
  const { dropShadows } = rebuildStatements(schema);
  await retry(collide, isTransient, () => database.query(dropShadows, [shadowPrefix(name)]));
}

/** Drops earlier tables that have been kept for long enough, unless somebody is in the way. */
export async function dropExpired(parts: StoreParts): Promise<void> {
  const { database, schema } = parts;
  const statements = rebuildStatements(schema);
  const work = inTransaction(
    database,
    async (client) => {
      for (const [name] of await database.on<[string]>(client, statements.expired, [])) {
        await dropSchema(client, schemaNames(schema, name).kept);
        await database.on(client, statements.keptGone, [name]);
      }
    },
    'set local lock_timeout = 250;',
  );
  await work.catch(() => undefined);
}
