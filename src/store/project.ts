import type { Database } from '../db/client.ts';
import { ProjectionError, SteleError } from '../types/errors.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import { categoryOf } from '../types/stream.ts';
import { causedBy, handlersPath, runHandler } from './ambient.ts';
import { FailedEvent, type InlineProjection, type Transaction } from './inline.ts';
import type { Statements } from './statements.ts';

/** What projecting works with. */
export interface ProjectorParts {
  readonly database: Database;
  readonly statements: Statements;
}

/**
 * Runs the handlers of inline projections for what an append has stored, in its transaction.
 *
 * Projections whose tables are the application's go first, together, event by event. Each of the others
 * then gets all its events. It runs under the search path of its own schema, and the statement that
 * sets that path is its fence: it does so only while the tables are those of this definition. It also
 * locks `projections` against the exchange of tables by a rebuild, until the transaction ends.
 *
 * @param restore - whether somebody else goes on in this transaction, with the search path it had
 * @throws ProjectionError for what a handler throws
 * @throws SteleError `projection-changed` or `projection-not-built`
 */
export async function projectInline(
  parts: ProjectorParts,
  projections: readonly InlineProjection[],
  events: readonly RecordedEvent[],
  transaction: Transaction,
  restore: boolean,
): Promise<void> {
  const path = searchPath(parts, transaction);
  const together = projections.filter((projection) => !isApart(projection));
  if (together.length > 0) {
    await path.leave();
    for (const event of events) {
      for (const projection of together) {
        if (wants(projection, event)) await apply(projection, event, transaction, path.session());
      }
    }
  }
  for (const projection of projections.filter(isApart)) {
    const wanted = events.filter((event) => wants(projection, event));
    if (wanted.length === 0) continue;
    if (projection.tables === undefined) await path.leave();
    else await path.enter(projection.name, projection.tables.fingerprint);
    await applyAll(projection, wanted, transaction, path.session());
  }
  if (restore) await path.restore();
}

function isApart({ tables, applyAll }: InlineProjection): boolean {
  return tables !== undefined || applyAll !== undefined;
}

function wants({ handles }: InlineProjection, { streamId, type }: RecordedEvent): boolean {
  return handles(categoryOf(streamId), type);
}

async function apply(
  projection: InlineProjection,
  event: RecordedEvent,
  transaction: Transaction,
  session: string | undefined,
): Promise<void> {
  const run = (): Promise<void> => projection.apply(event, transaction);
  try {
    await causedBy(event, () => runHandler(run, session));
  } catch (cause) {
    throw failed(projection, event, cause);
  }
}

async function applyAll(
  projection: InlineProjection,
  events: readonly RecordedEvent[],
  transaction: Transaction,
  session: string | undefined,
): Promise<void> {
  const [first] = events;
  if (projection.applyAll === undefined || first === undefined || events.length === 1) {
    for (const event of events) await apply(projection, event, transaction, session);
    return;
  }
  const run = projection.applyAll;
  try {
    await runHandler(() => run(events, transaction), session);
  } catch (cause) {
    throw failed(projection, first, cause);
  }
}

function failed({ name }: InlineProjection, event: RecordedEvent, cause: unknown): unknown {
  return cause instanceof FailedEvent
    ? new ProjectionError(name, cause.event, cause.cause)
    : new ProjectionError(name, event, cause);
}

/** Where the transaction looks for tables. */
interface SearchPath {
  /** The session's own path, as far as it had to be told. */
  session(): string | undefined;
  /** Puts a projection's schema before the session's own path. */
  enter(projection: string, fingerprint: string): Promise<void>;
  /** Goes back to the session's own path. */
  leave(): Promise<void>;
  /** Goes back to the path that was set at the beginning. */
  restore(): Promise<void>;
}

/** An append in a handler begins under the path of that handler's projection, not the session's own. */
function searchPath(
  { database, statements }: ProjectorParts,
  transaction: Transaction,
): SearchPath {
  let session = handlersPath();
  let atFirst: string | undefined;
  let isOwn = session === undefined;
  return {
    session: () => session,
    enter: async (projection, fingerprint) => {
      const values = [projection, fingerprint, session ?? null];
      const [row] = await database.on<[string]>(transaction, statements.enterProjection, values);
      if (row === undefined) throw await refusal(database, statements, transaction, projection);
      atFirst ??= row[0];
      session ??= row[0];
      isOwn = false;
    },
    leave: async () => {
      if (isOwn || session === undefined) return;
      const [row] = await database.on<[string]>(transaction, statements.setSearchPath, [session]);
      atFirst ??= row?.[0];
      isOwn = true;
    },
    restore: async () => {
      if (atFirst === undefined) return;
      await database.on(transaction, statements.setSearchPath, [atFirst]);
    },
  };
}

async function refusal(
  database: Database,
  statements: Statements,
  transaction: Transaction,
  name: string,
): Promise<SteleError> {
  const rows = await database.on<[string]>(transaction, statements.projectionMode, [name]);
  return rows.length === 0 ? projectionNotBuilt(name) : projectionChanged(name);
}

/** There are no tables, and events that should be in them. */
export function projectionNotBuilt(name: string): SteleError {
  return new SteleError(
    'projection-not-built',
    `The store holds events of projection '${name}', but its tables were never built. ` +
      `Open the store with \`changedProjections: 'ignore'\`, and build them with rebuild(store, …).`,
  );
}

/** The tables were built by another definition, or while it ran in another mode. */
export function projectionChanged(name: string): SteleError {
  return new SteleError(
    'projection-changed',
    `The tables of projection '${name}' were not built by this definition. Where it is the newer one, ` +
      `open the store with \`changedProjections: 'ignore'\`, and rebuild(store, …); otherwise deploy the newer one here, too.`,
  );
}
