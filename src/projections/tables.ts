import { asDatabaseError } from '../db/client.ts';
import { inTransaction } from '../db/transaction.ts';
import type { StoreParts } from '../store/parts.ts';
import { projectionChanged, projectionNotBuilt } from '../store/project.ts';
import { filterOf, type Filter } from '../subscriptions/page.ts';
import type { ProjectionParts } from './parts.ts';
import { createTables, schemaNames } from './schema.ts';
import { projectionStatements } from './statements.ts';

/** How the tables of a projection stand to its definition. */
export type TablesState =
  /** There were none, and none were needed before: they are empty now. */
  | 'created'
  /** They were built by this definition, in this mode. */
  | 'ready'
  /** They were built by another definition. */
  | 'changed'
  /** They are kept inline and are to run behind the appends, or the other way round. */
  | 'other-mode'
  /** There are none, and the store holds events that should be in them. */
  | 'not-built';

/**
 * Makes the tables of a projection that is new to the store. Ten processes may do so at once. Those of
 * one that runs inline would never get the events that are there already, so they are not made then.
 *
 * @throws DatabaseError when the database refuses, such as to make a schema
 */
export async function prepareTables(
  { database, schema }: StoreParts,
  projection: ProjectionParts,
  mode: 'inline' | 'async',
): Promise<TablesState> {
  const { name, tables, fingerprint } = projection;
  if (tables === undefined) return 'ready';
  const { live } = schemaNames(schema, name);
  const statements = projectionStatements(schema);
  type Row = [fingerprint: string, mode: string];
  const stateOf = ([row]: Row[]): TablesState | undefined => {
    // Without a fingerprint, a rebuild has begun, and there are no live tables yet.
    if (row === undefined || row[0] === '') return undefined;
    if (row[1] !== mode) return 'other-mode';
    return row[0] === fingerprint ? 'ready' : 'changed';
  };
  const known = stateOf(await database.read<Row>(statements.projection, [name]));
  if (known !== undefined) return known;
  const work = inTransaction(database, async (client): Promise<TablesState> => {
    await database.on(client, statements.lockProjection, [schema, name]);
    const made = stateOf(await database.on<Row>(client, statements.projection, [name]));
    if (made !== undefined) return made;
    if (mode === 'inline') {
      const { categories, types } = storedTypes(projection);
      const values = [categories, types];
      const [row] = await database.on<[boolean]>(client, statements.hasEvents, values);
      if (row?.[0] !== false) return 'not-built';
    }
    await createTables(client, live, tables, schema);
    await database.on(client, statements.insertProjection, [name, mode, fingerprint]);
    // It may have run before, on tables that were the application's: these begin at the beginning.
    if (mode === 'async') await database.on(client, statements.forgetSubscription, [name]);
    return 'created';
  });
  return work.catch((error: unknown) => {
    throw asDatabaseError(`Preparing the tables of projection '${name}'`, error);
  });
}

/**
 * What a store does with a projection that it is opened with.
 *
 * @throws SteleError `projection-changed` or `projection-not-built`, unless that is to be ignored
 */
export function prepareInline(
  projection: ProjectionParts,
): (parts: StoreParts, changed: 'refuse' | 'ignore') => Promise<void> {
  return async (parts, changed) => {
    const state = await prepareTables(parts, projection, 'inline');
    if (changed === 'ignore') return;
    if (state === 'changed' || state === 'other-mode') throw projectionChanged(projection.name);
    if (state === 'not-built') throw projectionNotBuilt(projection.name);
  };
}

/** The names under which the events that a projection takes are stored. */
export function storedTypes({
  aggregates,
  handles,
}: ProjectionParts): Pick<Filter, 'categories' | 'types'> {
  return filterOf({ aggregates, handles, metadata: undefined });
}
