/**
 * Measures Stele against plain SQL through the same driver, on the same server, in the same run; and
 * against peers where that is asked for. `docs/performance.md` says how to read the figures.
 */
import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { toMarkdown, toTable } from './report.ts';
import type { Result } from './result.ts';
import type { Bench, Row } from './row.ts';
import { appendAlone } from './rows/append-alone.ts';
import { appendBatch } from './rows/append-batch.ts';
import { appendTogether } from './rows/append-together.ts';
import { catchUp } from './rows/catch-up.ts';
import { execute } from './rows/execute.ts';
import { growth } from './rows/growth.ts';
import { hotStream } from './rows/hot-stream.ts';
import { idle } from './rows/idle.ts';
import { memory } from './rows/memory.ts';
import { readStream } from './rows/read-stream.ts';
import { rebuilding } from './rows/rebuild.ts';
import { visible } from './rows/visible.ts';
import { openServer } from './server.ts';

const rows: readonly Row[] = [
  appendAlone,
  appendTogether,
  appendBatch,
  hotStream,
  execute,
  readStream,
  catchUp,
  visible,
  rebuilding,
  idle,
  growth,
  memory,
];

/** Rows that take so long that they only run when they are asked for. */
const long = ['growth', 'memory'] as const;

const help = `npm run bench -- [options]

  --rows 1,2     only these rows; all but growth and memory unless given
  --growth       the growth row too, which fills a table of 10 million events first (some minutes)
  --memory       the memory row too, which fills one of 5 million
  --events N     how many events the stores of rows 8 and 10, growth and memory get, instead of
                 200,000; 1, 10 and 5 million; a twentieth of that when it is to be quick
  --peers        Emmett and Castore take part; install them first: npm ci --prefix bench/peers
  --rounds N     how many rounds are counted (10)
  --quick        3 short rounds, to see that everything runs
  --markdown     print the table as Markdown
  --name NAME    name of the file in bench/results (the time)

  DATABASE_URL   a server to run on, instead of an embedded one; databases are made on it and dropped`;

const { values: options } = parseArgs({
  options: {
    rows: { type: 'string' },
    growth: { type: 'boolean', default: false },
    memory: { type: 'boolean', default: false },
    events: { type: 'string' },
    peers: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    markdown: { type: 'boolean', default: false },
    name: { type: 'string', default: new Date().toISOString().replaceAll(':', '-') },
    help: { type: 'boolean', default: false },
  },
});

if (options.help) process.stdout.write(`${help}\n`);
else await run();

async function run(): Promise<void> {
  await using server = await openServer();
  const bench: Bench = {
    createDatabase: () => server.createDatabase(),
    openPeers: options.peers ? (await import('./peers/peers.ts')).openPeers : async () => [],
    rounds: Number(options.rounds ?? (options.quick ? 3 : 10)),
    sliceMs: options.quick ? 400 : 2_000,
    size: (standard) => Number(options.events ?? (options.quick ? standard / 20 : standard)),
  };
  const results: Result[] = [];
  for (const number of wanted()) {
    const row = rows.find(({ numbers }) => numbers.includes(number));
    if (row === undefined) throw new Error(`There is no row '${number}'.`);
    const started = performance.now();
    const found = await row.run(bench, number);
    results.push(...found);
    // One row at a time, so that something is to be seen meanwhile.
    const seconds = ((performance.now() - started) / 1_000).toFixed(0);
    process.stdout.write(`row ${number}: ${seconds} s\n${toTable(found)}\n`);
  }
  process.stdout.write(`\n${options.markdown ? toMarkdown(results) : toTable(results)}\n`);
  await save({ ...about(), machine: server.machine, rounds: bench.rounds, results });
}

function wanted(): readonly string[] {
  if (options.rows !== undefined) return options.rows.split(',');
  const skipped = new Set<string>(long.filter((name) => !options[name]));
  return rows.flatMap(({ numbers }) => numbers).filter((number) => !skipped.has(number));
}

function about(): { readonly at: string; readonly commit: string } {
  const commit = execFileSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' });
  return { at: new Date().toISOString(), commit: commit.trim() };
}

async function save(report: object): Promise<void> {
  const folder = join(import.meta.dirname, 'results');
  await mkdir(folder, { recursive: true });
  const file = join(folder, `${options.name}.json`);
  await writeFile(file, `${JSON.stringify(report, null, 2)}\n`);
  process.stdout.write(`${file}\n`);
}
