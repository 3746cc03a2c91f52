import pg from 'pg';
import { openStore, type Store } from 'stele';
import { User } from './user.ts';
import { Users, usersTable } from './users.ts';

/** The running service: its events, and the pool that its read model is queried with. */
export interface Accounts extends AsyncDisposable {
  readonly store: Store;
  readonly pool: pg.Pool;
}

/** Connects, and makes or migrates whatever tables are missing. */
export async function openAccounts(connectionString: string): Promise<Accounts> {
  const pool = new pg.Pool({ connectionString, application_name: 'accounts' });
  // An idle connection that breaks is replaced at the next query, but unheard it ends the process.
  pool.on('error', () => undefined);
  try {
    await pool.query(usersTable);
    const store = await openStore({ pool, aggregates: [User], projections: [Users] });
    const close = async (): Promise<void> => {
      await store.close();
      await pool.end();
    };
    return { store, pool, [Symbol.asyncDispose]: close };
  } catch (error) {
    await pool.end();
    throw error;
  }
}
