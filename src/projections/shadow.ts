import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { asDatabaseError } from '../db/client.ts';
import { inTransaction } from '../db/transaction.ts';
import type { StoreParts } from '../store/parts.ts';
import { startWorker } from '../subscriptions/worker.ts';
import { SteleError } from '../types/errors.ts';
import { shadowConsumer, shadowName, shadowPrefix } from './async.ts';
import type { Projection } from './definition.ts';
import { projectionParts, type ProjectionParts } from './parts.ts';
import { rebuildStatements, type RebuildStatements } from './rebuild-statements.ts';
import { createTables, dropSchema, schemaNames } from './schema.ts';
import { projectionStatements } from './statements.ts';
import { storedTypes } from './tables.ts';

/** How far a rebuild has come. */
export interface RebuildProgress {
  /** `building` up to where the store was when it began, `catching-up` with what came meanwhile, … */
  readonly phase: 'building' | 'catching-up' | 'swapping' | 'done';
  /** How many events have been handled, by this and earlier attempts. */
  readonly handled: number;
  /** How many there are to handle, as far as is known. */
  readonly total: number;
  /** Events a second, since this attempt began. */
  readonly rate: number;
}

export interface BuildOptions {
  /** Hears of the progress about five times a second. */
  readonly onProgress?: ((progress: RebuildProgress) => void) | undefined;
  /** Cancels it: what was built is dropped, and the live tables stay as they are. */
  readonly signal?: AbortSignal | undefined;
  /**
   * How the projection runs from then on; as before unless given, or inline where the store was opened
   * with it.
   */
  readonly mode?: 'inline' | 'async' | undefined;
  /** As in `openRuntime`. */
  readonly leaseMs?: number | undefined;
}

/** What works on a projection's shadow. */
export interface ShadowParts {
  readonly parts: StoreParts;
  readonly projection: ProjectionParts & { readonly tables: string };
  readonly statements: RebuildStatements;
  readonly mode: 'inline' | 'async';
  /** In how many parts it is filled; tables that were kept go on in those that they had. */
  readonly partitions: number;
  readonly options: BuildOptions;
  readonly meter: Meter;
  /** When the live tables were built; another time says that somebody has exchanged them since. */
  readonly liveBuiltAt: number | undefined;
}

/** Counts what is handled, for the progress. */
interface Meter {
  handled: number;
  total: number;
  /** How many earlier attempts had handled. */
  before: number;
  readonly startedAt: number;
}

/** What is known of a projection. */
export type ProjectionRow = [
  mode: 'inline' | 'async',
  fingerprint: string,
  shadowFingerprint: string | null,
  keptFingerprint: string | null,
  keptCheckpoints: string | null,
  builtAt: number,
];

const reportMs = 200;

/**
 * Makes the shadow of a projection's tables, or takes one up again that this definition has begun.
 *
 * @throws SteleError `invalid-argument` for a projection without tables of its own
 * @throws SteleError `rebuild-running` when another definition is being built at this moment
 */
export async function openShadow(
  parts: StoreParts,
  given: Projection,
  options: BuildOptions,
  origin: 'built' | 'kept' = 'built',
): Promise<ShadowParts> {
  const projection = projectionParts(given);
  const { name, tables, fingerprint } = projection;
  if (tables === undefined) {
    throw new SteleError(
      'invalid-argument',
      `Projection '${name}' has no tables of its own to build again: declare them as \`tables\`.`,
    );
  }
  const { database, schema, inline } = parts;
  const statements = rebuildStatements(schema);
  const { shadow } = schemaNames(schema, name);
  const shadowOf = shadowName(name, fingerprint);
  type Opened = Pick<ShadowParts, 'mode' | 'liveBuiltAt' | 'partitions'>;
  const work = inTransaction(database, async (client): Promise<Opened> => {
    await database.on(client, projectionStatements(schema).lockProjection, [schema, name]);
    const wanted =
      options.mode ?? (inline.some((item) => item.name === name) ? 'inline' : undefined);
    await database.on(client, statements.insertRow, [name, wanted ?? 'async']);
    const [row] = await database.on<ProjectionRow>(client, statements.lockRow, [name]);
    const mode = wanted ?? row?.[0] ?? 'async';
    const known = await database.on(client, statements.checkpoints, [shadowOf]);
    const fits = known.length > 0 && (origin === 'kept' || known.length === projection.partitions);
    const partitions = fits ? known.length : projection.partitions;
    const opened = { mode, partitions, liveBuiltAt: row?.[5] };
    const [exists] = await database.on<[boolean]>(client, statements.schemaExists, [shadow]);
    if (row?.[2] === fingerprint && exists?.[0] === true && fits) {
      await database.on(client, statements.retryPartitions, [shadowOf]);
      return opened;
    }
    const others = [shadowPrefix(name), shadowOf];
    const [other] = await database.on<[string]>(client, statements.workersOn, others);
    if (other !== undefined) {
      throw new SteleError(
        'rebuild-running',
        `Projection '${name}' is being rebuilt by another definition, on ${other[0]}. Wait for it, or cancel it with cancelRebuild().`,
      );
    }
    await dropShadow(parts, statements, client, name);
    await createTables(client, shadow, tables, schema);
    await database.on(client, statements.openShadow, [name, fingerprint]);
    const { categories, types } = storedTypes(projection);
    const values = [shadowOf, partitions, categories, types];
    await database.on(client, statements.addSubscription, values);
    for (let partition = 0; partition < partitions; partition += 1) {
      await database.on(client, statements.addPartition, [shadowOf, partition, 0]);
    }
    return opened;
  });
  const opened = await work.catch((error: unknown) => {
    throw asDatabaseError(`Making the shadow of projection '${name}'`, error);
  });
  const meter = { handled: 0, total: 0, before: 0, startedAt: performance.now() };
  return { ...opened, parts, projection: { ...projection, tables }, statements, options, meter };
}

