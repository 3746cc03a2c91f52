import { asDatabaseError } from '../db/client.ts';
import { collide, retry } from '../db/retry.ts';
import { isTransient } from '../db/sqlstate.ts';
import { inTransaction } from '../db/transaction.ts';
import { partsOf, type StoreParts } from '../store/parts.ts';
import type { Store } from '../store/store.ts';
import { SteleError } from '../types/errors.ts';
import { shadowName } from './async.ts';
import type { Projection } from './definition.ts';
import { projectionParts } from './parts.ts';
import { endShadows, rebuildWith, type RebuildOptions, type RebuildResult } from './rebuild.ts';
import { rebuildStatements } from './rebuild-statements.ts';
import { schemaNames } from './schema.ts';
import { dropShadow, type ProjectionRow } from './shadow.ts';
import { projectionStatements } from './statements.ts';

/**
 * Goes back to the tables that the last rebuild has replaced, which first get what has come since. Called
 * with the definition that they were built by. Those that are replaced are kept in turn. What another
 * rebuild has built and not yet exchanged is dropped. When it fails or is aborted, it can be called again.
 *
 * @throws SteleError `invalid-argument` when no tables of this definition are kept. Tables that were
 * replaced while events were set aside are not, since these would be missing in them
 */
export async function rollback(
  store: Store,
  projection: Projection,
  options: RebuildOptions = {},
): Promise<RebuildResult> {
  const parts = partsOf(store);
  return parts.inFlight.run(async () => {
    await keptBecomesShadow(parts, projection);
    return rebuildWith(parts, projection, options, { onAbort: 'leave', origin: 'kept' });
  });
}

/** The kept tables are a shadow that has only to catch up. */
async function keptBecomesShadow(parts: StoreParts, given: Projection): Promise<void> {
  const { name, fingerprint } = projectionParts(given);
  const { database, schema } = parts;
  const statements = rebuildStatements(schema);
  const [row] = await database.read<ProjectionRow>(statements.row, [name]);
  // An earlier call has come this far.
  if (row?.[2] === fingerprint && row[3] === null) return;
  checkKept(name, fingerprint, row);
  await endShadows(parts, name);
  const work = retry(collide, isTransient, () => exchangeNames(parts, name, fingerprint));
  await work.catch((error: unknown) => {
    throw asDatabaseError(`Rolling back projection '${name}'`, error);
  });
}

async function exchangeNames(parts: StoreParts, name: string, fingerprint: string): Promise<void> {
  const { database, schema } = parts;
  const statements = rebuildStatements(schema);
  const names = schemaNames(schema, name);
  await inTransaction(database, async (client) => {
    await database.on(client, projectionStatements(schema).lockProjection, [schema, name]);
    const [row] = await database.on<ProjectionRow>(client, statements.lockRow, [name]);
    checkKept(name, fingerprint, row);
    await dropShadow(parts, statements, client, name);
    await client.query(
      `alter schema ${client.escapeIdentifier(names.kept)} rename to ${client.escapeIdentifier(names.shadow)}`,
    );
    await database.on(client, statements.keptAsShadow, [name]);
    // Written by the swap: the checkpoint of each partition that the tables had.
    const checkpoints = JSON.parse(row?.[4] ?? '[]') as readonly number[];
    const shadow = shadowName(name, fingerprint);
    await database.on(client, statements.addSubscription, [shadow, checkpoints.length, [], []]);
    for (const [partition, checkpoint] of checkpoints.entries()) {
      await database.on(client, statements.addPartition, [shadow, partition, checkpoint]);
    }
  });
}

function checkKept(name: string, fingerprint: string, row: ProjectionRow | undefined): void {
  const kept = row?.[3] ?? null;
  if (kept === null) {
    throw new SteleError(
      'invalid-argument',
      `No earlier tables of projection '${name}' are kept that one could go back to. Rebuild it instead.`,
    );
  }
  if (kept === fingerprint) return;
  throw new SteleError(
    'invalid-argument',
    `The tables of projection '${name}' that are kept were built by another definition than the one given. Roll back with the code that built them.`,
  );
}
