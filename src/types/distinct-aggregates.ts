import type { AnyAggregate } from './aggregate.ts';
import { SteleError } from './errors.ts';
import type { EventDefinition, EventMap } from './event.ts';
import type { SteleTypeError } from './json.ts';

/**
 * A tuple of aggregates as it is; or, when two of them have one category, or two of their events one
 * stored name, with a {@link SteleTypeError} in the place of each of them: a store could not tell
 * their events apart.
 *
 * @example
 * ```ts
 * function openStore<const A extends readonly AnyAggregate[]>(options: {
 *   aggregates: DistinctAggregates<A>;
 * }): Store;
 * ```
 */
export type DistinctAggregates<Aggregates extends readonly AnyAggregate[]> =
  number extends Aggregates['length'] // no tuple: which aggregates there are shows only at run time
    ? Aggregates
    : [SharedCategory<Aggregates> | SharedName<Aggregates>] extends [never]
      ? Aggregates
      : {
          readonly [Index in keyof Aggregates]: Marked<
            Aggregates[Index],
            SharedCategory<Aggregates>,
            SharedName<Aggregates>
          >;
        };

type Marked<
  A extends AnyAggregate,
  Category extends string,
  Name extends string,
> = A['category'] extends Category
  ? SteleTypeError<`Two aggregates have the category '${A['category']}'`>
  : [StoredNames<A> & Name] extends [never]
    ? A
    : SteleTypeError<`Two events are stored as '${StoredNames<A> & Name}': tell them apart with storedAs()`>;

// Comparing each aggregate with each other one would cost quadratically. Instead each says who owns
// which key, `{ user: '0' } & { order: '1' }`, and all of it is intersected: a key with two owners is
// `'0' & '1'`, and that makes the whole intersection `never`. Only then is it looked at key by key.
type Shared<Claims> = [Intersection<Claims>] extends [never] ? SharedKey<Claims> : never;

type Intersection<Union> = (Union extends unknown ? (part: Union) => void : never) extends (
  part: infer Whole,
) => void
  ? Whole
  : never;

type SharedKey<Claims> = {
  [Key in KeyOfEach<Claims>]: IsUnion<OwnerOf<Claims, Key>> extends true ? Key : never;
}[KeyOfEach<Claims>];

type KeyOfEach<Union> = Union extends unknown ? keyof Union & string : never;

type OwnerOf<Claims, Key extends PropertyKey> =
  Claims extends Readonly<Record<Key, infer Owner>> ? Owner : never;

type IsUnion<T, Whole = T> = T extends unknown ? ([Whole] extends [T] ? false : true) : never;

type SharedCategory<Aggregates extends readonly AnyAggregate[]> = Shared<
  {
    [Index in keyof Aggregates]: Readonly<Record<Aggregates[Index]['category'], Index>>;
  }[number]
>;

type SharedName<Aggregates extends readonly AnyAggregate[]> = Shared<
  {
    [Index in keyof Aggregates]: NameClaims<Aggregates[Index]['events'], Index & string>;
  }[number]
>;

type NameClaims<Events extends EventMap, Owner extends string> = {
  readonly [Type in keyof Events & string as StoredName<Events[Type], Type>]: `${Owner}.${Type}`;
};

type StoredNames<A extends AnyAggregate> = {
  [Type in keyof A['events'] & string]: StoredName<A['events'][Type], Type>;
}[keyof A['events'] & string];

type StoredName<D extends EventDefinition, Type extends string> = D['storedName'] extends string
  ? D['storedName']
  : Type;

/**
 * {@link DistinctAggregates} at run time, for those whom the compiler does not check.
 *
 * @throws SteleError `invalid-argument` naming the category, or the stored name and its two events
 */
export function assertDistinctAggregates(aggregates: readonly AnyAggregate[]): void {
  const categories = new Set<string>();
  const owners = new Map<string, string>();
  for (const { category, events } of aggregates) {
    if (categories.has(category)) {
      throw new SteleError(
        'invalid-argument',
        `Two aggregates have the category '${category}'. Give each its own: it begins the stream ids.`,
      );
    }
    categories.add(category);
    for (const [type, definition] of Object.entries(events)) {
      const name = definition.storedName ?? type;
      const owner = owners.get(name);
      if (owner !== undefined) {
        throw new SteleError(
          'invalid-argument',
          `Both ${owner} and ${category}.${type} are stored as '${name}'. Tell them apart with storedAs().`,
        );
      }
      owners.set(name, `${category}.${type}`);
    }
  }
}
