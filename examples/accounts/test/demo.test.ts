import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, inject, test } from 'vitest';
import { onServer } from '../../../test/support/server.ts';

const { connectionString } = inject('server');
test('tells its story in 80 columns without colours, and ends by itself, twice at once', async () => {
  const runs = await Promise.all([runDemo(), runDemo()]);
  for (const { code, output, errors } of runs) {
    expect({ code, errors }).toEqual({ code: 0, errors: '' });
    expect(output).not.toContain('\u001B');
    expect(output.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect(output).toContain('19 × EmailTaken');
    expect(output).toContain('email: ada@lovelace.org → ada@lovlace.org');
    expect(output).toContain('ConcurrencyError: ');
    expect(output).toContain('To: lin@example.net');
    expect(output).toMatch(/\+ \{ users: \d+, domains: \{ 'example\.com': \d/u);
    expect(output).toMatch(/append, without a read model +\d/u);
  }
  expect(await demoDatabases()).toEqual([]);
}, 60_000);

test('ends quietly at Ctrl-C, in the middle of its story', async () => {
  const demo = startDemo();
  const ended = outcomeOf(demo);
  await once(demo.stdout!, 'data');
  demo.kill('SIGINT');
  expect(await ended).toMatchObject({ code: 130, errors: '' });
  expect(await demoDatabases()).toEqual([]);
});

test('with --keep, leaves the database until Ctrl-C', async () => {
  const demo = startDemo('--keep');
  const ended = outcomeOf(demo);
  const address = await new Promise<string>((resolve) => {
    let output = '';
    demo.stdout!.on('data', (chunk) => {
      output += String(chunk);
      const [found] = /postgres(?:ql)?:\/\/\S+\n/u.exec(output) ?? [];
      if (found !== undefined) resolve(found.trim());
    });
  });
  await onServer(address, async (client) => {
    const { rows } = await client.query<{ username: string }>(
      `select username from users where email like 'ada@%'`,
    );
    expect(rows).toEqual([{ username: 'countess' }]);
  });
  demo.kill('SIGINT');
  expect(await ended).toMatchObject({ code: 0, errors: '' });
  expect(await demoDatabases()).toEqual([]);
});

function startDemo(...flags: readonly string[]): ChildProcess {
  const { CI: _, FORCE_COLOR: __, NO_COLOR: ___, ...environment } = process.env;
  return spawn(process.execPath, ['--import', 'tsx', 'src/demo.ts', '--users', '150', ...flags], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    env: { ...environment, DATABASE_URL: connectionString },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function outcomeOf(demo: ChildProcess) {
  const [output, errors, [code]] = await Promise.all([
    text(demo.stdout!),
    text(demo.stderr!),
    once(demo, 'close'),
  ]);
  return { code: code as number | null, output, errors };
}

const runDemo = () => outcomeOf(startDemo());

async function demoDatabases(): Promise<readonly string[]> {
  return onServer(connectionString, async (client) => {
    const { rows } = await client.query<{ datname: string }>(
      `select datname from pg_database where starts_with(datname, 'stele_demo_') order by 1`,
    );
    return rows.map(({ datname }) => datname);
  });
}
