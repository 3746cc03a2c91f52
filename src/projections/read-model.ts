import type pg from 'pg';
import { asDatabaseError, type Database } from '../db/client.ts';
import { quoteIdentifier } from '../db/identifier.ts';
import { inTransaction } from '../db/transaction.ts';
import type { Transaction } from '../store/inline.ts';
import { partsOf, type StoreParts } from '../store/parts.ts';
import type { EventRow } from '../store/row-codec.ts';
import type { Store } from '../store/store.ts';
import { SteleError } from '../types/errors.ts';
import type { Projection } from './definition.ts';
import { documentKey, type DocumentProjection } from './document-projection.ts';
import { documentReader, type Documents } from './document-reader.ts';
import { historyEnd, historyPages, type HistoryEnd, type PastMoment } from './history.ts';
import { projectionParts, type ProjectionParts } from './parts.ts';
import { replayEvents } from './replay.ts';
import { createTables, enterSchema, schemaNames, throwAwaySchema } from './schema.ts';
import { projectionStatements } from './statements.ts';

/** What a read model is read with: SQL, or for a document projection a reader of its documents. */
export type ModelOf<P extends Projection> =
  P extends DocumentProjection<infer Document> ? Documents<Document> : Transaction;

/** What a read model is made of: `'live'`, of every event there is now, or of those up to a moment. */
export type ReadMoment = 'live' | PastMoment;

/**
 * Reads the read model of a projection, all of one moment: in a transaction whose search path finds its
 * tables. It holds a connection meanwhile, so `read` should do nothing else.
 *
 * Without a moment, it reads the live tables, as far as they have come. With one, they are made anew
 * inside the transaction, which is rolled back, so that nothing of it stays: of all events (`'live'`), of
 * what was stored by a time (`at`), or up to a `position`. This takes as long as handling those events
 * does; it needs the right to make a schema, and not that the projection ever ran.
 *
 * @throws SteleError `projection-not-built` when there are no live tables
 * @throws SteleError `invalid-argument` for a projection whose tables are the application's
 *
 * @example
 * ```ts
 * const rows = await readModel(store, Users, async (sql) => (await sql.query('select * from users')).rows);
 * const ada = await readModel(store, Profiles, (profiles) => profiles.get('ada'), { at: yesterday });
 * ```
 */
export async function readModel<P extends Projection, T>(
  store: Store,
  projection: P,
  read: (model: ModelOf<P>) => Promise<T> | T,
  moment?: ReadMoment,
): Promise<T> {
  const parts = partsOf(store);
  const definition = projectionParts(projection);
  // ModelOf says the same of the type: what has this key is a document projection, and its handlers make
  // documents of its type.
  const modelOf = (sql: Transaction): ModelOf<P> =>
    (documentKey in projection ? documentReader(sql) : sql) as ModelOf<P>;
  return parts.inFlight.runAround(async () => {
    if (moment === undefined) {
      return readLive(parts, definition, async (sql) => read(modelOf(sql)));
    }
    const end = await historyEnd(parts, moment === 'live' ? {} : moment);
    return rolledBack(parts.database, async (sql) => {
      await build(parts, definition, end, sql).catch((error: unknown) => {
        throw asDatabaseError(`Building the read model of projection '${definition.name}'`, error);
      });
      return read(modelOf(sql));
    });
  });
}

/**
 * One snapshot for all that is read. The lock is taken first: an exchange of tables by a rebuild waits for
 * it, and so the snapshot is never older than the tables that it shows.
 */
async function readLive<T>(
  { database, schema }: StoreParts,
  { name, tables }: ProjectionParts,
  read: (sql: Transaction) => Promise<T>,
): Promise<T> {
  if (tables === undefined) throw withoutTables(name);
  const { live } = schemaNames(schema, name);
  const settings = `
    set transaction isolation level repeatable read, read only;
    lock table ${quoteIdentifier(schema)}.projections in access share mode`;
  const task = async (client: pg.PoolClient): Promise<T> => {
    const { projection } = projectionStatements(schema);
    const rows = await database.on(client, projection, [name]);
    if (rows.length === 0 || rows[0]?.[0] === '') throw neverRan(name);
    await enterSchema(client, live);
    return read(client);
  };
  return inTransaction(database, task, settings);
}

/** Whatever comes of the task, the transaction leaves nothing behind; where this process dies, neither. */
function rolledBack<T>(
  database: Database,
  task: (client: pg.PoolClient) => Promise<T>,
): Promise<T> {
  return database.withClient(async (client) => {
    await client.query('begin isolation level read committed');
    try {
      return await task(client);
    } finally {
      // A connection on which this fails is thrown away, and the server rolls back by itself.
      await client.query('rollback').catch(() => undefined);
    }
  });
}

/** Makes the tables and all that is in them, and leaves the search path there. */
async function build(
  parts: StoreParts,
  projection: ProjectionParts,
  end: HistoryEnd,
  client: pg.PoolClient,
): Promise<void> {
  const { name, tables } = projection;
  if (tables === undefined) throw withoutTables(name);
  const schema = throwAwaySchema(parts.schema, name);
  await createTables(client, schema, tables, parts.schema);
  await enterSchema(client, schema);
  const pages = historyPages(parts, projection, end, (statement, values) =>
    parts.database.on<EventRow>(client, statement, values),
  );
  for await (const events of pages) {
    await replayEvents(projection, events, client);
  }
}

function neverRan(name: string): SteleError {
  return new SteleError(
    'projection-not-built',
    `Projection '${name}' has no tables yet: run it, or read it with a moment, such as 'live', for which it need not run.`,
  );
}

function withoutTables(name: string): SteleError {
  return new SteleError(
    'invalid-argument',
    `The tables of projection '${name}' are the application's, which reads them itself. Give it \`tables\` for the rest.`,
  );
}
