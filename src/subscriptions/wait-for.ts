import type { StoreParts } from '../store/parts.ts';
import type { WaitOptions } from '../store/waitable.ts';
import { SteleError, SubscriptionStoppedError, WaitTimeoutError } from '../types/errors.ts';
import { subscriptionStatements } from './statements.ts';

const defaultTimeoutMs = 5_000;
/** Between two questions to the database, for what another process runs. */
const pollMs = [5, 100] as const;

type ProgressRow = [
  partition: number,
  checkpoint: number,
  status: string,
  subscriptionStatus: string,
  message: string | null,
];

/**
 * Waits until a subscription has handled everything up to a position, in whichever process it runs.
 * What this process runs is known without asking the database.
 *
 * @throws WaitTimeoutError after `timeoutMs`
 * @throws SubscriptionStoppedError at once, when it has stopped before the position
 * @throws SteleError `invalid-argument` when there is no such subscription
 */
export async function waitUntilHandled(
  parts: StoreParts,
  name: string,
  position: number,
  { timeoutMs = defaultTimeoutMs, signal }: WaitOptions = {},
): Promise<void> {
  const { database, schema, signals } = parts;
  const statements = subscriptionStatements(schema);
  const started = performance.now();
  let pause: number = pollMs[0];
  // What runs here tells by itself; the database is then asked only whether it still does.
  let askAt = signals.positionOf(name) === undefined ? started : started + pollMs[1];
  for (;;) {
    signal?.throwIfAborted();
    if ((signals.positionOf(name) ?? -1) >= position) return;
    if (performance.now() >= askAt) {
      const rows = await database.read<ProgressRow>(statements.progress, [name]);
      const behind = furthestBehind(parts, rows, name, position);
      if (behind === undefined) return;
      const left = started + timeoutMs - performance.now();
      if (left <= 0) {
        const [, checkpoint, status, subscriptionStatus] = behind;
        const state = subscriptionStatus === 'paused' ? 'paused' : status;
        throw new WaitTimeoutError(name, position, checkpoint, state, timeoutMs);
      }
      askAt = performance.now() + Math.min(pause, left);
      pause = Math.min(pause * 2, pollMs[1]);
    }
    await handledOr(parts, name, position, { ms: askAt - performance.now(), signal });
  }
}

/** @throws SubscriptionStoppedError when what is behind has stopped */
function furthestBehind(
  { signals }: StoreParts,
  rows: readonly ProgressRow[],
  name: string,
  position: number,
): ProgressRow | undefined {
  if (rows.length === 0) {
    throw new SteleError(
      'invalid-argument',
      `There is no subscription '${name}' to wait for: none has run on this store yet. What was appended is stored.`,
    );
  }
  const behind = rows
    .filter(
      ([partition, checkpoint]) =>
        Math.max(checkpoint, signals.progressOf(name, partition)) < position,
    )
    .toSorted(([, a], [, b]) => a - b);
  const stopped = behind.find(([, , status]) => status === 'stopped');
  if (stopped === undefined) return behind[0];
  throw new SubscriptionStoppedError(name, position, stopped[1], stopped[4] ?? '');
}

/** Waits until it has been handled in this process, but not for longer than a time. */
async function handledOr(
  { signals }: StoreParts,
  name: string,
  position: number,
  { ms, signal }: { readonly ms: number; readonly signal: AbortSignal | undefined },
): Promise<void> {
  await new Promise<void>((resolve) => {
    const settle = (): void => {
      clearTimeout(timer);
      stopListening();
      signal?.removeEventListener('abort', settle);
      resolve();
    };
    const timer = setTimeout(settle, ms);
    const stopListening = signals.onProgress((subscription) => {
      if (subscription === name && (signals.positionOf(name) ?? -1) >= position) settle();
    });
    signal?.addEventListener('abort', settle);
  });
}
