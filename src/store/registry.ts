import type { AnyAggregate } from '../types/aggregate.ts';
import { assertDistinctAggregates } from '../types/distinct-aggregates.ts';
import { SteleError } from '../types/errors.ts';
import { streamOf } from '../types/stream.ts';
import type { InlineProjection } from './inline.ts';

/** The aggregates that a store was opened with. */
export interface Registry {
  /** @throws SteleError `unknown-aggregate` for a category that the store does not have */
  readonly aggregateOf: (category: string) => AnyAggregate;
  /** @throws SteleError `unknown-aggregate` for any other value than the one the store has */
  readonly streamIdOf: (aggregate: AnyAggregate, id: string) => string;
}

/**
 * @throws SteleError `invalid-argument` when two aggregates share a category or a stored event name
 * @throws SteleError `unknown-aggregate` when a projection is made of one that is not among them
 */
export function registry(
  aggregates: readonly AnyAggregate[],
  projections: readonly InlineProjection[],
): Registry {
  assertDistinctAggregates(aggregates);
  const byCategory = new Map(aggregates.map((aggregate) => [aggregate.category, aggregate]));
  const known = [...byCategory.keys()].join(', ') || 'none';
  const aggregateOf = (category: string): AnyAggregate => {
    const found = byCategory.get(category);
    if (found !== undefined) return found;
    throw new SteleError(
      'unknown-aggregate',
      `This store was opened without the aggregate '${category}'. Add it to \`aggregates\`; it has ${known}.`,
    );
  };
  const requireKnown = (aggregate: AnyAggregate): void => {
    if (aggregateOf(aggregate.category) === aggregate) return;
    throw new SteleError(
      'unknown-aggregate',
      `This store was opened with another aggregate of category '${aggregate.category}' than the one given. Use one and the same value.`,
    );
  };
  for (const projection of projections) projection.aggregates.forEach(requireKnown);
  return {
    aggregateOf,
    streamIdOf: (aggregate, id) => {
      requireKnown(aggregate);
      return streamOf(aggregate.category, id).streamId;
    },
  };
}
