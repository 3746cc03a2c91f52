import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** A process of the benchmark's own. */
export interface Child extends AsyncDisposable {
  readonly process: ChildProcess;
}

/** Runs a file of this directory in a process of its own, with the same flags of Node's as this one. */
export function startChild(file: string, args: readonly string[]): Child {
  const child = fork(new URL(file, import.meta.url), args);
  const exited = once(child, 'exit');
  return {
    process: child,
    [Symbol.asyncDispose]: async () => {
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}

/** The next thing that it says. @throws Error when it ends before */
export async function heardFrom<Message>({ process: child }: Child): Promise<Message> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => {
      reject(new Error(`A process of the benchmark has ended with code ${code}.`));
    };
    child.once('exit', onExit);
    child.once('message', (message) => {
      child.off('exit', onExit);
      // Both ends are in this directory.
      resolve(message as Message);
    });
  });
}
