import { setTimeout as delay } from 'node:timers/promises';
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
  let partitions: readonly number[] | undefined;
  for (let pause: number = pollMs[0]; ; pause = Math.min(pause * 2, pollMs[1])) {
    signal?.throwIfAborted();
    if (partitions?.every((partition) => signals.progressOf(name, partition) >= position)) return;
    const rows = await database.read<ProgressRow>(statements.progress, [name]);
    if (rows.length === 0) {
      throw new SteleError(
        'invalid-argument',
        `There is no subscription '${name}' to wait for: none has run on this store yet. What was appended is stored.`,
      );
    }
    partitions = rows.map(([partition]) => partition);
    const behind = rows.filter(
      ([partition, checkpoint]) =>
        Math.max(checkpoint, signals.progressOf(name, partition)) < position,
    );
    const [first] = behind;
    if (first === undefined) return;
    const stopped = behind.find(([, , status]) => status === 'stopped');
    if (stopped !== undefined) {
      throw new SubscriptionStoppedError(name, position, stopped[1], stopped[4] ?? '');
    }
    const left = started + timeoutMs - performance.now();
    if (left <= 0) {
      const [, checkpoint, status, subscriptionStatus] = first;
      const state = subscriptionStatus === 'paused' ? 'paused' : status;
      throw new WaitTimeoutError(name, position, checkpoint, state, timeoutMs);
    }
    await progressOr(parts, name, Math.min(pause, left), signal);
  }
}

/** Waits for progress in this process, but not for longer than a time. */
async function progressOr(
  { signals }: StoreParts,
  name: string,
  ms: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const end = new AbortController();
  const stop = (): void => {
    end.abort();
  };
  const stopListening = signals.onProgress((subscription) => {
    if (subscription === name) stop();
  });
  signal?.addEventListener('abort', stop);
  await delay(ms, undefined, { signal: end.signal }).catch(() => undefined);
  signal?.removeEventListener('abort', stop);
  stopListening();
}
