/** Runs every check, two at a time, shows what the failed ones printed, and fails if any failed. */
import { spawn } from 'node:child_process';
import path from 'node:path';

const checks = [
  'format:check',
  'lint',
  'check:layers',
  'typecheck',
  'check:unused',
  'check:package',
  'check:types-budget',
  'check:schema',
] as const;

interface Result {
  readonly name: string;
  readonly passed: boolean;
  readonly seconds: number;
}

const root = path.resolve(import.meta.dirname, '..');
// What the caller's npm passes down would make npm warn in every child.
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith('npm_')),
);

async function run(name: string): Promise<Result> {
  const started = performance.now();
  const child = spawn('npm', ['run', '--silent', name], {
    cwd: root,
    env: environment,
    shell: process.platform === 'win32',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
  const passed = await new Promise<boolean>((resolve) => {
    child.once('error', (error) => {
      output.push(Buffer.from(`${error.message}\n`));
      resolve(false);
    });
    child.once('close', (code) => {
      resolve(code === 0);
    });
  });
  const result = { name, passed, seconds: (performance.now() - started) / 1000 };
  process.stdout.write(`\n${describe(result)}\n`);
  const text = Buffer.concat(output).toString();
  // A long report of a success only hides the failures; a line or two, such as a count, is news.
  if (!passed || text.split('\n').length <= 4) process.stdout.write(text);
  return result;
}

function describe({ name, passed, seconds }: Result): string {
  return `${passed ? 'pass' : 'FAIL'}  ${name.padEnd(20)} ${seconds.toFixed(1).padStart(6)} s`;
}

const waiting: string[] = [...checks];
const results: Result[] = [];
const worker = async (): Promise<void> => {
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    results.push(await run(name));
  }
};
await Promise.all([worker(), worker()]);

const failed = results.filter(({ passed }) => !passed);
process.stdout.write(`\n${results.map(describe).join('\n')}\n`);
process.exitCode = failed.length > 0 ? 1 : 0;
