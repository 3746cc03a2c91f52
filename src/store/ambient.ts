import { AsyncLocalStorage } from 'node:async_hooks';
import { SteleError } from '../types/errors.ts';
import type { Metadata } from '../types/metadata.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';

// Not a state of any store's: it belongs to the call that is running, whatever stores it uses.
// Of a batch of events that are handled one after another, it is that of the one that is being handled.
const ambient = new AsyncLocalStorage<Metadata | (() => Metadata)>();

/**
 * Gives metadata to everything that is appended inside `task`, through every `await`. What is given
 * to an append itself, or nearer to it, wins.
 *
 * @example
 * ```ts
 * app.use((request, next) =>
 *   withMetadata({ userId: request.user.id, correlationId: request.id }, next));
 * ```
 */
export function withMetadata<T>(metadata: Metadata, task: () => T): T {
  return ambient.run({ ...around(), ...given(metadata) }, task);
}

/**
 * Runs `task` as a consequence of an event: everything appended inside gets the event as its cause,
 * and its correlation. Handlers of projections run like this by themselves.
 */
export function causedBy<T>(event: RecordedEvent, task: () => T): T {
  return withMetadata(consequenceOf(event), task);
}

/**
 * {@link causedBy} for many events that are handled one after another: entering a context for each of
 * them would cost as much as reading it. `task` says which of them it handles.
 */
export function causedByEach<T>(task: (handles: (event: RecordedEvent) => void) => T): T {
  const outside = around();
  let current: RecordedEvent | undefined;
  const handles = (event: RecordedEvent): void => {
    current = event;
  };
  const metadata = (): Metadata =>
    current === undefined ? outside : { ...outside, ...consequenceOf(current) };
  return ambient.run(metadata, () => task(handles));
}

function consequenceOf({ metadata, id }: RecordedEvent): Metadata {
  return { causationId: id, correlationId: metadata.correlationId ?? id };
}

function around(): Metadata {
  const store = ambient.getStore() ?? {};
  return typeof store === 'function' ? store() : store;
}

/** The handler that a call came from. */
interface RunningHandler {
  /** Whether it is still running. */
  running: boolean;
  /** The session's own search path, where the handler runs under another one. */
  readonly path: string | undefined;
  /** Whether it handles history again, to make a read model of it. */
  readonly replays: boolean;
}

const handler = new AsyncLocalStorage<RunningHandler>();

/**
 * Runs a handler of a projection, whose transaction waits for it.
 *
 * @param path - the session's own search path, where the handler runs under another one
 */
export async function runHandler<T>(
  task: () => Promise<T>,
  path?: string,
  replays = false,
): Promise<T> {
  const run = { running: true, path, replays };
  try {
    return await handler.run(run, task);
  } finally {
    run.running = false;
  }
}

/** {@link runHandler} for history that was handled before: the handler may append nothing this time. */
export function runReplay<T>(task: () => Promise<T>): Promise<T> {
  return runHandler(task, undefined, true);
}

/** The session's own search path, where the running handler was given another one. */
export function handlersPath(): string | undefined {
  const run = handler.getStore();
  return run?.running === true ? run.path : undefined;
}

/** What a handler appended when it first saw an event is in the store. */
export function refuseInsideReplay(): void {
  const run = handler.getStore();
  if (run?.running !== true || !run.replays) return;
  throw new SteleError(
    'invalid-argument',
    'A handler of a projection has appended while its read model is built again, which would store events twice. ' +
      'Append in a subscription instead, which handles each event once.',
  );
}

/**
 * An append of its own inside a handler would wait for a stream or a connection that the handler's
 * transaction holds, while that waits for the handler: a circle that no database sees.
 */
export function refuseInsideHandler(): void {
  if (handler.getStore()?.running !== true) return;
  throw new SteleError(
    'invalid-argument',
    'An append or a command inside a handler of a projection has to be part of its transaction: pass `{ transaction }`, which the handler is given.',
  );
}

/** What {@link withMetadata} has put around the call, and what is given to the call itself. */
export function metadataAround(metadata: Metadata | undefined): Record<string, unknown> {
  return { ...around(), ...given(metadata) };
}

/** A key that is `undefined` is not given: it does not take away what is around. */
function given(metadata: Metadata | undefined): Metadata {
  return Object.fromEntries(
    Object.entries(metadata ?? {}).filter(([, value]) => value !== undefined),
  );
}
