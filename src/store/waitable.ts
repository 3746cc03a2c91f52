import type { StoreParts } from './parts.ts';

/** How long to wait, and until when. */
export interface WaitOptions {
  /** The longest to wait; 5,000 unless given. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What handles events after they were committed, and can be waited for. */
export interface Waitable {
  readonly name: string;
  /** Resolves when everything up to the position has been handled. */
  readonly waitUntil: (parts: StoreParts, position: number, options?: WaitOptions) => Promise<void>;
}
