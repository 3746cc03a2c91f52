import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, inject } from 'vitest';

import { databaseUrl, onServer } from './server.ts';

/** A database that nobody else uses. */
export interface TestDatabase extends AsyncDisposable {
  readonly connectionString: string;
  /** Runs one statement on a pool of the test's own and returns the rows. */
  query<Row extends pg.QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<Row[]>;
  /** Opens a session, which ends with the database at the latest. */
  connect(): Promise<pg.Client>;
  /** Fails when the code under test has left connections open, and names them. */
  drop(): Promise<void>;
}

/**
 * Clones the migrated template, which takes some 50 ms; `{ migrated: false }` gives an empty database.
 *
 * @example
 * ```ts
 * await using database = await createTestDatabase();
 * ```
 */
export async function createTestDatabase({
  migrated = true,
}: { readonly migrated?: boolean } = {}): Promise<TestDatabase> {
  const server = inject('server');
  const name = `${server.prefix}_${randomBytes(5).toString('hex')}`;
  await onServer(server.connectionString, (admin) =>
    admin.query(`create database ${name} template ${migrated ? server.template : 'template0'}`),
  );

  const connectionString = databaseUrl(server.connectionString, name);
  const pool = new pg.Pool({ connectionString, max: 4 });
  const clients = new Set<pg.Client>();
  // Tests kill connections; an idle one that dies is an 'error' event, which would end the process.
  pool.on('error', () => undefined);

  async function drop(): Promise<void> {
    await Promise.all([pool.end(), ...[...clients].map((client) => client.end())]);
    await onServer(server.connectionString, (admin) => dropUnused(admin, name));
  }
  return {
    connectionString,
    query: async <Row extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []) =>
      (await pool.query<Row>(sql, [...values])).rows,
    async connect() {
      const client = new pg.Client({ connectionString });
      client.on('error', () => undefined);
      await client.connect();
      clients.add(client);
      client.once('end', () => clients.delete(client));
      return client;
    },
    drop,
    [Symbol.asyncDispose]: drop,
  };
}

/** Postgres waits up to 5 s for sessions that are about to end, so what is left was leaked. */
async function dropUnused(admin: pg.Client, name: string): Promise<void> {
  try {
    await admin.query(`drop database ${name}`);
  } catch (error) {
    const objectInUse = '55006';
    if (!(error instanceof pg.DatabaseError && error.code === objectInUse)) throw error;
    const { rows } = await admin.query<{ session: string }>(
      `select format('%s %s: %s', application_name, state, query) as session
         from pg_stat_activity where datname = $1`,
      [name],
    );
    await admin.query(`drop database ${name} with (force)`);
    const list = rows.map(({ session }) => `\n- ${session}`).join('');
    throw new Error(`The test left ${rows.length} connections open:${list}`, { cause: error });
  }
}

/**
 * One database for all tests of a file or `describe` block, made before the first and dropped after
 * the last of them.
 *
 * @example
 * ```ts
 * const database = useDatabase();
 * test('…', async () => { await database.query('select 1'); });
 * ```
 */
export function useDatabase(options?: { readonly migrated?: boolean }): TestDatabase {
  let current: TestDatabase | undefined;
  const database = (): TestDatabase => {
    if (current === undefined) throw new Error('The database exists only while tests run.');
    return current;
  };
  const drop = async (): Promise<void> => {
    await current?.drop();
    current = undefined;
  };
  beforeAll(async () => {
    current = await createTestDatabase(options);
  });
  afterAll(drop);
  return {
    get connectionString() {
      return database().connectionString;
    },
    query: (sql, values) => database().query(sql, values),
    connect: () => database().connect(),
    drop,
    [Symbol.asyncDispose]: drop,
  };
}
