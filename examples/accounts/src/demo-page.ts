import { readFileSync } from 'node:fs';
import Table from 'cli-table3';
import colors from 'picocolors';

// With the margin, every line fits into 80 columns.
const width = 76;
const margin = '  ';
let sections = 0;

/** Prints lines, each wrapped to the page. */
export function printText(text: string, style: (line: string) => string = String): void {
  const fitting = new RegExp(`.{1,${width}}(?:\\s|$)|\\S+|^$`, 'gmu');
  const lines = text.match(fitting) ?? [];
  print(lines.map((line) => `${style(line.trimEnd())}\n`).join(''));
}

/** Opens a section: its headline, what it proves in a line, and the code that does it. */
export function printSection(headline: string, proof: string, code: string): void {
  sections += 1;
  print(`\n\n${colors.bold(`${sections}  ${headline}`)}\n`);
  printText(proof, colors.dim);
  const bar = colors.dim('│');
  const lines = code.split('\n').map((line) => `${bar} ${colors.cyan(line)}\n`);
  print(`\n${lines.join('')}\n`);
}

/** Prints rows below their headings, in columns that are as wide as what they hold. */
export function printTable(head: readonly string[], rows: readonly (readonly unknown[])[]): void {
  const table = new Table({
    head: head.map((name) => colors.dim(name)),
    chars: noBorders,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 3 },
  });
  table.push(...rows.map((row) => row.map(cellOf)));
  print(`${table.toString()}\n`);
}

/** Cuts code out of a file: the lines between `// #region <name>` and `// #endregion`. */
export function regionsOf(file: URL): (name: string) => string {
  const source = readFileSync(file, 'utf8');
  return (name) => {
    const region = new RegExp(`^( *)// #region ${name}\\n(.*?)\\n *// #endregion`, 'msu');
    const [, indent = '', code] = region.exec(source) ?? [];
    if (code === undefined) throw new Error(`There is no region '${name}' in ${file.pathname}.`);
    return code.replaceAll(new RegExp(`^${indent}`, 'gmu'), '');
  };
}

/** A time of the day, in UTC. */
export function timeOf(date: Date): string {
  return date.toISOString().slice(11, 23);
}

export function count(value: number): string {
  return Math.round(value).toLocaleString('en');
}

function print(text: string): void {
  process.stdout.write(text.replaceAll(/^(?=.)/gmu, margin).replaceAll(/ +$/gmu, ''));
}

function cellOf(value: unknown): string {
  if (value === undefined || value === null) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

const noBorders = Object.fromEntries(
  ['top', 'bottom', 'left', 'right']
    .flatMap((side) => [side, `${side}-mid`, `${side}-left`, `${side}-right`])
    .concat('mid', 'mid-mid', 'middle')
    .map((name) => [name, '']),
);
