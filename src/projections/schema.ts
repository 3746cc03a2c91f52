import { randomBytes } from 'node:crypto';
import { DatabaseError } from '../db/client.ts';
import { quoteIdentifier } from '../db/identifier.ts';
import { hasState, sqlstate } from '../db/sqlstate.ts';
import type { Transaction } from '../store/inline.ts';
import { SteleError } from '../types/errors.ts';

/** The Postgres schemas that a projection's tables may be in. */
export interface SchemaNames {
  /** What readers see. */
  readonly live: string;
  /** What a rebuild fills. */
  readonly shadow: string;
  /** What was live before the last rebuild. */
  readonly kept: string;
}

/** The longest name of a projection, in bytes. */
const longestName = 30;

/** What a schema's name may take, less the longest of the endings below. */
const longestBase = 56 - '__then_000000'.length;

/**
 * @throws SteleError `invalid-argument` for what is no name of a projection. Two underscores are kept
 * for the endings of schema names, so that no projection's schema is another one's shadow
 */
export function checkProjectionName(name: string): void {
  if (typeof name === 'string' && /^[\w.-]+$/u.test(name) && !name.includes('__')) {
    if (name.length <= longestName) return;
  }
  throw new SteleError(
    'invalid-argument',
    `A projection's name is 1 to ${longestName} letters, digits, '_', '-' or '.', without '__', but got ${JSON.stringify(name)}.`,
  );
}

/**
 * @throws SteleError `invalid-argument` when the names of the store's schema and of the projection are
 * too long together
 */
export function schemaNames(storeSchema: string, name: string): SchemaNames {
  const live = `${storeSchema}_${name}`;
  if (Buffer.byteLength(live) > longestBase) {
    throw new SteleError(
      'invalid-argument',
      `The tables of projection '${name}' would be in a schema '${live}', but its name may have ${longestBase} bytes, so that a rebuild can add to it. ` +
        'Shorten the name of the projection or of the store’s schema.',
    );
  }
  return { live, shadow: `${live}__new`, kept: `${live}__old` };
}

/** A name for a schema that nobody else uses and that is gone with its transaction. */
export function throwAwaySchema(storeSchema: string, name: string): string {
  return `${schemaNames(storeSchema, name).live}__then_${randomBytes(3).toString('hex')}`;
}

/** What `search_path` is set to, so that a schema's tables are found first, then what was found before. */
export function searchPathOf(schemaName: string, before = ''): string {
  return [quoteIdentifier(schemaName), ...(before === '' ? [] : [before])].join(', ');
}

/**
 * Puts a schema in front of the session's search path, for the rest of the transaction.
 *
 * @returns the search path before
 */
export async function enterSchema(transaction: Transaction, schemaName: string): Promise<string> {
  const { rows } = await transaction.query<{ path: string }>(
    `with former as materialized (select current_setting('search_path') as path)
     select path,
       set_config('search_path', concat_ws(', ', $1::text, nullif(path, '')), true) from former`,
    [searchPathOf(schemaName)],
  );
  return rows[0]?.path ?? '';
}

/** Gives the transaction the search path that it had. */
async function restoreSearchPath(transaction: Transaction, path: string): Promise<void> {
  await transaction.query(`select set_config('search_path', $1, true)`, [path]);
}

/**
 * Makes a schema and the tables in it, as part of the transaction. The roles of the store may use them:
 * who writes events also writes what is made of them.
 *
 * @param tables - SQL
 * @throws DatabaseError when the database refuses
 */
export async function createTables(
  transaction: Transaction,
  schemaName: string,
  tables: string,
  storeSchema: string,
): Promise<void> {
  const schema = quoteIdentifier(schemaName);
  try {
    await transaction.query(`create schema ${schema}`);
    const path = await enterSchema(transaction, schemaName);
    await transaction.query(tables);
    await restoreSearchPath(transaction, path);
    await grant(transaction, schema, storeSchema);
  } catch (error) {
    throw new DatabaseError(`Making the tables of schema '${schemaName}'`, error, adviceFor(error));
  }
}

function adviceFor(error: unknown): string | undefined {
  if (hasState(error, sqlstate.insufficientPrivilege)) {
    return 'Grant the role CREATE on the database, or open the store once with one that has it.';
  }
  return hasState(error, sqlstate.duplicateSchema)
    ? 'Nothing says that this schema is a projection’s: rename it, or drop it.'
    : undefined;
}

/** Roles belong to the server: they may be missing, where whoever migrated could not make them. */
async function grant(transaction: Transaction, schema: string, storeSchema: string): Promise<void> {
  const [reader, writer] = [`${storeSchema}_reader`, `${storeSchema}_writer`];
  const { rows } = await transaction.query<{ name: string }>(
    'select rolname as name from pg_catalog.pg_roles where rolname = any ($1)',
    [[reader, writer]],
  );
  for (const { name } of rows) {
    const role = `"${name.replaceAll('"', '""')}"`;
    const rights = name === writer ? 'select, insert, update, delete' : 'select';
    await transaction.query(`
      grant usage on schema ${schema} to ${role};
      grant ${rights} on all tables in schema ${schema} to ${role};
      grant usage on all sequences in schema ${schema} to ${role}`);
  }
}

/** Removes a schema and all that is in it, if it is there. */
export async function dropSchema(transaction: Transaction, schemaName: string): Promise<void> {
  await transaction.query(`drop schema if exists ${quoteIdentifier(schemaName)} cascade`);
}
