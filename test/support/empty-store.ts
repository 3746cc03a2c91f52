import { afterEach } from 'vitest';

import type { TestDatabase } from './database.ts';

/**
 * Leaves nothing in the store after each test, so that a projection is new to it in the next one.
 * Transactions that a failed test has left open end first: they would be waited for.
 */
export function useEmptyStore(database: TestDatabase): void {
  afterEach(async () => {
    const client = await database.connect();
    await client.query(`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null;
      set stele.maintenance = 'on';
      truncate stele.events, stele.streams, stele.projections`);
    const { rows } = await client.query<{ name: string }>(
      `select nspname as name from pg_namespace where nspname like 'stele\\_%'`,
    );
    for (const { name } of rows) {
      await client.query(`drop schema ${client.escapeIdentifier(name)} cascade`);
    }
    await client.end();
  });
}
