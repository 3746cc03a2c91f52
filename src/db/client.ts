import pg from 'pg';
import { SteleError } from '../types/errors.ts';
import { columnTypes, type Statement } from './statement.ts';
import { isConnectionLoss, isServerError, isTransient } from './sqlstate.ts';
import { reconnect, retry } from './retry.ts';
import { slots } from './slots.ts';

/**
 * What Stele needs of a connection: a `pg` client, or anything that answers like one, such as the
 * client below an ORM's transaction.
 */
export interface Queryable {
  query<Row extends unknown[]>(
    config: pg.QueryArrayConfig<unknown[]>,
  ): Promise<pg.QueryArrayResult<Row>>;
}

/** How to reach the database. */
export interface DatabaseOptions {
  /** A connection string, or `pg`'s options. Where neither this nor `pool` is given: `PGHOST` etc. */
  readonly connection?: string | pg.PoolConfig | undefined;
  /** A pool of the application's. It is not closed with the store. */
  readonly pool?: pg.Pool | undefined;
  /** Whether to use prepared statements; `false` for poolers that cannot carry them. */
  readonly prepare?: boolean | undefined;
}

/** A pool of connections, and the ways in which Stele uses them. */
export interface Database {
  /** How many connections there may be. */
  readonly size: number;
  /** Whether there is a connection to be had at once. */
  readonly hasFree: () => boolean;
  /** Runs one statement on any connection, once. */
  query<Row extends unknown[]>(statement: Statement, values: unknown[]): Promise<Row[]>;
  /** Runs one statement that only reads; again on another connection when this one is lost. */
  read<Row extends unknown[]>(statement: Statement, values: unknown[]): Promise<Row[]>;
  /** Runs one statement on a given connection. */
  on<Row extends unknown[]>(
    client: Queryable,
    statement: Statement,
    values: unknown[],
  ): Promise<Row[]>;
  /** Runs one statement that nobody waits for and that may be lost, such as when the pool ends. */
  tell(statement: Statement, values: unknown[]): Promise<void>;
  /**
   * Runs what holds a connection while code of the application runs in its transaction. All of these
   * together leave connections free, for what that code reads.
   */
  withSlot<T>(task: () => Promise<T>): Promise<T>;
  /** Lends a connection; it is thrown away if it comes back broken or in a transaction. */
  withClient<T>(task: (client: pg.PoolClient) => Promise<T>): Promise<T>;
  /** A connection beside the pool, which the caller ends. It may break at any time: listen to `error`. */
  connect(): Promise<pg.Client>;
  /** Ends the pool, if it was not given. */
  close(): Promise<void>;
}

/** An error that the database or the connection to it reported. The driver's error is `cause`. */
export class DatabaseError extends SteleError {
  declare readonly code: 'database';
  /** The SQLSTATE; `undefined` when the connection failed. */
  readonly sqlState: string | undefined;

  constructor(doing: string, cause: unknown, advice?: string) {
    const reason = `${doing} failed: ${reasonOf(cause)}`;
    super('database', advice === undefined ? reason : `${reason}. ${advice}`, { cause });
    this.sqlState = isServerError(cause) ? cause.code : undefined;
  }
}

/** An error of the database's as one of Stele's; Stele's own stay as they are. */
export function asDatabaseError(doing: string, error: unknown): SteleError {
  return error instanceof SteleError ? error : new DatabaseError(doing, error);
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  // A host with several addresses, such as localhost, fails with one error for each, and no message.
  if (cause.message === '' && cause instanceof AggregateError) {
    return cause.errors.map(reasonOf).join(', ');
  }
  return cause.message || cause.name;
}

/** Opens a pool, or uses the given one. No connection is made before it is needed. */
export function openDatabase(options: DatabaseOptions): Database {
  const { connection, prepare = true } = options;
  const pool =
    options.pool ??
    new pg.Pool({
      application_name: 'stele',
      keepAlive: true,
      ...(typeof connection === 'string' ? { connectionString: connection } : connection),
    });
  // A connection that dies while it is idle is taken out of the pool by the pool itself; without a
  // listener the event would end the process.
  pool.on('error', ignore);
  let closed = false;
  let inUse = 0;
  let onIdle: (() => void) | undefined;
  // A pool that ends forgets those who wait for a connection, so it must not end before they are done.
  const whileOpen = async <T>(task: () => Promise<T>): Promise<T> => {
    if (closed)
      throw new SteleError('store-closed', 'The store is closed, and so is its connection.');
    inUse += 1;
    try {
      return await task();
    } finally {
      inUse -= 1;
      if (inUse === 0) onIdle?.();
    }
  };

  const on = async <Row extends unknown[]>(
    client: Queryable,
    { name, text }: Statement,
    values: unknown[],
  ): Promise<Row[]> => {
    const config = prepare
      ? { name, text, values, rowMode: 'array' as const, types: columnTypes }
      : { text, values, rowMode: 'array' as const, types: columnTypes };
    const result = await client.query<Row>(config);
    return result.rows;
  };

  return {
    size: pool.options.max,
    withSlot: slots(Math.max(1, pool.options.max - 2)),
    hasFree: () =>
      !closed && !pool.ending && (pool.idleCount > 0 || pool.totalCount < pool.options.max),
    on,
    query: (statement, values) => whileOpen(() => on(pool, statement, values)),
    tell: (statement, values) =>
      on(pool, statement, values).then(
        () => undefined,
        () => undefined,
      ),
    read: async <Row extends unknown[]>(
      statement: Statement,
      values: unknown[],
    ): Promise<Row[]> => {
      try {
        return await retry(reconnect, mayReadAgain, () =>
          whileOpen(() => on<Row>(pool, statement, values)),
        );
      } catch (error) {
        throw asDatabaseError('Reading', error);
      }
    },
    withClient: (task) =>
      whileOpen(async () => {
        const client = await lend(pool);
        try {
          return await task(client);
        } finally {
          client.off('error', ignore);
          // Whatever happened, nobody else may get a connection that is still in a transaction.
          client.release(client.getTransactionStatus() !== 'I');
        }
      }),
    connect: async () => {
      const client = new pg.Client(pool.options);
      client.on('error', ignore);
      await client.connect();
      return client;
    },
    close: async () => {
      closed = true;
      if (inUse > 0) {
        await new Promise<void>((resolve) => {
          onIdle = resolve;
        });
      }
      // A pool of ours may lose idle connections until it has ended.
      if (options.pool === undefined) await pool.end();
      else pool.off('error', ignore);
    },
  };
}

/** Under a stricter isolation than usual, reading may collide with writing. */
function mayReadAgain(error: unknown): boolean {
  return isConnectionLoss(error) || isTransient(error);
}

/**
 * The same for a connection that dies while it is lent and no query runs on it. The pool takes its own
 * listener off when it lends: ours is put on in the same turn, since one chunk from the server may
 * hold both the end of the query before and the end of the connection.
 */
function lend(pool: pg.Pool): Promise<pg.PoolClient> {
  return new Promise((resolve, reject) => {
    pool.connect((error, client) => {
      if (client === undefined) {
        reject(error ?? new Error('The pool lent no connection.'));
        return;
      }
      client.on('error', ignore);
      resolve(client);
    });
  });
}

function ignore(): void {}
