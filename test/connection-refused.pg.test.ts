import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from 'vitest';

import { DatabaseError, migrate, openStore } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';

const database = useDatabase();

/** A port on which nobody listens: one that was just given up. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return port;
}

async function failure(promise: Promise<unknown>): Promise<DatabaseError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof DatabaseError)) throw new Error('no DatabaseError', { cause: error });
  return error;
}

describe.each(['openStore', 'migrate'] as const)('%s', (call) => {
  const open = (connection: string): Promise<unknown> =>
    call === 'openStore' ? openStore({ connection, aggregates: [Note] }) : migrate({ connection });

  test.each(['127.0.0.1', 'localhost'])(
    'says at once that %s refuses connections',
    async (host) => {
      const port = await freePort();
      const started = performance.now();
      const error = await failure(open(`postgres://stele@${host}:${port}/stele`));
      expect(performance.now() - started).toBeLessThan(2_000);
      expect(error.message).toContain(`ECONNREFUSED 127.0.0.1:${port}`);
      expect(error.sqlState).toBeUndefined();
    },
  );

  test('says that the password is wrong', async () => {
    const url = new URL(database.connectionString);
    url.password = 'guessed';
    const error = await failure(open(url.href));
    expect(error.sqlState).toBe('28P01');
    expect(error.message).toContain('password authentication failed');
  });

  test('says that the database does not exist', async () => {
    const url = new URL(database.connectionString);
    url.pathname = '/nowhere';
    const error = await failure(open(url.href));
    expect(error.sqlState).toBe('3D000');
    expect(error.message).toContain('database "nowhere" does not exist');
  });
});
