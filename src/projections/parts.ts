import { createHash } from 'node:crypto';
import type { FailurePolicy, Handler } from '../subscriptions/consumer.ts';
import type { AnyAggregate } from '../types/aggregate.ts';
import { SteleError } from '../types/errors.ts';

/** What a projection is made of, whatever kind it is: for those who run, rebuild or read it. */
export interface ProjectionParts extends FailurePolicy {
  readonly name: string;
  readonly aggregates: readonly AnyAggregate[];
  /** Whether it wants events of this type, by its key in the aggregate's `events`. */
  readonly handles: (category: string, type: string) => boolean;
  /** SQL that makes its tables, in a schema of its own; `undefined` for tables that the application keeps. */
  readonly tables: string | undefined;
  readonly partitions: number;
  /** Tells definitions apart that would make different read models of the same events. */
  readonly fingerprint: string;
  readonly handler: Exclude<Handler, { readonly react: unknown }>;
}

/** Where a projection carries its parts. Of the registry of symbols, for two copies of the package. */
export const partsKey: unique symbol = Symbol.for('stele.projection');

/** Whatever carries the parts of a projection. */
export interface HasProjectionParts {
  readonly [partsKey]: ProjectionParts;
}

/**
 * What a projection is made of.
 *
 * @throws SteleError `invalid-argument` for a value that no function of Stele's has made
 */
export function projectionParts(projection: HasProjectionParts): ProjectionParts {
  // For those who do not compile.
  const found: ProjectionParts | undefined = projection[partsKey];
  if (found !== undefined) return found;
  throw new SteleError(
    'invalid-argument',
    'A projection is made by projection(), batchProjection() or documentProjection(), but got something else.',
  );
}

/** What is looked at to tell two definitions apart. */
export interface FingerprintParts {
  readonly kind: string;
  readonly tables: string | undefined;
  readonly handled: ReadonlyMap<string, ReadonlySet<string>>;
  /** Stands for the code, where it is given. */
  readonly version: number | string | undefined;
  readonly code: Readonly<Record<string, unknown>>;
}

/**
 * A hash of all that decides what a projection makes of events. How code is laid out does not count,
 * but what a handler calls is not seen either: a `version` says so then.
 */
export function fingerprintOf(parts: FingerprintParts): string {
  const { kind, tables, handled, version, code } = parts;
  const types = [...handled].map(([category, types]) => [category, ...[...types].toSorted()]);
  const sources = Object.entries(code).flatMap(([name, part]) =>
    typeof part === 'function' ? [[name, normalised(Function.prototype.toString.call(part))]] : [],
  );
  const text = JSON.stringify([
    kind,
    normalised(tables ?? ''),
    types.toSorted(byText),
    version ?? sources.toSorted(byText),
  ]);
  return createHash('sha256').update(text).digest('hex');
}

function normalised(text: string): string {
  return text.replaceAll(/\s+/gu, ' ').trim();
}

function byText(a: readonly string[], b: readonly string[]): number {
  return a.join(' ') < b.join(' ') ? -1 : 1;
}
