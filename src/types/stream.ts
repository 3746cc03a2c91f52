import { SteleError } from './errors.ts';
import type { Schema } from './schema.ts';

declare const metadata: unique symbol;

/** The ordered events of one thing. Made by an aggregate: `User.stream('42')` is `user-42`. */
export interface Stream<
  Category extends string = string,
  M extends Schema | undefined = Schema | undefined,
> {
  readonly [metadata]?: M;
  readonly category: Category;
  /** The category and the id joined, e.g. `user-42`. */
  readonly streamId: string;
}

/** The longest stream id, in UTF-16 units: it must fit into an index entry whatever the script. */
const maximumLength = 500;

/**
 * @throws SteleError `invalid-argument` when the id is empty, too long, or holds a character that
 * Postgres cannot store
 */
export function streamOf<Category extends string, M extends Schema | undefined>(
  category: Category,
  id: string,
): Stream<Category, M> {
  if (typeof id !== 'string' || id === '') {
    throw new SteleError(
      'invalid-argument',
      `A stream of '${category}' needs an id that is a non-empty string, but got ${typeof id === 'string' ? "''" : typeof id}.`,
    );
  }
  const streamId = `${category}-${id}`;
  if (streamId.length > maximumLength) {
    throw new SteleError(
      'invalid-argument',
      `A stream id may have ${maximumLength} characters, but '${streamId.slice(0, 40)}…' has ${streamId.length}.`,
    );
  }
  if (streamId.includes('\u0000') || !streamId.isWellFormed()) {
    throw new SteleError(
      'invalid-argument',
      `Stream id ${JSON.stringify(streamId)} holds a NUL or a lone surrogate, which Postgres cannot store.`,
    );
  }
  return { category, streamId };
}

/**
 * The id within its category.
 *
 * @throws SteleError `invalid-argument` for a stream of another category
 */
export function idOf(category: string, streamId: string): string {
  if (categoryOf(streamId) === category && streamId.length > category.length + 1) {
    return streamId.slice(category.length + 1);
  }
  throw new SteleError('invalid-argument', `'${streamId}' is not a stream of '${category}'.`);
}

/** The category of a stream id: what stands before the first hyphen. */
export function categoryOf(streamId: string): string {
  const end = streamId.indexOf('-');
  return end === -1 ? streamId : streamId.slice(0, end);
}
