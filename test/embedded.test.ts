import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { describe, expect, test } from 'vitest';

import { startEmbeddedPostgres } from 'stele/embedded';

describe('an embedded server', () => {
  test('is Postgres with UTF-8, the C locale and durable commits', async () => {
    await using server = await startEmbeddedPostgres();
    const rows = await query(
      server.connectionString,
      `select current_setting('fsync') as fsync, current_setting('server_encoding') as encoding,
              current_setting('listen_addresses') as addresses, datcollate as collation
         from pg_database where datname = current_database()`,
    );
    expect(rows).toEqual([
      { fsync: 'on', encoding: 'UTF8', addresses: '127.0.0.1', collation: 'C' },
    ]);
  });

  test('takes settings, except where it listens', async () => {
    await using server = await startEmbeddedPostgres({
      settings: { max_connections: '7', listen_addresses: '*' },
    });
    const rows = await query(
      server.connectionString,
      `select current_setting('max_connections') as connections,
              current_setting('listen_addresses') as addresses`,
    );
    expect(rows).toEqual([{ connections: '7', addresses: '127.0.0.1' }]);
  });

  test('refuses a client without the password', async () => {
    await using server = await startEmbeddedPostgres();
    const url = new URL(server.connectionString);
    url.password = 'guessed';
    const invalidPassword = '28P01';
    await expect(query(url.href, 'select 1')).rejects.toMatchObject({ code: invalidPassword });
  });

  test('keeps committed data when it is killed and restarted', async () => {
    await using server = await startEmbeddedPostgres();
    await query(server.connectionString, 'create table kept as select 1 as value');
    const session = new pg.Client(server.connectionString);
    const lost = new Promise<Error>((resolve) => session.on('error', resolve));
    await session.connect();
    await session.query('begin; insert into kept values (2)');

    await server.kill();
    await lost;
    await expect(query(server.connectionString, 'select 1')).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    });

    await server.restart();
    expect(await query(server.connectionString, 'select value from kept')).toEqual([{ value: 1 }]);
  });

  test('restarts while it runs, and ends a busy query when killed', async () => {
    await using server = await startEmbeddedPostgres();
    await server.restart();
    const busy = query(server.connectionString, 'select count(*) from generate_series(1, 1e12)');
    const failure = busy.catch((error: unknown) => error);
    await query(server.connectionString, 'select 1');
    await server.kill();
    expect(await failure).toBeInstanceOf(Error);
  });

  test('has a port of its own when several start at once', async () => {
    const servers = await Promise.all([1, 2, 3].map(() => startEmbeddedPostgres()));
    try {
      expect(new Set(servers.map(({ port }) => port)).size).toBe(3);
      for (const { connectionString } of servers) {
        expect(await query(connectionString, 'select 1 as one')).toEqual([{ one: 1 }]);
      }
    } finally {
      await Promise.all(servers.map((server) => server.stop()));
    }
  });

  test('removes its temporary directory when stopped, and stays stopped', async () => {
    const server = await startEmbeddedPostgres();
    expect(existsSync(server.directory)).toBe(true);
    await Promise.all([server.stop(), server.stop()]);
    expect(existsSync(server.directory)).toBe(false);
    await expect(server.restart()).rejects.toMatchObject({ code: 'embedded-postgres' });
  });

  test('removes its temporary directory after it was killed', async () => {
    const server = await startEmbeddedPostgres();
    await server.kill();
    await server.stop();
    expect(existsSync(server.directory)).toBe(false);
  });

  test('keeps a directory that was chosen, for the next start', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'stele-kept-'));
    try {
      const first = await startEmbeddedPostgres({ directory });
      await query(first.connectionString, 'create table kept as select 1 as value');
      await first.stop();
      await using second = await startEmbeddedPostgres({ directory });
      expect(await query(second.connectionString, 'table kept')).toEqual([{ value: 1 }]);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  test.each(['exit', 'exception', 'SIGINT', 'SIGTERM', 'SIGKILL'] as const)(
    'ends with its process: %s',
    async (way) => {
      const owner = spawnOwner(way);
      const { connectionString, directory } = await owner.server;
      const session = new pg.Client(connectionString);
      await session.connect();
      const lost = new Promise((resolve) => session.on('error', resolve));
      if (way.startsWith('SIG')) owner.process.kill(way as NodeJS.Signals);
      else owner.process.stdin.end();
      await lost;
      await expect.poll(() => existsSync(directory), { timeout: 10_000 }).toBe(false);
    },
  );

  test('says what Postgres logged when it does not start', async () => {
    await expect(
      startEmbeddedPostgres({ settings: { max_connections: 'many' } }),
    ).rejects.toMatchObject({
      code: 'embedded-postgres',
      message: expect.stringContaining('"max_connections": "many"') as string,
    });
  });

  test('does not start on a port that is taken, if that one was asked for', async () => {
    const other = createServer();
    const port = await new Promise<number>((resolve, reject) => {
      other.listen(0, '127.0.0.1', () => {
        const address = other.address();
        if (typeof address === 'object' && address !== null) resolve(address.port);
        else reject(new Error('no address'));
      });
    });
    try {
      await expect(startEmbeddedPostgres({ port })).rejects.toMatchObject({
        code: 'embedded-postgres',
      });
    } finally {
      other.close();
    }
  });
});

/** A process that starts a server and prints what it is, and ends when its input does or by a signal. */
function spawnOwner(way: string): {
  process: ChildProcessWithoutNullStreams;
  server: Promise<{ connectionString: string; directory: string }>;
} {
  const source = new URL('../src/db/embedded.ts', import.meta.url).href;
  const script = `
    import { startEmbeddedPostgres } from '${source}';
    const { connectionString, directory } = await startEmbeddedPostgres();
    console.log(JSON.stringify({ connectionString, directory }));
    await new Promise((resolve) => process.stdin.on('end', resolve).resume());
    if ('${way}' === 'exception') throw new Error('expected');`;
  const flags = ['--import', 'tsx', '--input-type', 'module', '--eval', script];
  const owner = spawn(process.execPath, flags);
  const server = once(createInterface({ input: owner.stdout }), 'line').then(
    ([line]) => JSON.parse(String(line)) as { connectionString: string; directory: string },
  );
  return { process: owner, server };
}

async function query(connectionString: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client(connectionString);
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}
