import { readdir, readFile } from 'node:fs/promises';
import type pg from 'pg';
import { SteleError } from '../types/errors.ts';
import {
  asDatabaseError,
  DatabaseError,
  openDatabase,
  type Database,
  type DatabaseOptions,
} from './client.ts';
import { quoteIdentifier } from './identifier.ts';
import { hasState, isConnectionLoss, sqlstate } from './sqlstate.ts';
import { columnTypes } from './statement.ts';
import { inTransaction } from './transaction.ts';

/** One step of the schema's history. Never changed once it is released. */
export interface Migration {
  readonly number: number;
  readonly name: string;
  /** Its SQL for a given schema. */
  readonly sql: string;
}

/** What a migration run did. */
export interface MigrationReport {
  readonly schema: string;
  /** The names of the steps that this run applied; empty when there was nothing to do. */
  readonly applied: readonly string[];
  /** The number of the last step the database is at. */
  readonly version: number;
}

const folder = new URL('../../sql/migrations/', import.meta.url);
const defaultSchema = 'stele';

/** Every step, in order, for a schema. */
async function migrations(schema: string = defaultSchema): Promise<readonly Migration[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.sql')).toSorted();
  return Promise.all(
    files.map(async (file) => ({
      number: Number(file.slice(0, 4)),
      name: file.slice(0, -'.sql'.length),
      sql: forSchema(await readFile(new URL(file, folder), 'utf8'), schema),
    })),
  );
}

/**
 * The SQL that brings a database from one version to the newest, for those who run migrations with
 * their own tools.
 *
 * @param from - the version the database is at; 0 when Stele was never installed
 */
export async function migrationSql(
  options: { readonly schema?: string; readonly from?: number } = {},
): Promise<string> {
  const { schema = defaultSchema, from = 0 } = options;
  const steps = (await migrations(schema)).filter(({ number }) => number > from);
  const parts = steps.map((step) => `${step.sql.trimEnd()}\n\n${recordSql(step, schema)}`);
  return [`create schema if not exists ${quoteIdentifier(schema)};`, ...parts, ''].join('\n\n');
}

/**
 * Brings a database to the newest version. All steps run in one transaction, under a lock of the
 * schema: ten processes may call this at once, and one of them does the work.
 *
 * @throws SteleError `schema-newer-than-library` when the database was migrated by a newer Stele
 * @throws SteleError `migration-failed`, with the step's name; nothing was changed
 * @throws DatabaseError when the database cannot be reached
 */
export async function migrate(
  options: DatabaseOptions & { readonly schema?: string | undefined } = {},
): Promise<MigrationReport> {
  const database = openDatabase(options);
  try {
    return await applyMigrations(database, options.schema ?? defaultSchema);
  } finally {
    await database.close();
  }
}

/** {@link migrate} on a pool that is open already. */
async function applyMigrations(database: Database, schema: string): Promise<MigrationReport> {
  const steps = await migrations(schema);
  const work = inTransaction(database, async (client) => {
    // Whoever has waited for the lock must see what the one before has done, whatever isolation the
    // application has made its default.
    await client.query('set transaction isolation level read committed');
    await client.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [
      `stele:${schema}`,
    ]);
    const current = await currentVersion(client, schema);
    refuseNewer(schema, current, steps.length);
    const pending = steps.filter(({ number }) => number > current);
    // A schema that is there may be one that an administrator has made for this role, which may make
    // none itself; even `if not exists` would be refused then.
    if (current === 0 && !(await schemaExists(client, schema))) {
      await run(client, 'creating the schema', `create schema ${quoteIdentifier(schema)}`);
    }
    for (const step of pending) {
      await run(client, `migration ${step.name}`, `${step.sql};\n${recordSql(step, schema)}`);
    }
    return { schema, applied: pending.map(({ name }) => name), version: steps.length };
  });
  return work.catch((error: unknown) => {
    throw asDatabaseError('Migrating', error);
  });
}

