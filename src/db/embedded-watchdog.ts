import { spawn } from 'node:child_process';

/** Ends a server whose owner is gone. */
export interface Watchdog {
  /** Names the server's process, or `undefined` when there is none to end. */
  guard(pid: number | undefined): void;
  /** Calls the watchdog off, once nothing is left for it to clean. */
  release(): void;
}

/**
 * A shell that waits for the end of this process, which closes the pipe between them: the only sign
 * that a crash and `kill -9` give too, and one that needs no global exit hooks. It then ends the
 * server that was named last, and removes the directory if that is a temporary one.
 */
export function startWatchdog(directory: string, temporary: boolean): Watchdog {
  const script = `
    pid=
    while read -r line; do pid=$line; done
    if [ -n "$pid" ]; then
      kill -QUIT "$pid"
      while [ -e "$1/data/postmaster.pid" ] && kill -0 "$pid"; do sleep 0.1; done
    fi
    [ "$2" = keep ] || rm -rf "$1"`;
  // Detached, since Ctrl+C in a terminal reaches every process of the group.
  const shell = spawn('sh', ['-c', script, 'sh', directory, temporary ? 'remove' : 'keep'], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  // A missing or killed watchdog is no reason to bring its owner down.
  shell.on('error', () => undefined);
  shell.stdin.on('error', () => undefined);
  shell.unref();
  return {
    guard: (pid) => void shell.stdin.write(`${pid ?? ''}\n`),
    release: () => void shell.kill('SIGKILL'),
  };
}
