import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { serve } from '@hono/node-server';
import { expect, test } from 'vitest';
import { createTestDatabase } from '../../../test/support/database.ts';
import { createApp } from '../src/http.ts';
import { openAccounts } from '../src/service.ts';

test('the session in the README works', async () => {
  await using database = await createTestDatabase();
  await using accounts = await openAccounts(database.connectionString);
  const server = serve({ fetch: createApp(accounts).fetch, hostname: '127.0.0.1', port: 0 });
  try {
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const output = await runSession(`http://127.0.0.1:${port}`);

    expect(output).toContain('"type":"EmailTaken","status":409');
    expect(output).toContain('etag: "2"');
    expect(output).toContain('"type":"ConcurrencyError","status":412');
    expect(output).toContain('"by":"grace"');
    expect(output.split('\n').at(-1)).toContain('"email":"ada@example.com"');
  } finally {
    server.close();
  }
});

async function runSession(address: string): Promise<string> {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  const session = /```sh\n(api=.*?)```/su.exec(readme)?.[1];
  if (session === undefined) throw new Error('The README has no session.');
  // Each answer on a line of its own.
  const script = session
    .replace('http://localhost:3000', address)
    .replaceAll(/^curl -s/gmu, "curl -sS -w '\\n'");
  const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script]);
  return stdout.trimEnd();
}
