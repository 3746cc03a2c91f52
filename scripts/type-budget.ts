/**
 * What the types cost: checks a generated application of 50 aggregates with 20 events of 2 schema
 * versions each, and fails above the budget. Instantiations are counted, since seconds differ from
 * machine to machine and the count does not.
 *
 * `npm run check:types-budget`; `-- --keep` leaves the generated application for a profiler.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const budget = 1_500_000;
const aggregates = 50;
const events = 20;

const root = resolve(import.meta.dirname, '..');

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}

function aggregateFile(a: number): string {
  const definitions = range(events).map(
    (e) => `    A${a}Event${e}: event(
      z.object({ id: z.uuid(), name: z.string(), amount${e}: z.number() }),
    ).version(
      z.object({
        id: z.uuid(),
        name: z.string(),
        amount${e}: z.number(),
        currency: z.enum(['EUR', 'USD', 'A${a}']),
      }),
      (v1) => ({ ...v1, currency: 'EUR' }),
    ),`,
  );
  const handlers = range(events).map(
    (e) =>
      `    A${a}Event${e}: (state, { data }) => ({ ...state, status: 'active', total: state.total + data.amount${e} }),`,
  );
  const emitted = (e: number) =>
    `emit.A${a}Event${e}({ id, name: '', amount${e}: 1, currency: 'USD' })`;
  const commands = [1, 2, 3, 4].map(
    (c) => `    command${c}: {
      input: z.object({ id: z.uuid(), amount: z.number() }),
      decide: ({ id, amount }, state, { emit, reject }) =>
        amount > state.total ? reject.TooMuch({ limit: state.total }) : [${emitted(c)}, ${emitted(c + 4)}],
    },`,
  );
  const outside = range(events).map(
    (e) =>
      `export const on${e} = ({ data, metadata }: EventOf<typeof A${a}, 'A${a}Event${e}'>): string => data.currency + String(data.amount${e}) + String(metadata.timestamp);`,
  );
  return `import { z } from 'zod';
import { aggregate, type CommandOf, type EventOf, type RejectionOf } from 'stele/aggregate';
import { event } from 'stele/event';

interface State {
  status: 'new' | 'active';
  total: number;
}

export const A${a} = aggregate('a${a}', {
  events: {
${definitions.join('\n')}
  },
  initialState: (): State => ({ status: 'new', total: 0 }),
  evolve: {
${handlers.join('\n')}
  },
  errors: { TooMuch: z.object({ limit: z.number() }) },
  commands: {
${commands.join('\n')}
  },
});

${outside.join('\n')}
export const any = (event: EventOf<typeof A${a}>): string => {
  switch (event.type) {
    case 'A${a}Event1':
      return event.data.name;
    default:
      return event.data.currency;
  }
};
export const command: CommandOf<typeof A${a}> = A${a}.command.command1({ id: '', amount: 1 });
export const limit = (rejection: RejectionOf<typeof A${a}>): number => rejection.data.limit;
`;
}

function storeFile(): string {
  const names = range(aggregates).map((a) => `A${a}`);
  return `${names.map((name, index) => `import { ${name} } from './a${index + 1}.ts';`).join('\n')}
import type { AnyAggregate } from 'stele/aggregate';
import type { DistinctAggregates } from 'stele/distinct-aggregates';

declare function openStore<const A extends readonly AnyAggregate[]>(options: { aggregates: DistinctAggregates<A> }): void;
openStore({ aggregates: [${names.join(', ')}] });
`;
}

const directory = mkdtempSync(join(tmpdir(), 'type-budget-'));
try {
  mkdirSync(join(directory, 'app'));
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'));
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }');
  writeFileSync(
    join(directory, 'tsconfig.json'),
    JSON.stringify({
      extends: join(root, 'tsconfig.json'),
      compilerOptions: {
        paths: { 'stele/*': [join(root, 'src/types/*.ts')] },
        // An application exports what it inferred.
        isolatedDeclarations: false,
        declaration: false,
      },
      include: ['app'],
    }),
  );
  for (const a of range(aggregates)) {
    writeFileSync(join(directory, 'app', `a${a}.ts`), aggregateFile(a));
  }
  writeFileSync(join(directory, 'app', 'store.ts'), storeFile());
  report(compile());
} finally {
  if (process.argv.includes('--keep')) console.log(`Kept in ${directory}`);
  else rmSync(directory, { recursive: true });
}

function compile(): string {
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  try {
    return execFileSync(
      process.execPath,
      [
        compiler,
        '--project',
        directory,
        '--pretty',
        'false',
        '--extendedDiagnostics',
        '--singleThreaded',
      ],
      { encoding: 'utf8' },
    );
  } catch (error) {
    const output = error instanceof Error && 'stdout' in error ? String(error.stdout) : '';
    throw new Error(`The generated application does not compile:\n${output.slice(0, 4000)}`, {
      cause: error,
    });
  }
}

function report(diagnostics: string): void {
  const figure = (name: string): string => {
    const found = new RegExp(`^${name}:\\s+(\\S+)$`, 'm').exec(diagnostics)?.[1];
    if (found === undefined) throw new Error(`The compiler reported no '${name}':\n${diagnostics}`);
    return found;
  };
  const instantiations = Number(figure('Instantiations'));
  console.log(
    `${aggregates} aggregates × ${events} events × 2 versions: ` +
      `${instantiations.toLocaleString('en')} instantiations of ${budget.toLocaleString('en')}, ` +
      `${figure('Types')} types, check ${figure('Check time')}, total ${figure('Total time')}, memory ${figure('Memory used')}`,
  );
  if (!(instantiations <= budget)) {
    console.error('Over budget.');
    process.exitCode = 1;
  }
}
