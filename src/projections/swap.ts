/**
 * The exchange of a projection's tables, in one transaction.
 *
 * 1. Nobody writes to the live tables any more: the checkpoints of those who work on them are locked,
 *    or, for an inline projection, the table of events, which its appends need.
 * 2. The shadow gets the events that the live tables have beyond its own. They are few, since it has just
 *    caught up. So no reader goes back in time.
 * 3. The schemas are renamed. A name is looked up anew by every statement, prepared ones too, so the next
 *    one finds the other tables.
 * 4. All partitions begin at the position that the tables are at, in a new epoch.
 *
 * What it waits for is waited for briefly, and then tried again, so that nobody stands in line behind
 * it for long.
 */
import type pg from 'pg';
import { retry, type RetryPolicy } from '../db/retry.ts';
import { hasState, sqlstate } from '../db/sqlstate.ts';
import { inTransaction } from '../db/transaction.ts';
import { kindOf } from '../subscriptions/failure.ts';
import { asDatabaseError } from '../db/client.ts';
import { SteleError } from '../types/errors.ts';
import { shadowName, shadowPrefix } from './async.ts';
import { cancelled, type ProjectionRow, type ShadowParts } from './shadow.ts';
import { dropSchema, schemaNames } from './schema.ts';
import { handleTail } from './tail.ts';
import { storedTypes } from './tables.ts';
import { projectionStatements } from './statements.ts';

/**
 * How long one try waits for locks: others queue up behind it meanwhile. After some tries it waits for
 * longer than a second, since only then Postgres ends an automatic vacuum that is in the way.
 */
const lockTimeoutMs = (attempt: number): number => (attempt <= 5 ? 250 : 1_500);
const patience: RetryPolicy = { attempts: 30, baseMs: 50, maximumMs: 2_000 };

/**
 * Exchanges the live tables for the shadow.
 *
 * @returns the position that the new ones are at, and for how long nobody could write
 */
export async function swap(
  shadow: ShadowParts,
  keepMs: number,
): Promise<{ readonly position: number; readonly swapMs: number }> {
  const { parts, projection } = shadow;
  const mayTryAgain = (error: unknown): boolean =>
    !shadow.options.signal?.aborted &&
    // Also of the tail's handlers, where another process works on the shadow, too.
    kindOf(error) === 'collision';
  try {
    return await retry(patience, mayTryAgain, (attempt) => {
      const startedAt = performance.now();
      return inTransaction(
        parts.database,
        async (client) => {
          const position = await exchange(shadow, client, keepMs);
          return { position, swapMs: performance.now() - startedAt };
        },
        `set local lock_timeout = ${lockTimeoutMs(attempt)};`,
      );
    });
  } catch (error) {
    if (hasState(error, sqlstate.lockNotAvailable)) {
      throw new SteleError(
        'rebuild-failed',
        `The tables of projection '${projection.name}' could not be exchanged: somebody holds a lock in a transaction that stays open. ` +
          'Nothing has changed. End it, and rebuild again: what was built is still there.',
        { cause: error },
      );
    }
    throw asDatabaseError(`Exchanging the tables of projection '${projection.name}'`, error);
  }
}

type CheckpointRow = [partition: number, checkpoint: number];

async function exchange(
  shadow: ShadowParts,
  client: pg.PoolClient,
  keepMs: number,
): Promise<number> {
  const { parts, projection, statements, mode } = shadow;
  const { database, schema } = parts;
  const { name, fingerprint } = projection;
  const names = schemaNames(schema, name);
  await database.on(client, projectionStatements(schema).lockProjection, [schema, name]);
  const { wasInline, built, live, upTo } = await stopWriters(shadow, client);
  const tails = built.map(([partition, after]) => ({
    partition,
    partitions: built.length,
    after,
    upTo,
  }));
  shadow.meter.handled += await handleTail(shadow, client, names.shadow, tails);
  await exchangeSchemas(shadow, client);
  // Tables that were written to inline have everything; those that nothing has run on have nothing.
  const checkpoints = live.length === 0 ? [0] : live.map(([, checkpoint]) => checkpoint);
  const keptAt = JSON.stringify(wasInline ? [upTo] : checkpoints);
  // What was set aside is in no table, and is forgotten now: nobody may go back to tables without it.
  const parked = await database.on(client, statements.parked, [name]);
  const values = [name, fingerprint, mode, keptAt, keepMs, parked.length === 0];
  await database.on(client, statements.exchanged, values);
  await database.on(client, statements.dropShadows, [shadowPrefix(name)]);
  if (mode === 'inline') await database.on(client, statements.dropSubscription, [name]);
  else await beginAt(shadow, client, upTo);
  return upTo;
}

