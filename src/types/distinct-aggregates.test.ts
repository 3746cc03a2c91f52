import { describe, expect, expectTypeOf, it } from 'vitest';
import { z } from 'zod';
import { aggregate, type AnyAggregate } from './aggregate.ts';
import { assertDistinctAggregates, type DistinctAggregates } from './distinct-aggregates.ts';
import { event } from './event.ts';

const given = { initialState: () => 0 };
const User = aggregate('user', {
  ...given,
  events: { Created: event(z.object({})), Renamed: event(z.object({})).storedAs('UserRenamed') },
  evolve: { Created: (count) => count, Renamed: (count) => count },
});
const Folder = aggregate('folder', {
  ...given,
  events: { Renamed: event(z.object({})) },
  evolve: { Renamed: (count) => count },
});
const Person = aggregate('user', {
  ...given,
  events: { Born: event(z.object({})) },
  evolve: { Born: (count) => count },
});
const Order = aggregate('order', {
  ...given,
  events: { Placed: event(z.object({})).storedAs('Created') },
  evolve: { Placed: (count) => count },
});

describe('distinct aggregates', () => {
  it('are accepted', () => {
    expect(() => {
      assertDistinctAggregates([User, Folder]);
    }).not.toThrow();
    expectTypeOf<DistinctAggregates<readonly [typeof User, typeof Folder]>>().toEqualTypeOf<
      readonly [typeof User, typeof Folder]
    >();
    expectTypeOf<DistinctAggregates<readonly []>>().toEqualTypeOf<readonly []>();
    expectTypeOf<DistinctAggregates<readonly AnyAggregate[]>>().toEqualTypeOf<
      readonly AnyAggregate[]
    >();
  });

  it('have a category of their own', () => {
    expect(() => {
      assertDistinctAggregates([User, Person]);
    }).toThrow("Two aggregates have the category 'user'.");
  });

  it('have stored names of their own', () => {
    expect(() => {
      assertDistinctAggregates([User, Folder, Order]);
    }).toThrow(
      "Both user.Created and order.Placed are stored as 'Created'. Tell them apart with storedAs().",
    );
  });

  it('are no aggregate given twice', () => {
    expect(() => {
      assertDistinctAggregates([User, User]);
    }).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
  });
});
