import { randomBytes } from 'node:crypto';
import type { TestDatabase } from './database.ts';

/** A login of a test's own. Roles belong to the server, so it has to go when the test ends. */
export interface TestRole extends AsyncDisposable {
  readonly name: string;
  /** Connects to the database as this role. */
  readonly connectionString: string;
}

/**
 * Makes a login.
 *
 * @param attributes - what follows `create role`, such as `in role stele_writer`
 */
export async function createTestRole(database: TestDatabase, attributes = ''): Promise<TestRole> {
  const name = `stele_test_role_${randomBytes(5).toString('hex')}`;
  await database.query(`create role ${name} login password 'secret' ${attributes}`);
  const url = new URL(database.connectionString);
  url.username = name;
  url.password = 'secret';
  return {
    name,
    connectionString: url.href,
    [Symbol.asyncDispose]: async () => {
      await database.query(`drop owned by ${name} cascade`);
      await database.query(`drop role ${name}`);
    },
  };
}
