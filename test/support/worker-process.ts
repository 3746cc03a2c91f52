import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A process that runs until it is ended. */
export interface WorkerProcess extends AsyncDisposable {
  readonly pid: number;
  /** Resolves when it has written this line, or has written it before. */
  says(line: string): Promise<void>;
  /** Gives it a line to read. */
  tell(line: string): void;
  signal(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT' | 'SIGTERM'): void;
  readonly exited: Promise<number | null>;
}

/**
 * Starts a script in a process of its own. The script is a module that may import `stele` and `pg`;
 * `process.env.CONNECTION` is the connection string, and it should write `ready` when it is.
 */
export async function startWorkerProcess(
  script: string,
  connectionString: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<WorkerProcess> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', '--input-type', 'module', '--eval', script],
    {
      cwd: new URL('../../', import.meta.url),
      env: { ...process.env, ...environment, CONNECTION: connectionString },
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  const { pid } = child;
  if (pid === undefined) throw new Error('The process could not be started.');
  // A test that runs out of time ends nothing, and a process that was stopped does not end by itself.
  const kill = (): boolean => child.kill('SIGKILL');
  process.once('exit', kill);
  const said = new Set<string>();
  const listeners = new Set<() => void>();
  createInterface(child.stdout).on('line', (line) => {
    said.add(line);
    for (const listener of listeners) listener();
  });
  child.stdin.on('error', () => undefined);
  let hasExited = false;
  const exited = new Promise<number | null>((resolve) => {
    child.once('exit', (code) => {
      hasExited = true;
      for (const listener of listeners) listener();
      resolve(code);
    });
  });
  const started: WorkerProcess = {
    pid,
    says: (line) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (said.has(line)) resolve();
          else if (hasExited) reject(new Error(`It ended before it said '${line}'.`));
          else return;
          listeners.delete(look);
        };
        listeners.add(look);
        look();
      }),
    tell: (line) => {
      child.stdin.write(`${line}\n`);
    },
    signal: (signal) => {
      child.kill(signal);
    },
    exited,
    [Symbol.asyncDispose]: async () => {
      kill();
      await exited;
      process.off('exit', kill);
    },
  };
  await started.says('ready');
  return started;
}
