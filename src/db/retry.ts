import { setTimeout as delay } from 'node:timers/promises';

/** How long to keep trying, and how fast. Times are in milliseconds. */
export interface RetryPolicy {
  /** The most attempts, the first included. */
  readonly attempts: number;
  /** The longest wait before the second attempt; it doubles with each further one. */
  readonly baseMs: number;
  readonly maximumMs: number;
}

/** For a lost connection: about ten seconds in all, enough for a server's restart or a failover. */
export const reconnect: RetryPolicy = { attempts: 14, baseMs: 20, maximumMs: 2_000 };

/** For transactions that were in each other's way. */
export const collide: RetryPolicy = { attempts: 12, baseMs: 5, maximumMs: 200 };

/**
 * The wait before attempt `attempt` (from 2), with full jitter, which spreads callers best.
 * Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
export function backoff(policy: RetryPolicy, attempt: number): number {
  return Math.random() * Math.min(policy.maximumMs, policy.baseMs * 2 ** (attempt - 2));
}

/** Waits before another attempt. */
export async function pause(policy: RetryPolicy, attempt: number): Promise<void> {
  await delay(backoff(policy, attempt));
}

/**
 * Runs `task` until it succeeds, fails for good, or the policy's attempts are used up; then its last
 * error is thrown.
 */
export async function retry<T>(
  policy: RetryPolicy,
  isRetryable: (error: unknown) => boolean,
  task: (attempt: number) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await task(attempt);
    } catch (error) {
      if (attempt >= policy.attempts || !isRetryable(error)) throw error;
      await pause(policy, attempt + 1);
    }
  }
}