/** Drops what was built, and its checkpoints, as part of a transaction. */
export async function dropShadow(
  { database, schema }: StoreParts,
  statements: RebuildStatements,
  client: pg.PoolClient,
  name: string,
): Promise<void> {
  await database.on(client, statements.dropShadows, [shadowPrefix(name)]);
  await dropSchema(client, schemaNames(schema, name).shadow);
  await database.on(client, statements.closeShadow, [name]);
}

/** Counts what there is to handle up to a position, and what of it is done already. */
export async function countEvents(
  { parts: { database }, projection, statements, meter }: ShadowParts,
  upTo: number,
): Promise<void> {
  const { categories, types } = storedTypes(projection);
  const count = async (after: number, to: number): Promise<number> => {
    const values = [after, to, categories, types];
    const [row] = await database.read<[number]>(statements.countEvents, values);
    return row?.[0] ?? 0;
  };
  const name = shadowName(projection.name, projection.fingerprint);
  const rows = await database.read<[number, number]>(statements.checkpoints, [name]);
  const from = rows.length === 0 ? 0 : Math.min(...rows.map(([, checkpoint]) => checkpoint));
  meter.before = await count(0, from);
  meter.handled = meter.before;
  meter.total = meter.before + (await count(from, upTo));
}

/** Tells how far it is. */
export function report({ meter, options }: ShadowParts, phase: RebuildProgress['phase']): void {
  const { handled, before, total, startedAt } = meter;
  const seconds = Math.max(0.001, (performance.now() - startedAt) / 1_000);
  options.onProgress?.({
    phase,
    handled,
    total: Math.max(total, handled),
    rate: Math.round((handled - before) / seconds),
  });
}

/**
 * Fills the shadow up to a position, in all of its partitions. Other processes that rebuild the same
 * take part.
 *
 * @throws SteleError `rebuild-failed` when a handler fails, or somebody has cancelled it
 */
export async function fillShadow(
  shadow: ShadowParts,
  upTo: number,
  phase: 'building' | 'catching-up',
): Promise<void> {
  const { parts, projection, statements, options, meter } = shadow;
  const consumer = shadowConsumer(parts, projection, shadow.partitions);
  const counted = countHandled(consumer, (events) => {
    meter.handled += events;
  });
  const worker = await startWorker(parts, [counted], {
    leaseMs: options.leaseMs ?? 10_000,
    onNotice: () => undefined,
    until: upTo,
  });
  try {
    for (let pause = 5; !(await isFilled(shadow, consumer.name, upTo)); pause *= 2) {
      options.signal?.throwIfAborted();
      report(shadow, phase);
      await delay(Math.min(pause, reportMs));
    }
    report(shadow, phase);
  } finally {
    await worker.close();
  }
  const rows = await parts.database.read<[number, number]>(statements.checkpoints, [consumer.name]);
  if (rows.length === 0) throw cancelled(projection.name);
}

async function isFilled(
  { parts, projection, statements }: ShadowParts,
  name: string,
  upTo: number,
): Promise<boolean> {
  type Row = [partition: number, checkpoint: number, status: string, message: string | null];
  const rows = await parts.database.read<Row>(statements.checkpoints, [name]);
  if (rows.length === 0) throw cancelled(projection.name);
  const failed = rows.find(([, , status]) => status === 'stopped' || status === 'outdated');
  if (failed !== undefined) {
    throw new SteleError(
      'rebuild-failed',
      `Rebuilding projection '${projection.name}' failed behind position ${failed[1]}: ${failed[3] ?? failed[2]}. ` +
        'The live tables are as they were. A rebuild with the same definition goes on from here; with another one, it begins anew.',
    );
  }
  return rows.every(([, checkpoint]) => checkpoint >= upTo);
}

/** The shadow is gone: somebody has cancelled its building, or exchanged it for the live tables. */
export function cancelled(name: string): SteleError {
  return new SteleError('rebuild-failed', `The rebuild of projection '${name}' was cancelled.`);
}

type Counted = ReturnType<typeof shadowConsumer>;

/** The same consumer, whose handled events are counted. What is rolled back counts, too. */
function countHandled(consumer: Counted, count: (events: number) => void): Counted {
  const { handler } = consumer;
  if ('react' in handler) return consumer;
  return {
    ...consumer,
    handler:
      'batch' in handler
        ? {
            batch: async (events, transaction) => {
              await handler.batch(events, transaction);
              count(events.length);
            },
          }
        : {
            each: async (event, transaction) => {
              await handler.each(event, transaction);
              count(1);
            },
          },
  };
}
