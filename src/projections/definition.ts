import type { InlineProjection, Transaction } from '../store/inline.ts';
import type { StoreParts } from '../store/parts.ts';
import type { Waitable, WaitOptions } from '../store/waitable.ts';
import type { FailurePolicy } from '../subscriptions/consumer.ts';
import { waitUntilHandled } from '../subscriptions/wait-for.ts';
import type { AnyAggregate } from '../types/aggregate.ts';
import { SteleError } from '../types/errors.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import { fingerprintOf, partsKey, type HasProjectionParts, type ProjectionParts } from './parts.ts';
import { checkProjectionName } from './schema.ts';
import { prepareInline } from './tables.ts';

/** What every kind of projection may be given. */
export interface ProjectionOptions extends FailurePolicy {
  /**
   * Stands for the code of the handlers: another version is another read model, which has to be rebuilt.
   * Without it, their source text does, which a bundler or compiler may change, and which does not show
   * what they call.
   */
  readonly version?: number | string | undefined;
  /**
   * How many may work on it at once when it runs behind the appends, each on streams of its own; 1
   * unless given. Events of different streams then come in no certain order.
   */
  readonly partitions?: number | undefined;
}

/** What a projection with tables may be given. */
export interface TableOptions<Client> extends ProjectionOptions {
  /**
   * SQL that makes its tables. It runs in a Postgres schema of the projection's own, which its handlers
   * find first, so that names need no prefix; `rebuild` runs it again in another one. Without it, the
   * tables are the application's to make and to keep.
   */
  readonly tables?: string | undefined;
  /**
   * Makes what the handlers get instead of the `pg` client, such as `drizzle({ client:
   * poolOf(transaction) })`. Called once for each connection. Write it before the handlers, since their
   * types follow from it.
   */
  readonly client?: ((transaction: Transaction) => Client) | undefined;
}

/**
 * A function from events to a read model. Given to `openStore`, it runs inline; to `openRuntime`, behind
 * the appends.
 */
export interface Projection extends InlineProjection, Waitable, HasProjectionParts {}

/** What all kinds of projection are built of. */
interface Blueprint {
  readonly kind: 'projection' | 'batch' | 'document';
  readonly name: string;
  readonly aggregates: readonly AnyAggregate[];
  /** The keys of the events that it takes, in each aggregate's `events`. */
  readonly types: readonly string[];
  readonly options: ProjectionOptions & { readonly tables?: string | undefined };
  /** The functions that it is made of, by name. */
  readonly code: Readonly<Record<string, unknown>>;
  readonly handler: ProjectionParts['handler'];
}

/** @throws SteleError `invalid-argument` when a name, an aggregate or an option is wrong */
export function buildProjection(blueprint: Blueprint): Projection {
  const { kind, name, aggregates, types, options, code, handler } = blueprint;
  checkProjectionName(name);
  checkOptions(name, options);
  const { tables, version, partitions = 1, attempts, onFailure } = options;
  const handled = new Map(
    aggregates.map(({ category, events }) => [
      category,
      new Set(types.filter((type) => Object.hasOwn(events, type))),
    ]),
  );
  const handles = (category: string, type: string): boolean =>
    handled.get(category)?.has(type) === true;
  const fingerprint = fingerprintOf({ kind, tables, handled, version, code });
  const parts = {
    name,
    aggregates,
    handles,
    tables,
    partitions,
    attempts,
    onFailure,
    fingerprint,
    handler,
  };
  return Object.freeze({
    [partsKey]: Object.freeze(parts),
    name,
    aggregates,
    handles,
    apply: async (event: RecordedEvent, transaction: Transaction) => {
      await ('each' in handler
        ? handler.each(event, transaction)
        : handler.batch([event], transaction));
    },
    waitUntil: (store: StoreParts, position: number, options?: WaitOptions) =>
      waitUntilHandled(store, name, position, options),
    ...('batch' in handler ? { applyAll: handler.batch } : {}),
    ...(tables === undefined ? {} : { tables: { fingerprint }, prepare: prepareInline(parts) }),
  });
}

/** The keys of all events of the aggregates. */
export function eventTypesOf(name: string, aggregates: readonly AnyAggregate[]): string[] {
  if (!Array.isArray(aggregates) || aggregates.length === 0) {
    throw new SteleError(
      'invalid-argument',
      `Projection '${name}' needs the aggregates whose events it is made of, but got none.`,
    );
  }
  return aggregates.flatMap((aggregate: AnyAggregate) => Object.keys(aggregate.events));
}

/**
 * The events that handlers are for, in each of the aggregates that declare them.
 *
 * @throws SteleError `invalid-argument` when a handler is missing, or is for no event
 */
export function handledTypes(
  name: string,
  aggregates: readonly AnyAggregate[],
  handlers: object,
  others: 'ignore' | undefined,
): string[] {
  const events = eventTypesOf(name, aggregates);
  const given = new Map<string, unknown>(Object.entries(handlers));
  const missing = events.filter((type) => typeof given.get(type) !== 'function');
  if (others !== 'ignore' && missing.length > 0) {
    throw new SteleError(
      'invalid-argument',
      `Projection '${name}' has no handler for ${missing.join(', ')}. Add one, or say \`others: 'ignore'\`.`,
    );
  }
  const unknown = [...given.keys()].filter((type) => !events.includes(type));
  if (unknown.length > 0) {
    throw new SteleError(
      'invalid-argument',
      `Projection '${name}' has a handler for ${unknown.join(', ')}, which none of its aggregates declares.`,
    );
  }
  return events.filter((type) => given.get(type) !== undefined);
}

function checkOptions(name: string, { version, partitions, tables }: Blueprint['options']): void {
  const refuse = (what: string): never => {
    throw new SteleError('invalid-argument', `Projection '${name}': ${what}.`);
  };
  if (tables !== undefined && (typeof tables !== 'string' || tables.trim() === '')) {
    refuse(
      '`tables` is SQL that makes its tables, but got none. Leave it out where there are none',
    );
  }
  if (version !== undefined && typeof version !== 'number' && typeof version !== 'string') {
    refuse(`a version is a number or a text, but got ${typeof version}`);
  }
  if (partitions === undefined) return;
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > 1024) {
    refuse(`\`partitions\` is a whole number from 1 to 1024, but got ${partitions}`);
  }
}
