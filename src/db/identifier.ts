import { SteleError } from '../types/errors.ts';

/**
 * Quotes a name for SQL.
 *
 * @throws SteleError `invalid-argument` for a name that Postgres would refuse or cut short
 */
export function quoteIdentifier(name: string): string {
  if (name === '' || name.includes('\u0000') || Buffer.byteLength(name) > 63) {
    throw new SteleError(
      'invalid-argument',
      `A schema's name has 1 to 63 bytes and no NUL, but got ${JSON.stringify(name)}.`,
    );
  }
  return `"${name.replaceAll('"', '""')}"`;
}
