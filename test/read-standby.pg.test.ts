import { chown, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { openStore } from 'stele';
import type { Store } from 'stele';
import { startEmbeddedPostgres } from 'stele/embedded';
import type { EmbeddedPostgres } from '../src/db/embedded.ts';
import { Note } from './support/aggregates.ts';

let server: EmbeddedPostgres;
let store: Store;
beforeAll(async () => {
  server = await startEmbeddedPostgres();
  const options = { connection: server.connectionString, aggregates: [Note] } as const;
  await using primary = await openStore(options);
  await primary.append(Note.stream('1'), [Note.emit.Written({ body: 'old' })]);
  // With this file, a server waits for what a primary would send, and answers reads alone.
  const data = join(server.directory, 'data');
  const signal = join(data, 'standby.signal');
  await writeFile(signal, '');
  const { uid, gid } = await stat(data);
  await chown(signal, uid, gid);
  await server.restart();
  store = await openStore(options);
});
afterAll(async () => {
  await store.close();
  await server.stop();
});

test('a standby gives streams and states', async () => {
  expect(await store.load(Note, '1')).toEqual({ state: { body: 'old' }, version: 1 });
  const { value } = await store.readStream(Note, '1').next();
  expect(value?.data).toEqual({ body: 'old' });
});

test('a standby is refused for reading by position, since it does not know what is still to come', async () => {
  await expect(store.read().next()).rejects.toMatchObject({
    code: 'database',
    sqlState: 'ST001',
    message: expect.stringContaining('from a standby') as string,
  });
});
