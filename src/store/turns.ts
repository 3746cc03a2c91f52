/**
 * Turns at a stream. Commands of one process that get in each other's way go one after another, in
 * the order they came, instead of all deciding at once for one of them to win: with 64 of them on one
 * stream, the last had lost 63 times.
 *
 *     free ──(take)──▶ taken ──(release)──▶ taken by the next in line, or free
 *
 * A turn is advice. What keeps a stream right is the expected version; a turn only saves work, so it
 * may be skipped at any time, and must be wherever waiting for it could last forever:
 * - A command that holds a turn and executes another one, inside its `decide`, would wait for someone
 *   who may be waiting for it. So whatever runs inside a turn takes no further one.
 * - A circle that the call chain does not show, such as a `decide` that waits for what a worker
 *   executes, ends because nobody waits for longer than {@link patienceMs}.
 * - A command in a transaction of the caller's may hold locks that the one whose turn it is waits
 *   for, so it takes no turn.
 * Nobody who waits here holds a connection.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

/** A command's place at a stream. */
export interface Turn {
  /** Waits for the turn, where that is allowed and sensible; whether it has waited. */
  take(): Promise<boolean>;
  /** Runs what may execute other commands. */
  run<T>(task: () => T): T;
  release(): void;
}

export interface Turns {
  /** @param mayWait - whether the command may wait for others at all */
  at(streamId: string, mayWait: boolean): Turn;
  /** Whether somebody has the turn, or waits for it. */
  isTaken(streamId: string): boolean;
}

/** Far above the time that a line of honest commands takes; after it, one goes on without a turn. */
const patienceMs = 10_000;

// Not a state of any store's: it belongs to the call that is running, whatever stores it uses.
const insideTurn = new AsyncLocalStorage<true>();

export function turns(): Turns {
  /** Who waits, for each stream whose turn somebody has. */
  const lines = new Map<string, (() => void)[]>();

  /** Resolves to whether it is this one's turn, rather than that it has lost patience. */
  const wait = (streamId: string): Promise<boolean> => {
    const line = lines.get(streamId);
    if (line === undefined) {
      lines.set(streamId, []);
      return Promise.resolve(true);
    }
    return new Promise((resolve) => {
      const goOn = (): void => {
        clearTimeout(timer);
        resolve(true);
      };
      const timer = setTimeout(() => {
        line.splice(line.indexOf(goOn), 1);
        resolve(false);
      }, patienceMs);
      line.push(goOn);
    });
  };

  return {
    isTaken: (streamId) => lines.has(streamId),
    at: (streamId, mayWait) => {
      let held = false;
      return {
        take: async () => {
          if (held || !mayWait || insideTurn.getStore() === true) return false;
          held = await wait(streamId);
          return true;
        },
        run: (task) => (held ? insideTurn.run(true, task) : task()),
        release: () => {
          if (!held) return;
          held = false;
          const next = lines.get(streamId)?.shift();
          if (next === undefined) lines.delete(streamId);
          else next();
        },
      };
    },
  };
}
