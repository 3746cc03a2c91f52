import { setTimeout as delay } from 'node:timers/promises';
import { projectionConsumer } from '../projections/async.ts';
import type { Projection } from '../projections/definition.ts';
import { partsKey, projectionParts, type ProjectionParts } from '../projections/parts.ts';
import { dropExpired, rebuildWith } from '../projections/rebuild.ts';
import { prepareTables } from '../projections/tables.ts';
import { backoff, type RetryPolicy } from '../db/retry.ts';
import type { BuildOptions } from '../projections/shadow.ts';
import { partsOf, type StoreParts } from '../store/parts.ts';
import type { Store } from '../store/store.ts';
import type { Waitable, WaitOptions } from '../store/waitable.ts';
import { safePosition } from '../store/visibility.ts';
import type { Consumer, StartingPoint } from '../subscriptions/consumer.ts';
import { subscriptionControl, type ParkedSelection } from '../subscriptions/control.ts';
import type { Subscription } from '../subscriptions/subscription.ts';
import { waitUntilHandled } from '../subscriptions/wait-for.ts';
import { startWorker, type Notice, type Worker } from '../subscriptions/worker.ts';
import { isSteleError, SteleError } from '../types/errors.ts';
import { inspect, parkedEvents, type ParkedEvent, type SubscriptionStatus } from './inspect.ts';

/** What runs behind the appends: a subscription, a reaction, or a projection. */
export type Runnable = Subscription | Projection;

/** What {@link openRuntime} is given. */
export interface RuntimeOptions {
  /** What this process takes part in. Others may run the same: they share the work. */
  readonly run: readonly Runnable[];
  /**
   * After so many milliseconds without a sign of life, a process's partitions are taken over by others;
   * 10,000 unless given. A handler's transaction may stand still for no longer than this.
   */
  readonly leaseMs?: number | undefined;
  /**
   * What to do with a projection whose tables were built by another definition: `'refuse'` to start,
   * unless given; `'rebuild'` it in the background, while the tables that are there serve those who read;
   * or `'warn'`, and run it on them all the same.
   */
  readonly changedProjections?: 'refuse' | 'rebuild' | 'warn' | undefined;
  /** Hears of failures and of what holds everything up; Node's process warnings unless given. */
  readonly onNotice?: ((notice: RuntimeNotice) => void) | undefined;
}

/** Something that people should know of. */
export type RuntimeNotice =
  | Notice
  | { readonly kind: 'projection-changed' | 'rebuilt'; readonly projection: string }
  | { readonly kind: 'rebuild-failed'; readonly projection: string; readonly message: string };

/** Subscriptions and projections that this process runs. Made by {@link openRuntime}. */
export interface Runtime extends AsyncDisposable {
  /**
   * Resolves when everything up to a position has been handled, in whichever process it runs.
   *
   * @throws WaitTimeoutError after `timeoutMs`, 5,000 unless given
   * @throws SubscriptionStoppedError at once, when it has stopped before the position
   */
  waitFor(subject: Waitable | string, position: number, options?: WaitOptions): Promise<void>;
  /** Resolves when all that this process runs has handled everything that is committed by now. */
  caughtUp(options?: WaitOptions): Promise<void>;
  /** How everything that runs on this store is doing, in whichever process. */
  status(): Promise<readonly SubscriptionStatus[]>;
  /** The events that a subscription has set aside, in order; the first 100 unless `limit` is given. */
  parked(subject: Waitable | string, limit?: number): Promise<readonly ParkedEvent[]>;
  /** Has all processes let go of it, after what they are handling. It stays paused until resumed. */
  pause(subject: Waitable | string): Promise<void>;
  resume(subject: Waitable | string): Promise<void>;
  /**
   * Starts what has stopped again, at the event that failed.
   *
   * @returns how many partitions had stopped
   */
  retry(subject: Waitable | string): Promise<number>;
  /**
   * Has a subscription begin again at a position, which it then handles a second time. What was set
   * aside is forgotten. A projection is rebuilt instead.
   */
  reset(subject: Subscription | string, from: StartingPoint): Promise<void>;
  /**
   * Has events that were set aside handled again, in their order, by the process that owns their
   * partition. Those behind one that fails again go on waiting, and so does one that is asked for
   * alone until those before it are replayed or discarded.
   *
   * @returns how many were asked for
   */
  replay(subject: Waitable | string, selection?: ParkedSelection): Promise<number>;
  /**
   * Has events that were set aside forgotten. Those of a stream that are left wait for a replay.
   *
   * @returns how many were asked for
   */
  discard(subject: Waitable | string, selection?: ParkedSelection): Promise<number>;
  /** Finishes what is being handled, and lets go of everything, so that others go on at once. */
  close(): Promise<void>;
}

const shortestLeaseMs = 100;
/** Tables that a rebuild has replaced are dropped so soon after their time. */
const sweepEveryMs = 60 * 60 * 1_000;

