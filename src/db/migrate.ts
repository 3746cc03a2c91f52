import { readdir, readFile } from 'node:fs/promises';
import type pg from 'pg';
import { SteleError } from '../types/errors.ts';
import { DatabaseError, openDatabase, type Database, type DatabaseOptions } from './client.ts';
import { quoteIdentifier } from './identifier.ts';
import { hasState, sqlstate } from './sqlstate.ts';
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
export async function migrations(schema: string = defaultSchema): Promise<readonly Migration[]> {
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
export async function applyMigrations(
  database: Database,
  schema: string,
): Promise<MigrationReport> {
  const steps = await migrations(schema);
  return inTransaction(database, async (client) => {
    await client.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [
      `stele:${schema}`,
    ]);
    const current = await currentVersion(client, schema);
    refuseNewer(schema, current, steps.length);
    const pending = steps.filter(({ number }) => number > current);
    if (current === 0) {
      await run(
        client,
        'creating the schema',
        `create schema if not exists ${quoteIdentifier(schema)}`,
      );
    }
    for (const step of pending) {
      await run(client, `migration ${step.name}`, `${step.sql};\n${recordSql(step, schema)}`);
    }
    return { schema, applied: pending.map(({ name }) => name), version: steps.length };
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
      throw new DatabaseError('Reading the version of the schema', error);
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

async function currentVersion(client: pg.ClientBase, schema: string): Promise<number> {
  const table = `${quoteIdentifier(schema)}.migrations`;
  const found = await client.query<{ exists: boolean }>(
    'select to_regclass($1) is not null as exists',
    [table],
  );
  if (found.rows[0]?.exists !== true) return 0;
  const newest = await client.query<{ number: number | null }>(
    `select max(number) as number from ${table}`,
  );
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
 * and the names of the two roles for its roles.
 */
function forSchema(sql: string, schema: string): string {
  if (schema === defaultSchema) return sql;
  const quoted = quoteIdentifier(schema);
  const inLiteral = (name: string): string => name.replaceAll("'", "''");
  return sql
    .replaceAll("'stele_writer'", () => `'${inLiteral(schema)}_writer'`)
    .replaceAll("'stele_reader'", () => `'${inLiteral(schema)}_reader'`)
    .replaceAll(`'"stele".`, () => `'${inLiteral(quoted)}.`)
    .replaceAll('"stele"', () => quoted);
}
