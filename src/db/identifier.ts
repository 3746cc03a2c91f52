import { SteleError } from '../types/errors.ts';

/** Postgres cuts names at 63 bytes, and the roles of a schema are its name and `_writer` or `_reader`. */
const maximumBytes = 56;

/**
 * Quotes a name for SQL.
 *
 * @throws SteleError `invalid-argument` for a name that Postgres would refuse or cut short
 */
export function quoteIdentifier(name: string): string {
  const isSound = name !== '' && !name.includes('\u0000') && name.isWellFormed();
  if (!isSound || Buffer.byteLength(name) > maximumBytes) {
    throw new SteleError(
      'invalid-argument',
      `A schema's name has 1 to ${maximumBytes} bytes of UTF-8 and no NUL, but got ${JSON.stringify(name)}.`,
    );
  }
  return `"${name.replaceAll('"', '""')}"`;
}
