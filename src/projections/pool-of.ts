import { EventEmitter } from 'node:events';
import pg from 'pg';
import type { Transaction } from '../store/inline.ts';
import { SteleError } from '../types/errors.ts';

/**
 * A `pg.Pool` whose every connection is the given transaction, for libraries that want a pool. What they
 * do is part of the transaction. A transaction that they begin is a savepoint in it, so `begin` and
 * `commit` end nothing that is not theirs; `release()` and `end()` do nothing.
 *
 * Its queries throw SteleError `invalid-argument` for what a savepoint cannot do: another isolation
 * level, ending the transaction itself, or ending nested transactions in another order than the reverse.
 *
 * @example
 * ```ts
 * client: (transaction) => drizzle({ client: poolOf(transaction) }),
 * client: (transaction) => new Kysely<Tables>({ dialect: new PostgresDialect({ pool: poolOf(transaction) }) }),
 * ```
 */
export function poolOf(transaction: Transaction): pg.Pool {
  return new TransactionPool(transaction);
}

/** A pool by its class too, since Drizzle asks for that. It opens no connection, as `connect` is all that would. */
class TransactionPool extends pg.Pool {
  readonly #transaction: Transaction;
  readonly #savepoints: Savepoint[] = [];

  constructor(transaction: Transaction) {
    super();
    this.#transaction = transaction;
    // Overloads for each way to call it, and one body, which takes all of them.
    this.query = new TransactionClient(transaction, this.#savepoints).query as pg.Pool['query'];
  }

  override connect(): Promise<pg.PoolClient>;
  override connect(callback: ConnectCallback): void;
  override connect(callback?: ConnectCallback): Promise<pg.PoolClient> | void {
    const client = this.#lend();
    if (callback === undefined) return Promise.resolve(client);
    process.nextTick(() => callback(undefined, client, () => client.release()));
  }

  override end(): Promise<void>;
  override end(callback: () => void): void;
  override end(callback?: () => void): Promise<void> | void {
    if (callback === undefined) return Promise.resolve();
    process.nextTick(callback);
  }

  #lend(): pg.PoolClient {
    const client = new TransactionClient(this.#transaction, this.#savepoints);
    // Of a connection that a pool lends, libraries use `query`, `release` and the emitter's methods; the
    // rest would connect and end it, which is not theirs to do.
    return client as unknown as pg.PoolClient;
  }
}

type ConnectCallback = (
  error: Error | undefined,
  client: pg.PoolClient | undefined,
  done: (release?: unknown) => void,
) => void;

/** A transaction inside of the transaction. */
interface Savepoint {
  readonly name: string;
  readonly owner: TransactionClient;
}

/** Any of the ways to call `query`. */
type Query = (...args: readonly unknown[]) => unknown;

class TransactionClient extends EventEmitter {
  readonly query: Query;
  readonly #savepoints: Savepoint[];

  constructor(transaction: Transaction, savepoints: Savepoint[]) {
    super();
    this.#savepoints = savepoints;
    // The arguments are passed on as they came, but for the text of a command that ends or begins.
    const send = transaction.query.bind(transaction) as Query;
    this.query = (config, ...rest) => {
      const command = transactionCommand(textOf(config));
      if (command === undefined) return send(config, ...rest);
      const callback = rest.findLast((argument) => typeof argument === 'function');
      const text = this.#savepointSql(command);
      if (typeof text === 'string')
        return callback === undefined ? send(text) : send(text, callback);
      // A refusal is told as an error of the query's, whichever way that was asked for.
      if (callback === undefined) return Promise.reject(text);
      process.nextTick(callback, text);
      return undefined;
    };
  }

  /** Forgets the transactions that were left open: the savepoints end with the transaction. */
  release(): void {
    const left = this.#savepoints.filter(({ owner }) => owner !== this);
    this.#savepoints.splice(0, this.#savepoints.length, ...left);
  }

  #savepointSql(command: TransactionCommand): string | SteleError {
    if (command.kind === 'other') return refused(command.text);
    if (command.kind === 'begin') {
      const name = `stele_nested_${this.#savepoints.length + 1}`;
      this.#savepoints.push({ name, owner: this });
      return `savepoint ${name}`;
    }
    const last = this.#savepoints.at(-1);
    if (last?.owner !== this) return refused(command.text);
    this.#savepoints.pop();
    const release = `release savepoint ${last.name}`;
    return command.kind === 'commit' ? release : `rollback to savepoint ${last.name}; ${release}`;
  }
}

interface TransactionCommand {
  readonly kind: 'begin' | 'commit' | 'rollback' | 'other';
  readonly text: string;
}

function textOf(config: unknown): string {
  if (typeof config === 'string') return config;
  const isConfig = typeof config === 'object' && config !== null && 'text' in config;
  return isConfig && typeof config.text === 'string' ? config.text : '';
}

/** What a statement does to the transaction that it runs in; `undefined` for nearly all, which do nothing to it. */
function transactionCommand(sql: string): TransactionCommand | undefined {
  const start = sql.replace(/^(?:\s+|--[^\n]*\n|\/\*[\s\S]*?\*\/)+/u, '');
  if (!commands.test(start)) return undefined;
  const text = start.replace(/[\s;]+$/u, '');
  const words = text.toLowerCase().replaceAll(/\s+/gu, ' ');
  if (/^(?:begin(?: work| transaction)?|start transaction)$/u.test(words)) {
    return { kind: 'begin', text };
  }
  if (/^(?:commit|end)(?: work| transaction)?$/u.test(words)) return { kind: 'commit', text };
  if (/^(?:rollback|abort)(?: work| transaction)?$/u.test(words)) return { kind: 'rollback', text };
  return /^rollback(?: work| transaction)? to\b/u.test(words) ? undefined : { kind: 'other', text };
}

/** How every statement starts that begins or ends a transaction, or says how it is to run. */
const commands =
  /^(?:begin|start|commit|end|abort|rollback|prepare\s+transaction|set\s+transaction)\b/iu;

function refused(text: string): SteleError {
  return new SteleError(
    'invalid-argument',
    `\`${text}\` was refused: the transaction is Stele's, and ends when the handlers have run. ` +
      'A transaction inside of it is a savepoint: without settings, and ended before whatever surrounds it.',
  );
}