/**
 * Makes sure that the database is at this library's version, migrating it if allowed.
 *
 * @throws SteleError `schema-not-migrated`, `schema-newer-than-library` or `migration-failed`
 */
export async function ensureMigrated(
  database: Database,
  schema: string,
  allowed: boolean,
): Promise<void> {
  const newest = (await migrations(schema)).length;
  const current = await database
    .withClient((client) => currentVersion(client, schema))
    .catch((error: unknown) => {
      if (hasState(error, sqlstate.insufficientPrivilege)) {
        throw new DatabaseError(
          `Reading schema '${schema}'`,
          error,
          `Grant the role ${schema}_writer to the login.`,
        );
      }
      throw isConnectionLoss(error)
        ? new DatabaseError(
            'Connecting to PostgreSQL',
            error,
            'Is it running, and is it what `connection` names (without one: PGHOST, PGPORT and so on)? For development, `stele/embedded` starts one.',
          )
        : asDatabaseError('Opening the store', error);
    });
  refuseNewer(schema, current, newest);
  if (current === newest) return;
  if (!allowed) {
    throw new SteleError(
      'schema-not-migrated',
      `Schema '${schema}' is at version ${current}, but this library needs ${newest}. ` +
        'Run migrate() first, or open the store without `migrate: false`.',
    );
  }
  await applyMigrations(database, schema);
}

async function schemaExists(client: pg.ClientBase, schema: string): Promise<boolean> {
  const found = await client.query('select from pg_catalog.pg_namespace where nspname = $1', [
    schema,
  ]);
  return found.rowCount === 1;
}

async function currentVersion(client: pg.ClientBase, schema: string): Promise<number> {
  const table = `${quoteIdentifier(schema)}.migrations`;
  // Not by to_regclass(): it may answer from this session's cache of names, which does not yet know of
  // what another migration made while this one waited for the lock. Reading the catalog renews it.
  const found = await client.query(
    `select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relname = 'migrations'`,
    [schema],
  );
  if (found.rowCount === 0) return 0;
  const newest = await client.query<{ number: number | null }>({
    text: `select max(number) as number from ${table}`,
    types: columnTypes,
  });
  return newest.rows[0]?.number ?? 0;
}

function refuseNewer(schema: string, current: number, newest: number): void {
  if (current <= newest) return;
  throw new SteleError(
    'schema-newer-than-library',
    `Schema '${schema}' is at version ${current}, but this library knows versions up to ${newest}. ` +
      'Update the package `stele` to the version that migrated it.',
  );
}

async function run(client: pg.ClientBase, doing: string, sql: string): Promise<void> {
  try {
    await client.query(sql);
  } catch (error) {
    const advice = hasState(error, sqlstate.insufficientPrivilege)
      ? ' The role may not do this: run the migration once as the owner of the database, then open the store with `migrate: false`.'
      : '';
    const reason = error instanceof Error ? error.message : String(error);
    throw new SteleError('migration-failed', `${doing} failed: ${reason}.${advice}`, {
      cause: error,
    });
  }
}

function recordSql({ number, name }: Migration, schema: string): string {
  return `insert into ${quoteIdentifier(schema)}.migrations (number, name) values (${number}, '${name}');`;
}

/**
 * The files are written for a schema named "stele". In them that name, quoted, stands for the schema,
 * and the names of the two roles for its roles. Bodies of functions end at `$$`, so a name that holds
 * that needs another fence.
 */
function forSchema(sql: string, schema: string): string {
  if (schema === defaultSchema) return sql;
  const quoted = quoteIdentifier(schema);
  const inLiteral = (name: string): string => name.replaceAll("'", "''");
  const fence = `$${'_'.repeat(schema.length)}$`;
  // In one pass: what is put in may itself look like what is sought.
  return sql.replace(/\$\$|'stele_(writer|reader)'|'?"stele"/g, (found, role?: string) => {
    if (found === '$$') return fence;
    if (role !== undefined) return `'${inLiteral(schema)}_${role}'`;
    return found.startsWith("'") ? `'${inLiteral(quoted)}` : quoted;
  });
}
