import { validate as isUuid } from 'uuid';
import { openDatabase } from '../db/client.ts';
import { ensureMigrated } from '../db/migrate.ts';
import type { AnyAggregate, CommandOf } from '../types/aggregate.ts';
import { SteleError } from '../types/errors.ts';
import type { NewEvent } from '../types/recorded-event.ts';
import type { Stream } from '../types/stream.ts';
import { appender, type Append } from './append.ts';
import { causationTree } from './correlation.ts';
import { executeCommands, type ExecuteSettings, type Execution } from './execute.ts';
import { groupCommit } from './group-commit.ts';
import { blameOf, historyOf } from './history.ts';
import { inFlight } from './in-flight.ts';
import { loadState, type LoadMoment } from './load.ts';
import { notifier } from './notifier.ts';
import { setParts, type StoreParts } from './parts.ts';
import { flatten, storePages, streamPages } from './read.ts';
import { registry } from './registry.ts';
import { rowCodec, storedNameOf, type EventRow } from './row-codec.ts';
import { signals } from './signals.ts';
import { stateCache } from './state.ts';
import { storeStatements } from './statements.ts';
import type {
  AppendOptions,
  Events,
  ReadOptions,
  ReadStreamOptions,
  Store,
  StoreOptions,
  UpTo,
} from './store.ts';
import { turns } from './turns.ts';
import type { Waitable } from './waitable.ts';

/**
 * Opens an event store on a Postgres database, and migrates the database if it has to be.
 *
 * @throws SteleError `invalid-argument` when two aggregates share a category or a stored event name
 * @throws SteleError `unknown-aggregate` when a projection is made of an aggregate that is not given
 * @throws SteleError `schema-newer-than-library`, `schema-not-migrated` or `migration-failed`
 * @throws DatabaseError when the database cannot be reached
 *
 * @example
 * ```ts
 * await using store = await openStore({ connection: process.env.DATABASE_URL, aggregates: [User] });
 * await store.execute(User, '42', 'changeEmail', { email: 'new@example.com' });
 * ```
 */
export async function openStore<const Aggregates extends readonly AnyAggregate[]>(
  options: StoreOptions<Aggregates>,
): Promise<Store> {
  // The type of the tuple says that no two collide; what is left is a list of aggregates.
  const aggregates = options.aggregates as readonly AnyAggregate[];
  const inline = options.projections ?? [];
  const { aggregateOf, streamIdOf } = registry(aggregates, inline);
  const schema = options.schema ?? 'stele';
  const statements = storeStatements(schema);
  const database = openDatabase(options);
  try {
    await ensureMigrated(database, schema, options.migrate ?? true);
  } catch (error) {
    await database.close();
    throw error;
  }

  const codec = rowCodec(aggregates);
  const groups = groupCommit(database, statements);
  const cache = stateCache(options.cachedStates ?? 1_000);
  const reader = { database, statements, codec };
  const hub = signals();
  const notify = notifier(database, statements, schema);
  hub.onAppended(() => {
    notify.appended();
  });
  const appendQuietly = appender({ ...reader, groups, inline, aggregateOf });
  const append: Append = async (drafts, settings) => {
    const stored = await appendQuietly(drafts, settings);
    hub.appended();
    return stored;
  };
  const executor = { ...reader, cache, append, turns: turns() };

  const operations = inFlight();
  const parts: StoreParts = {
    ...reader,
    schema,
    aggregates,
    aggregateOf,
    inline,
    signals: hub,
    inFlight: operations,
    beforeClose: new Set(),
  };
  try {
    for (const projection of inline) {
      await projection.prepare?.(parts, options.changedProjections ?? 'refuse');
    }
  } catch (error) {
    await database.close();
    throw error;
  }

  let closed: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closed ??= (async () => {
      await Promise.all([...parts.beforeClose].map((task) => task()));
      await operations.close();
      await notify.close();
      await database.close();
    })());
  const { run, runAround } = operations;
  const refuseWaiting = ({ transaction, waitFor }: AppendOptions): void => {
    if (transaction === undefined || waitFor === undefined) return;
    throw new SteleError(
      'invalid-argument',
      'What is appended in a transaction of yours is handled after that has committed: leave `waitFor` out, and wait for the position then.',
    );
  };
  const waitUntil = async (
    targets: readonly Waitable[] = [],
    position: number | undefined,
  ): Promise<void> => {
    // What runs in the append's transaction has handled it.
    const behind = targets.filter((target) => !inline.some(({ name }) => name === target.name));
    if (position === undefined) return;
    await Promise.all(behind.map((target) => target.waitUntil(parts, position)));
  };
  // Only a projection's handlers are the application's own code inside an append.
  const runAppend = inline.length === 0 ? run : runAround;

  const execute = async (
    aggregate: AnyAggregate,
    id: string,
    commands: readonly CommandOf<AnyAggregate>[],
    settings: ExecuteSettings & AppendOptions,
  ): Promise<Execution> => {
    refuseWaiting(settings);
    const streamId = streamIdOf(aggregate, id);
    const done = await executeCommands(executor, aggregate, streamId, commands, settings);
    if (done.ok) await waitUntil(settings.waitFor, done.position);
    return done;
  };

  // Rows and untyped values become an aggregate's own types here and nowhere else: the codec decodes
  // by the aggregate that owns the category, and streamIdOf makes sure that it is the one given.
  const untyped: UntypedStore = {
    append: ({ streamId }, events, settings = {}) =>
      runAppend(async () => {
        refuseWaiting(settings);
        const { expectedVersion = 'any', metadata } = settings;
        const drafts = [{ streamId, events, expectedVersion, metadata }];
        const [stored] = await append(drafts, settings);
        await waitUntil(settings.waitFor, stored?.position);
        return stored;
      }),
    appendAll: (appends, settings = {}) =>
      runAppend(async () => {
        refuseWaiting(settings);
        const drafts = appends.map(({ stream, events, expectedVersion = 'any', metadata }) => ({
          streamId: stream.streamId,
          events,
          expectedVersion,
          metadata,
        }));
        const stored = await append(drafts, settings);
        await waitUntil(settings.waitFor, Math.max(...stored.map(({ position }) => position)));
        return stored;
      }),
    load: (aggregate, id, moment = {}) =>
      run(async () => loadState(executor, aggregate, streamIdOf(aggregate, id), moment)),
    execute: (aggregate, id, name, input, settings = {}) =>
      runAround(async () => {
        const commands = [{ category: aggregate.category, name, input }];
        return execute(aggregate, id, commands, settings);
      }),
    executeAll: (aggregate, id, commands, settings = {}) =>
      runAround(async () => execute(aggregate, id, commands, settings)),
    readStream: (aggregate, id, range = {}) =>
      flatten(streamPages(reader, streamIdOf(aggregate, id), range)),
    read: ({ aggregates: only, types, after = 0, limit = Number.MAX_SAFE_INTEGER, signal } = {}) =>
      flatten(
        storePages(reader, {
          after,
          limit,
          signal,
          categories: only?.map(({ category }) => aggregateOf(category).category) ?? null,
          types: types === undefined ? null : storedNames(only ?? aggregates, types),
        }),
        signal,
      ),
    event: (id) =>
      run(async () => {
        if (!isUuid(id)) return undefined;
        const [row] = await database.read<EventRow>(statements.eventById, [id]);
        return row === undefined ? undefined : codec(row);
      }),
    correlation: (correlationId) => run(() => causationTree(reader, correlationId)),
    history: (aggregate, id, upTo) => historyOf(reader, aggregate, streamIdOf(aggregate, id), upTo),
    blame: (aggregate, id, upTo) =>
      run(async () => blameOf(reader, aggregate, streamIdOf(aggregate, id), upTo)),
    close,
    [Symbol.asyncDispose]: close,
  };
  const store = untyped as unknown as Store;
  setParts(store, parts);
  return store;
}

