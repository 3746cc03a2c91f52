import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { until } from './subscriptions.ts';

/** A PgBouncer in transaction mode between the tests and the server. */
export interface PgBouncer extends AsyncDisposable {
  /** The same database, through it. */
  readonly connectionString: string;
}

const program = 'pgbouncer';

/** What is missing where the tests of it cannot run; `undefined` where they can. */
export async function missingPgBouncer(): Promise<string | undefined> {
  try {
    await promisify(execFile)(program, ['--version'], { env: searched });
    return undefined;
  } catch {
    return 'there is no pgbouncer: apt-get install pgbouncer';
  }
}

/** Debian puts it where only root looks. */
const searched = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin` };

/**
 * Starts it on a free port. Each transaction may get another session of the server, of which there are
 * so many.
 */
export async function startPgBouncer(
  connectionString: string,
  { sessions = 8 } = {},
): Promise<PgBouncer> {
  const target = new URL(connectionString);
  const directory = await mkdtemp(join(tmpdir(), 'stele-pgbouncer-'));
  const port = await freePort();
  const file = join(directory, 'pgbouncer.ini');
  const password = decodeURIComponent(target.password);
  const server = [
    `host=${target.hostname}`,
    `port=${target.port || '5432'}`,
    `user=${decodeURIComponent(target.username)}`,
    ...(password === '' ? [] : [`password=${password}`]),
  ];
  await writeFile(
    file,
    `[databases]
* = ${server.join(' ')}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = ${sessions}
max_client_conn = 200
`,
  );
  // It refuses to run as root, and then has to be able to read this.
  const isRoot = process.getuid?.() === 0;
  await chmod(directory, 0o755);
  const child = spawn(program, ['-q', ...(isRoot ? ['-u', 'nobody'] : []), file], {
    stdio: 'ignore',
    env: searched,
  });
  const url = new URL(connectionString);
  url.hostname = '127.0.0.1';
  url.port = String(port);
  await until(
    () => answers(url.href),
    (yes) => yes,
  );
  return {
    connectionString: url.href,
    [Symbol.asyncDispose]: async () => {
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
      await rm(directory, { recursive: true });
    },
  };
}

async function answers(connectionString: string): Promise<boolean> {
  const client = new pg.Client({ connectionString });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
