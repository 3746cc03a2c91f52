import pg from 'pg';
import { openRuntime, openStore, type Runnable, type Runtime, type Store } from 'stele';
import { SignUps } from './sign-ups.ts';
import { User } from './user.ts';
import { Users, usersTable } from './users.ts';

/** The running service: its events, what runs behind them, and the pool that its table is queried with. */
export interface Accounts extends AsyncDisposable {
  readonly store: Store;
  readonly runtime: Runtime;
  readonly pool: pg.Pool;
}

/**
 * Connects, makes or migrates whatever tables are missing, and starts what runs behind the appends.
 *
 * @param run - the sign-ups per day unless given
 */
export async function openAccounts(
  connectionString: string,
  run: readonly Runnable[] = [SignUps],
): Promise<Accounts> {
  const pool = new pg.Pool({ connectionString, application_name: 'accounts' });
  // An idle connection that breaks is replaced at the next query, but unheard it ends the process.
  pool.on('error', () => undefined);
  let store: Store | undefined;
  const close = async (): Promise<void> => {
    await store?.close(); // and with it what runs on it
    await pool.end();
  };
  try {
    await pool.query(usersTable);
    store = await openStore({ pool, aggregates: [User], projections: [Users] });
    const runtime = await openRuntime(store, { run });
    return { store, runtime, pool, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}
