/**
 * What the compiler refuses, and what it says. Each file of `refused/` holds wrong code, and below
 * each wrong line stands the error, with a caret under the token that the compiler points at, or `<`
 * where that is the line's first. All files are compiled at once and must come out as they are: no
 * error may be missing, new, elsewhere or worded otherwise.
 *
 * `vitest -u` writes what the compiler says now. Read it as somebody who made that mistake would.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';

interface Refusal {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly text: readonly string[];
}

const directory = path.join(import.meta.dirname, 'refused');
const files = readdirSync(directory).filter((file) => file.endsWith('.ts'));
const heading = /^\/\/ # (.+)$/u;
const annotation = /^\s*\/\/(?:<| *\^) TS\d+ |^\s*\/\/ {3}\| /u;

let refusals: readonly Refusal[];
beforeAll(() => {
  refusals = compile();
});

describe.each(files)('%s', (file) => {
  const source = readFileSync(path.join(directory, file), 'utf8').split('\n');

  it('is refused as it says, and nowhere else', async () => {
    const ofFile = refusals.filter((refusal) => refusal.file === file);
    await expect(annotate(source, ofFile)).toMatchFileSnapshot(path.join('refused', file));
  });

  it.each(sections(source))('refuses $what', ({ first, last }) => {
    expect(
      refusals.filter(
        (refusal) => refusal.file === file && refusal.line > first && refusal.line <= last,
      ),
    ).not.toEqual([]);
  });
});

/** Each heading with the lines that belong to it, counted from 1. */
function sections(source: readonly string[]): { what: string; first: number; last: number }[] {
  const starts = source.flatMap((line, index) => {
    const what = heading.exec(line)?.[1];
    return what === undefined ? [] : [{ what, first: index + 1 }];
  });
  return starts.map((start, index) => ({
    ...start,
    last: (starts[index + 1]?.first ?? source.length + 1) - 1,
  }));
}

function annotate(source: readonly string[], ofFile: readonly Refusal[]): string {
  return source
    .flatMap((line, index) => {
      if (annotation.test(line)) return [];
      const here = ofFile.filter((refusal) => refusal.line === index + 1);
      const next = source.slice(index + 1).find((line) => !annotation.test(line)) ?? '';
      // Where the next line goes deeper, Prettier moves the comment in between there too.
      const indent = Math.max(indentOf(line), indentOf(next));
      return [line, ...here.flatMap((refusal) => describeBelow(indent, refusal))];
    })
    .join('\n');
}

function indentOf(line: string): number {
  return line.length - line.trimStart().length;
}

function describeBelow(indent: number, { column, text }: Refusal): string[] {
  const [first = '', ...more] = text;
  const spaces = column - 1 - indent - '//'.length;
  const caret = spaces < 0 ? '<' : `${' '.repeat(spaces)}^`;
  return [`//${caret} ${first}`, ...more.map((part) => `//   | ${part}`)].map(
    (comment) => ' '.repeat(indent) + comment,
  );
}

function compile(): Refusal[] {
  const compiler = path.resolve(import.meta.dirname, '../../node_modules/typescript/bin/tsc');
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [compiler, '--project', directory, '--pretty', 'false'],
    { cwd: directory, encoding: 'utf8' },
  );
  const found: { file: string; line: number; column: number; text: string[] }[] = [];
  for (const line of stdout.split('\n')) {
    const start = /^(.+)\((\d+),(\d+)\): error (TS\d+): (.*)$/u.exec(line);
    if (start !== null) {
      const [, file = '', row, column, code = '', message = ''] = start;
      found.push({ file, line: Number(row), column: Number(column), text: [`${code} ${message}`] });
    } else if (line.startsWith('  ')) {
      found.at(-1)?.text.push(line.slice(2));
    } else if (line !== '') {
      throw new Error(`The compiler said: ${line}\n${stderr}`);
    }
  }
  if (found.length === 0) throw new Error(`The compiler found nothing wrong.\n${stderr}`);
  return found;
}
