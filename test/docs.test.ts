import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestDatabase } from './support/database.ts';

/** The code of every page is one module, block after block; here it is compiled, and run. */
const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));
// Below the root, so that packages resolve, and apart for each run.
const folder = path.join(root, 'test', `.docs-${process.pid}`);

async function pages(): Promise<string[]> {
  const docs = await readdir(path.join(root, 'docs'), { recursive: true });
  const pagesOfDocs = docs.filter((file) => file.endsWith('.md')).map((file) => `docs/${file}`);
  const top = await readdir(root);
  return [...top.filter((file) => file.endsWith('.md')), ...pagesOfDocs].toSorted();
}

function codeOf(markdown: string): string {
  return [...markdown.matchAll(/^```ts\n(.*?)^```$/gmsu)].map(([, code]) => code).join('\n');
}

const files = await pages();
const texts = new Map(
  await Promise.all(
    files.map(async (file) => [file, await readFile(path.join(root, file), 'utf8')] as const),
  ),
);
const modules = files.filter((file) => codeOf(texts.get(file) ?? '') !== '');
const moduleOf = (file: string): string =>
  path.join(folder, `${file.replaceAll(/[^\w]/gu, '-').replace(/-md$/u, '')}.ts`);

beforeAll(async () => {
  await mkdir(folder, { recursive: true });
  await Promise.all(
    modules.map((file) =>
      writeFile(moduleOf(file), `${codeOf(texts.get(file) ?? '')}\nexport {};\n`),
    ),
  );
  const options = { declaration: false, isolatedDeclarations: false, noEmit: true };
  const config = { extends: '../../tsconfig.json', compilerOptions: options, include: ['*.ts'] };
  await writeFile(path.join(folder, 'tsconfig.json'), JSON.stringify(config));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('the documentation', () => {
  it('has code that compiles', async () => {
    const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const { stdout } = await run(process.execPath, [tsc, '-p', folder], { cwd: root }).catch(
      (error: unknown) => error as { stdout: string },
    );
    expect(stdout).toBe('');
  });

  it.each(modules.filter((file) => file !== 'docs/events.md'))(
    'has code that runs: %s',
    async (file) => {
      const database = await createTestDatabase({ migrated: false });
      const loader = path.join(root, 'node_modules', 'tsx', 'dist', 'loader.mjs');
      const env = { ...process.env, DATABASE_URL: database.connectionString };
      const exit = run(process.execPath, ['--import', loader, moduleOf(file)], {
        cwd: folder,
        env: { ...env, TSX_TSCONFIG_PATH: path.join(folder, 'tsconfig.json') },
      });
      await expect(exit).resolves.toMatchObject({ stderr: '' });
      await database.drop();
    },
  );

  it('has no link to a file that is not there', () => {
    const broken = [...texts].flatMap(([file, text]) =>
      [...text.matchAll(/\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)/gu)]
        .map(([, target = '']) => target)
        .filter((target) => !existsSync(path.join(root, path.dirname(file), target)))
        .map((target) => `${file} → ${target}`),
    );
    expect(broken).toEqual([]);
  });
});