/** {@link Store} without the aggregates' own types. */
interface UntypedStore extends AsyncDisposable {
  append(
    stream: Stream,
    events: readonly NewEvent[],
    settings?: AppendOptions & ExecuteSettings,
  ): Promise<unknown>;
  appendAll(
    appends: readonly (Pick<ExecuteSettings, 'metadata' | 'expectedVersion'> & {
      readonly stream: Stream;
      readonly events: readonly NewEvent[];
    })[],
    settings?: AppendOptions,
  ): Promise<unknown>;
  load(aggregate: AnyAggregate, id: string, moment?: LoadMoment): Promise<unknown>;
  execute(
    aggregate: AnyAggregate,
    id: string,
    name: string,
    input: unknown,
    settings?: ExecuteSettings & AppendOptions,
  ): Promise<unknown>;
  executeAll(
    aggregate: AnyAggregate,
    id: string,
    commands: readonly CommandOf<AnyAggregate>[],
    settings?: ExecuteSettings & AppendOptions,
  ): Promise<unknown>;
  readStream(aggregate: AnyAggregate, id: string, range?: ReadStreamOptions): Events<unknown>;
  read(options?: ReadOptions<AnyAggregate, string>): Events<unknown>;
  event(id: string): Promise<unknown>;
  correlation(correlationId: string): Promise<unknown>;
  history(aggregate: AnyAggregate, id: string, upTo?: UpTo): Events<unknown>;
  blame(aggregate: AnyAggregate, id: string, upTo?: UpTo): Promise<unknown>;
  close(): Promise<void>;
}

/** The names that event types are stored under: each aggregate that declares one has its own. */
function storedNames(aggregates: readonly AnyAggregate[], types: readonly string[]): string[] {
  return types.flatMap((type) => {
    const names = aggregates.flatMap(({ events }) => {
      const definition = Object.hasOwn(events, type) ? events[type] : undefined;
      return definition === undefined ? [] : [storedNameOf(type, definition)];
    });
    if (names.length > 0) return names;
    throw new SteleError(
      'invalid-argument',
      `No aggregate that is read from declares an event '${type}'.`,
    );
  });
}
