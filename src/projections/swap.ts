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
import { hasState, isTransient, sqlstate } from '../db/sqlstate.ts';
import { inTransaction } from '../db/transaction.ts';
import { asDatabaseError } from '../db/client.ts';
import { SteleError } from '../types/errors.ts';
import { shadowName } from './async.ts';
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
    (isTransient(error) || hasState(error, sqlstate.lockNotAvailable));
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

async function exchange(
  shadow: ShadowParts,
  client: pg.PoolClient,
  keepMs: number,
): Promise<number> {
  const { parts, projection, statements, mode } = shadow;
  const { database, schema } = parts;
  const { name, fingerprint, partitions } = projection;
  const names = schemaNames(schema, name);
  type Row = [partition: number, checkpoint: number];

  await database.on(client, projectionStatements(schema).lockProjection, [schema, name]);
  if (mode === 'inline')
    await client.query(`lock table ${client.escapeIdentifier(schema)}.events in share mode`);
  const [row] = await database.on<ProjectionRow>(client, statements.lockRow, [name]);
  if (row?.[2] !== fingerprint) {
    throw cancelled(name);
  }
  const built = await database.on<Row>(client, statements.lockPartitions, [shadowName(name)]);
  const live = await database.on<Row>(client, statements.lockPartitions, [name]);
  const from = Math.min(...built.map(([, checkpoint]) => checkpoint));
  if (built.length === 0 || built.some(([, checkpoint]) => checkpoint !== from)) {
    throw new Error('All partitions of a shadow are at the position that it was filled to.');
  }
  const position = Math.max(
    from,
    ...live.map(([, checkpoint]) => checkpoint),
    await last(shadow, client),
  );
  shadow.meter.handled += await handleTail(shadow, client, names.shadow, [
    { partition: 0, partitions: 1, after: from, upTo: position },
  ]);

  // `readModel` reads in one snapshot, and locks this first: its snapshot is not older than what the names
  // that it looks up stand for.
  await client.query(
    `lock table ${client.escapeIdentifier(schema)}.projections in access exclusive mode`,
  );
  const [hasLive] = await database.on<[boolean]>(client, statements.schemaExists, [names.live]);
  await dropSchema(client, names.kept);
  if (hasLive?.[0] === true) {
    for (const [grant] of await database.on<[string]>(client, statements.grants, [
      names.live,
      names.shadow,
    ])) {
      await client.query(grant);
    }
    await rename(client, names.live, names.kept);
  }
  await rename(client, names.shadow, names.live);
  // Tables that were written to inline have everything.
  const keptAt =
    row[0] === 'async' && live.length > 0
      ? live.map(([, checkpoint]) => checkpoint)
      : Array.from({ length: partitions }, () => position);
  const values = [name, fingerprint, mode, JSON.stringify(keptAt), keepMs];
  await database.on(client, statements.exchanged, values);
  await database.on(client, statements.dropSubscription, [shadowName(name)]);
  if (mode === 'inline') await database.on(client, statements.dropSubscription, [name]);
  else {
    const { categories, types } = storedTypes(projection);
    await database.on(client, statements.addSubscription, [name, partitions, categories, types]);
    await database.on(client, statements.dropPartitions, [name, partitions]);
    await database.on(client, statements.dropParked, [name]);
    for (let partition = 0; partition < partitions; partition += 1) {
      await database.on(client, statements.addPartition, [name, partition, position]);
    }
  }
  return position;
}

/** The last event of all, where nobody can append meanwhile. */
async function last(
  { parts, statements, mode }: ShadowParts,
  client: pg.PoolClient,
): Promise<number> {
  if (mode === 'async') return 0;
  const [row] = await parts.database.on<[number]>(client, statements.lastPosition, []);
  return row?.[0] ?? 0;
}

async function rename(client: pg.PoolClient, from: string, to: string): Promise<void> {
  await client.query(
    `alter schema ${client.escapeIdentifier(from)} rename to ${client.escapeIdentifier(to)}`,
  );
}