/** What the live tables have, once nobody writes to them any more; and what the shadow has. */
async function stopWriters(
  { parts: { database, schema }, projection: { name, fingerprint }, statements, mode }: ShadowParts,
  client: pg.PoolClient,
): Promise<{
  readonly wasInline: boolean;
  readonly live: readonly CheckpointRow[];
  readonly built: readonly CheckpointRow[];
  readonly upTo: number;
}> {
  const [known] = await database.on<ProjectionRow>(client, statements.row, [name]);
  const wasInline = known?.[0] === 'inline' && known[1] !== '';
  const appendsWait = wasInline || mode === 'inline';
  // Before the row, as appends do, which lock events and then look at the row.
  if (appendsWait) {
    await client.query(`lock table ${client.escapeIdentifier(schema)}.events in share mode`);
  }
  const [row] = await database.on<ProjectionRow>(client, statements.lockRow, [name]);
  if (row?.[2] !== fingerprint) throw cancelled(name);
  const built = await database.on<CheckpointRow>(client, statements.lockPartitions, [
    shadowName(name, fingerprint),
  ]);
  const live = await database.on<CheckpointRow>(client, statements.lockPartitions, [name]);
  if (built.length === 0) throw cancelled(name);
  const last = appendsWait
    ? await database.on<[number]>(client, statements.lastPosition, [])
    : [[0] as [number]];
  // Of the shadow's own partitions, another process may have brought some further than this one.
  const reached = [...built, ...live].map(([, checkpoint]) => checkpoint);
  const upTo = Math.max(last[0]?.[0] ?? 0, ...reached);
  return { wasInline, built, live, upTo };
}

/** Gives the live schema's name to the shadow, with the rights that were granted. */
async function exchangeSchemas(
  { parts: { database, schema }, projection: { name }, statements }: ShadowParts,
  client: pg.PoolClient,
): Promise<void> {
  const { live, shadow, kept } = schemaNames(schema, name);
  // `readModel` and inline handlers lock this first: so the snapshot of whoever reads is not older than
  // what the names that it looks up stand for.
  await client.query(
    `lock table ${client.escapeIdentifier(schema)}.projections in access exclusive mode`,
  );
  const [hasLive] = await database.on<[boolean]>(client, statements.schemaExists, [live]);
  await dropSchema(client, kept);
  if (hasLive?.[0] === true) {
    const grants = await database.on<[string]>(client, statements.grants, [live, shadow]);
    for (const [grant] of grants) await client.query(grant);
    await rename(client, live, kept);
  }
  await rename(client, shadow, live);
}

/** All partitions go on at one position, with as many of them as the definition says. */
async function beginAt(
  { parts: { database }, projection, statements }: ShadowParts,
  client: pg.PoolClient,
  position: number,
): Promise<void> {
  const { name, partitions } = projection;
  const { categories, types } = storedTypes(projection);
  await database.on(client, statements.addSubscription, [name, partitions, categories, types]);
  await database.on(client, statements.dropPartitions, [name, partitions]);
  await database.on(client, statements.dropParked, [name]);
  for (let partition = 0; partition < partitions; partition += 1) {
    await database.on(client, statements.addPartition, [name, partition, position]);
  }
}

async function rename(client: pg.PoolClient, from: string, to: string): Promise<void> {
  await client.query(
    `alter schema ${client.escapeIdentifier(from)} rename to ${client.escapeIdentifier(to)}`,
  );
}
