import { createHash } from 'node:crypto';
import { SteleError } from '../types/errors.ts';

/** A statement whose text never changes, with parameters. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/**
 * A statement that is prepared once on each connection. Its name carries a hash of its text: two
 * stores with different schemas may share a pool, and a connection may outlive a deployment.
 */
export function statement(name: string, text: string): Statement {
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 12);
  return { name: `stele:${name}:${hash}`, text };
}

type Parser = (text: string) => unknown;

const parsers: ReadonlyMap<number, Parser> = new Map<number, Parser>([
  [16, (text) => text === 't'],
  [20, safeInteger],
  [21, Number],
  [23, Number],
  [701, Number],
  [114, parseJson],
  [3802, parseJson],
  [1009, textArray],
  [1016, (text) => (text === '{}' ? [] : text.slice(1, -1).split(',').map(safeInteger))],
]);

/** How Stele reads column values, whatever parsers the application has set for itself. */
export const columnTypes: { getTypeParser: (oid: number) => Parser } = {
  getTypeParser: (oid) => parsers.get(oid) ?? identity,
};

function parseJson(text: string): unknown {
  return JSON.parse(text) as unknown;
}

function identity(text: string): string {
  return text;
}

/**
 * Positions and versions are JavaScript numbers.
 *
 * @throws SteleError `unsafe-number` rather than rounding
 */
function safeInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) {
    throw new SteleError(
      'unsafe-number',
      `The database gave ${text}, which a JavaScript number cannot hold exactly.`,
    );
  }
  return value;
}

/** The text arrays that Stele asks for hold words of its own, or virtual transaction ids. */
function textArray(text: string): string[] {
  return text === '{}' ? [] : text.slice(1, -1).split(',');
}