/**
 * Starts subscriptions, reactions and asynchronous projections on a store, and runs them until it is
 * closed, or the store is. Several processes may run the same: each partition is worked on by one of
 * them, and taken over by another one when it dies.
 *
 * @throws SteleError `projection-changed` when the tables of a projection were built by another
 * definition, unless `changedProjections` says otherwise
 * @throws SteleError `invalid-argument` for a wrong option, a name used twice, or an aggregate that the
 * store does not have
 * @throws DatabaseError when the database cannot be reached
 *
 * @example
 * ```ts
 * await using runtime = await openRuntime(store, { run: [SignUps, Welcome] });
 * const { position } = await store.append(User.stream('42'), [created]);
 * await runtime.waitFor(SignUps, position);
 * ```
 */
export async function openRuntime(store: Store, options: RuntimeOptions): Promise<Runtime> {
  const parts = partsOf(store);
  const { leaseMs = 10_000, onNotice = warn } = options;
  checkOptions(parts, options);
  const consumers: Consumer[] = [];
  const toRebuild: Projection[] = [];
  for (const runnable of options.run) {
    const consumer = await consumerFor(
      parts,
      runnable,
      options.changedProjections ?? 'refuse',
      onNotice,
    );
    if (consumer === undefined)
      toRebuild.push(runnable as Projection); // only a projection has tables
    else consumers.push(consumer);
  }
  const worker =
    options.run.length === 0
      ? undefined
      : await startWorker(parts, consumers, { leaseMs, onNotice });
  const sweep = (): Promise<void> => dropExpired(parts).catch(() => undefined);
  const sweeping = sweep();
  const sweeper = setInterval(() => void sweep(), sweepEveryMs).unref();
  const stopping = new AbortController();
  const rebuilding = toRebuild.map((projection) =>
    rebuildInBackground(parts, worker, projection, { leaseMs, signal: stopping.signal, onNotice }),
  );
  const close = async (): Promise<void> => {
    stopping.abort(new SteleError('store-closed', 'The runtime is closed.'));
    clearInterval(sweeper);
    await Promise.all([sweeping, ...rebuilding]);
    await worker?.close();
  };
  const names = options.run.map(({ name }) => name);
  return runtimeOf(parts, worker, names, close);
}

const passing: RetryPolicy = { attempts: 0, baseMs: 500, maximumMs: 30_000 };

/** Whether something is in the way of a rebuild for now. */
function mayPass(error: unknown): boolean {
  return (
    isSteleError(error, 'database') ||
    isSteleError(error, 'read-stalled') ||
    isSteleError(error, 'rebuild-running')
  );
}

async function rebuildPatiently(
  parts: StoreParts,
  projection: Projection,
  options: BuildOptions & { readonly signal: AbortSignal },
): Promise<void> {
  for (let attempt = 2; ; attempt += 1) {
    try {
      await rebuildWith(parts, projection, options, { onAbort: 'leave', origin: 'built' });
      return;
    } catch (error) {
      if (options.signal.aborted || !mayPass(error)) throw error;
      const wait = backoff(passing, Math.min(attempt, 12));
      await delay(wait, undefined, { signal: options.signal });
    }
  }
}

/** Takes a projection up when its tables are those of its definition. */
async function rebuildInBackground(
  parts: StoreParts,
  worker: Worker | undefined,
  projection: Projection,
  options: {
    readonly leaseMs: number;
    readonly signal: AbortSignal;
    readonly onNotice: (notice: RuntimeNotice) => void;
  },
): Promise<void> {
  const { name } = projection;
  const { onNotice, signal, leaseMs } = options;
  try {
    await rebuildPatiently(parts, projection, { signal, leaseMs, mode: 'async' });
    await worker?.add(await projectionConsumer(parts, projectionParts(projection), false));
    onNotice({ kind: 'rebuilt', projection: name });
  } catch (error) {
    if (signal.aborted) return;
    const message = error instanceof Error ? error.message : String(error);
    onNotice({ kind: 'rebuild-failed', projection: name, message });
  }
}

