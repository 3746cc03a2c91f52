import type pg from 'pg';
import { SteleError } from '../types/errors.ts';
import type { Database } from './client.ts';

/** The connection did not outlive the task. `cause` is what the task threw, often because of that. */
export class LostConnectionError extends Error {
  override readonly name: string = 'LostConnectionError';

  constructor(cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`the connection was lost in a transaction: ${reason}`, { cause });
  }
}

/**
 * Runs `task` in a transaction of its own: committed when it resolves, rolled back when it throws.
 *
 * @param settings - more SQL for the first round trip, such as `set local`
 * @throws SteleError `transaction-lost` when the server answers COMMIT with a rollback: an error was
 * caught and swallowed inside, and Postgres had given the transaction up by then
 */
export function inTransaction<T>(
  database: Database,
  task: (client: pg.PoolClient) => Promise<T>,
  settings = '',
): Promise<T> {
  return database.withClient(async (client) => {
    // Appends rely on seeing what was committed while they waited for a lock.
    await client.query(`begin isolation level read committed;${settings}`);
    let result: T;
    try {
      result = await task(client);
    } catch (error) {
      // Where even this fails, the connection is thrown away and the server rolls back by itself.
      const isAlive = await client.query('rollback').then(
        () => true,
        () => false,
      );
      throw isAlive ? error : new LostConnectionError(error);
    }
    const { command } = await client.query('commit');
    if (command !== 'COMMIT') throw transactionLost();
    return result;
  });
}

/** What is thrown instead of pretending that something was stored. */
export function transactionLost(cause?: unknown): SteleError {
  return new SteleError(
    'transaction-lost',
    'The transaction was rolled back instead of committed: a statement in it had failed, and its error was caught. ' +
      'Let errors of SQL pass, or use a savepoint.',
    cause === undefined ? {} : { cause },
  );
}
