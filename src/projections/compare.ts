import type pg from 'pg';
import { asDatabaseError } from '../db/client.ts';
import { inTransaction } from '../db/transaction.ts';
import { partsOf, type StoreParts } from '../store/parts.ts';
import type { Store } from '../store/store.ts';
import { safePosition } from '../store/visibility.ts';
import { SteleError } from '../types/errors.ts';
import { shadowName } from './async.ts';
import type { Projection } from './definition.ts';
import { projectionParts } from './parts.ts';
import { rebuildStatements } from './rebuild-statements.ts';
import { schemaNames } from './schema.ts';
import {
  countEvents,
  fillShadow,
  openShadow,
  report,
  type BuildOptions,
  type ShadowParts,
} from './shadow.ts';
import { handleTail, type Tail } from './tail.ts';
import { differencesOf, type TableDifference } from './table-difference.ts';

/** What {@link compare} may be given. */
export interface CompareOptions extends BuildOptions {
  /** How many rows to show of each kind of difference; 5 unless given. */
  readonly samples?: number | undefined;
  /** Columns that do not count, such as those that a clock fills: `{ users: ['updated_at'] }`. */
  readonly ignore?: Readonly<Record<string, readonly string[]>> | undefined;
}

/** How the tables that a definition makes differ from the live ones. */
export interface Comparison {
  /** Whether no table differs. */
  readonly same: boolean;
  /** One for each table of either, by name. */
  readonly tables: readonly TableDifference[];
  /** The position up to which both have handled everything. */
  readonly position: number;
}

/**
 * Builds the read model of a projection by the given definition, beside the live one, and says how the
 * two differ at the same position. The live tables stay as they are, and what was built is kept: a
 * {@link rebuild} by the same definition goes on from there, and {@link cancelRebuild} drops it.
 *
 * @throws SteleError `projection-not-built` when there are no live tables to compare with
 * @throws what {@link rebuild} throws
 *
 * @example
 * ```ts
 * const { tables } = await compare(store, Users);
 * for (const { table, added, removed, changed, samples } of tables) console.log(table, added, removed, changed, samples);
 * await rebuild(store, Users);
 * ```
 */
export async function compare(
  store: Store,
  projection: Projection,
  options: CompareOptions = {},
): Promise<Comparison> {
  const parts = partsOf(store);
  return parts.inFlight.run(async () => {
    await requireLive(parts, projection);
    const shadow = await openShadow(parts, projection, options);
    const bound = await commonPosition(shadow);
    await countEvents(shadow, bound);
    await fillShadow(shadow, bound, 'building');
    report(shadow, 'done');
    return compareShadow(shadow, options);
  });
}

async function requireLive(parts: StoreParts, projection: Projection): Promise<void> {
  const { name } = projectionParts(projection);
  const { live } = schemaNames(parts.schema, name);
  const { schemaExists } = rebuildStatements(parts.schema);
  const [row] = await parts.database.read<[boolean]>(schemaExists, [live]);
  if (row?.[0] === true) return;
  throw new SteleError(
    'projection-not-built',
    `Projection '${name}' has no live tables to compare with. Run or rebuild it first.`,
  );
}

type CheckpointRow = [partition: number, checkpoint: number];

/** A position that the live tables have reached in all of their parts, so that the shadow is not ahead. */
async function commonPosition({
  parts: { database, statements: storeStatements },
  projection,
  statements,
}: ShadowParts): Promise<number> {
  const { name } = projection;
  const live = await database.read<CheckpointRow>(statements.checkpoints, [name]);
  const built = await database.read<CheckpointRow>(statements.checkpoints, [
    shadowName(name, projection.fingerprint),
  ]);
  const reached =
    live.length === 0
      ? await safePosition(database, storeStatements, {})
      : Math.min(...live.map(([, checkpoint]) => checkpoint));
  const ahead = Math.max(0, ...built.map(([, checkpoint]) => checkpoint));
  if (ahead <= reached) return reached;
  throw new SteleError(
    'rebuild-failed',
    `The shadow of projection '${name}' is at position ${ahead} already, ahead of the live tables, which are at ${reached}. ` +
      'Let these catch up, or cancelRebuild() and compare again.',
  );
}

/**
 * In one snapshot: the live tables, their checkpoints, and the events up to these, which the shadow
 * gets, too. Its transaction is rolled back, so the shadow stays at the checkpoints that it has.
 */
async function compareShadow(shadow: ShadowParts, options: CompareOptions): Promise<Comparison> {
  const { parts, projection } = shadow;
  const names = schemaNames(parts.schema, projection.name);
  let comparison: Comparison | undefined;
  const undo = new Error('Nothing of this is to stay.');
  try {
    await inTransaction(
      parts.database,
      async (client) => {
        const tails = await missing(shadow, client);
        await handleTail(shadow, client, names.shadow, tails);
        const tables = await differencesOf(client, names.live, names.shadow, {
          samples: options.samples ?? 5,
          ignore: options.ignore ?? {},
        });
        const position = Math.max(...tails.map(({ upTo }) => upTo));
        const same = tables.every(({ added, removed, changed }) => added + removed + changed === 0);
        comparison = { same, tables, position };
        throw undo;
      },
      'set transaction isolation level repeatable read;',
    );
  } catch (error) {
    if (error !== undo) throw asDatabaseError(`Comparing projection '${projection.name}'`, error);
  }
  if (comparison === undefined) throw new Error('A comparison that does not fail has a result.');
  return comparison;
}

/** What the live tables have beyond the shadow, for each of their parts. */
async function missing(
  { parts: { database }, projection, statements, mode }: ShadowParts,
  client: pg.PoolClient,
): Promise<readonly Tail[]> {
  const { name } = projection;
  const built = await database.on<CheckpointRow>(client, statements.checkpoints, [
    shadowName(name, projection.fingerprint),
  ]);
  const after = Math.min(...built.map(([, checkpoint]) => checkpoint));
  if (built.some(([, checkpoint]) => checkpoint !== after)) {
    throw new SteleError(
      'rebuild-running',
      `Projection '${name}' is being rebuilt by another process. Compare before that, or when it has finished.`,
    );
  }
  const live = await database.on<CheckpointRow>(client, statements.checkpoints, [name]);
  if (mode === 'async' && live.length > 0) {
    return live.map(([partition, upTo]) => ({ partition, partitions: live.length, after, upTo }));
  }
  const [last] = await database.on<[number]>(client, statements.lastPosition, []);
  return [{ partition: 0, partitions: 1, after, upTo: last?.[0] ?? after }];
}