function runtimeOf(
  parts: StoreParts,
  worker: Worker | undefined,
  names: readonly string[],
  end: () => Promise<void>,
): Runtime {
  const control = subscriptionControl(parts);
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    parts.beforeClose.delete(close);
    return (closed ??= end());
  };
  parts.beforeClose.add(close);
  /** What was changed in the database is to be noticed at once, here and elsewhere. */
  const changed = async <T>(change: Promise<T>): Promise<T> => {
    const result = await change;
    await worker?.refresh();
    await worker?.tell();
    return result;
  };
  const { run } = parts.inFlight;
  return {
    waitFor: (subject, position, wait) =>
      run(() => waitUntilHandled(parts, nameOf(subject), position, wait)),
    caughtUp: (wait) =>
      run(async () => {
        const position = await safePosition(parts.database, parts.statements, {});
        await Promise.all(names.map((name) => waitUntilHandled(parts, name, position, wait)));
      }),
    status: () => run(() => inspect(parts)),
    parked: (subject, limit = 100) => run(() => parkedEvents(parts, nameOf(subject), limit)),
    pause: (subject) => run(() => changed(control.pause(nameOf(subject)))),
    resume: (subject) => run(() => changed(control.resume(nameOf(subject)))),
    retry: (subject) => run(() => changed(control.retry(nameOf(subject)))),
    reset: (subject, from) => run(() => changed(control.reset(nameOf(subject), from))),
    replay: (subject, selection) => run(() => changed(control.replay(nameOf(subject), selection))),
    discard: (subject, selection) =>
      run(() => changed(control.discard(nameOf(subject), selection))),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** What is to be run; `undefined` for a projection that has to be rebuilt first. */
async function consumerFor(
  parts: StoreParts,
  runnable: Runnable,
  changed: 'refuse' | 'rebuild' | 'warn',
  onNotice: (notice: RuntimeNotice) => void,
): Promise<Consumer | undefined> {
  if (!(partsKey in runnable)) return runnable;
  const projection: ProjectionParts = projectionParts(runnable);
  const state = await prepareTables(parts, projection, 'async');
  if (state === 'changed' || state === 'other-mode') {
    if (changed === 'refuse' || (changed === 'warn' && state === 'other-mode')) {
      throw new SteleError(
        'projection-changed',
        `The tables of projection '${projection.name}' ${state === 'changed' ? 'were built by another definition than the one given' : 'are kept inline, by the appends'}. ` +
          "Rebuild it with rebuild(), have it rebuilt in the background with `changedProjections: 'rebuild'`" +
          (state === 'changed'
            ? ", or run it on them as they are with `changedProjections: 'warn'`. Where only the compiler has changed the text of its handlers, give it a `version`."
            : '.'),
      );
    }
    onNotice({ kind: 'projection-changed', projection: projection.name });
    if (changed === 'rebuild') return undefined;
  }
  return projectionConsumer(parts, projection, changed === 'warn');
}

function checkOptions(parts: StoreParts, { run, leaseMs = shortestLeaseMs }: RuntimeOptions): void {
  if (run.length > 0 && parts.database.size < 3) {
    throw new SteleError(
      'invalid-argument',
      `What runs behind the appends needs a pool of at least 3 connections, for its transactions and for what its handlers read, but this one has ${parts.database.size}.`,
    );
  }
  const names = run.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new SteleError('invalid-argument', `Two of those to run are named '${twice}'.`);
  }
  for (const { name, aggregates } of run) {
    if (parts.inline.some((inline) => inline.name === name)) {
      throw new SteleError(
        'invalid-argument',
        `Projection '${name}' runs inline in this store already. Leave it out of \`run\`, or of the store's \`projections\`.`,
      );
    }
    for (const aggregate of aggregates) {
      if (parts.aggregateOf(aggregate.category) === aggregate) continue;
      throw new SteleError(
        'unknown-aggregate',
        `'${name}' is made of another aggregate of category '${aggregate.category}' than the store has. Use one and the same value.`,
      );
    }
  }
  if (!Number.isFinite(leaseMs) || leaseMs < shortestLeaseMs) {
    throw new SteleError(
      'invalid-argument',
      `A lease has at least ${shortestLeaseMs} milliseconds, but got ${leaseMs}.`,
    );
  }
}

function nameOf(subject: Waitable | string): string {
  return typeof subject === 'string' ? subject : subject.name;
}

function warn(notice: RuntimeNotice): void {
  // Trying again is the ordinary course of things, and to be seen in the status.
  if (notice.kind === 'retrying' || notice.kind === 'rebuilt') return;
  process.emitWarning(textOf(notice), { type: 'SteleWarning', code: `stele:${notice.kind}` });
}

function textOf(notice: RuntimeNotice): string {
  switch (notice.kind) {
    case 'stopped':
      return `'${notice.subscription}' has stopped: ${notice.message}`;
    case 'parked':
      return `'${notice.subscription}' has set an event aside: ${notice.message}`;
    case 'retrying':
      return `'${notice.subscription}' tries an event again: ${notice.message}`;
    case 'outdated':
      return `'${notice.subscription}' has met something newer than this process's code, and leaves it to others.`;
    case 'projection-changed':
      return `The tables of projection '${notice.projection}' were built by another definition.`;
    case 'rebuilt':
      return `Projection '${notice.projection}' has been rebuilt.`;
    case 'rebuild-failed':
      return `Projection '${notice.projection}' could not be rebuilt: ${notice.message}`;
    case 'stalled': {
      const list = notice.blockers.map(
        ({ pid, application, ageMs }) =>
          `pid ${pid} ('${application}', open for ${Math.round(ageMs)} ms)`,
      );
      return `Subscriptions wait for transactions that have appended and are still open: ${list.join(', ')}`;
    }
  }
}
