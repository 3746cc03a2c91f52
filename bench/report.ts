import Table from 'cli-table3';

import type { Measured, Result } from './result.ts';
import type { Spread } from './statistics.ts';

/** The results as a table for a terminal. */
export function toTable(results: readonly Result[]): string {
  const table = new Table({
    head: ['', 'work', 'target', 'ratio (min–max)', 'measured', 'against', ''],
    style: { head: [], border: [] },
    colAligns: ['right', 'left', 'left', 'right', 'right', 'right', 'left'],
  });
  for (const result of results) table.push(cells(result));
  return table.toString();
}

/** The same for a page of documentation. */
export function toMarkdown(results: readonly Result[]): string {
  const rows = [
    ['', 'work', 'target', 'ratio (min–max)', 'measured', 'against', ''],
    ['--:', ':--', ':--', '--:', '--:', '--:', ':--'],
    ...results.map(cells),
  ];
  return rows.map((row) => `| ${row.join(' | ')} |`).join('\n');
}

function cells({ row, work, target, unit, ratio, subject, base, passed }: Result): string[] {
  const verdict = passed === undefined ? '' : passed ? 'pass' : 'MISS';
  const figure = ({ name, spread }: Measured): string => `${name} ${round(spread.median)} ${unit}`;
  return [
    row,
    work,
    target,
    ratio === undefined ? '' : spreadOf(ratio),
    figure(subject),
    base === undefined ? '' : figure(base),
    verdict,
  ];
}

function spreadOf({ median, min, max }: Spread): string {
  return `${median.toFixed(2)} (${min.toFixed(2)}–${max.toFixed(2)})`;
}

/** Three digits say enough. */
function round(value: number): string {
  return Number(value.toPrecision(3)).toLocaleString('en');
}
