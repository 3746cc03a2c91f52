import { describe, expect, it } from 'vitest';
import { aggregate } from '../types/aggregate.ts';
import { event } from '../types/event.ts';
import { batchProjection } from './batch-projection.ts';
import { documentProjection } from './document-projection.ts';
import { projectionParts, type HasProjectionParts } from './parts.ts';
import { projection } from './projection.ts';

const User = aggregate('user', {
  events: { Created: event<{ email: string }>(), Renamed: event<{ to: string }>() },
  initialState: () => 0,
  evolve: { Created: (count) => count + 1, Renamed: (count) => count },
});

const fingerprint = (projection: HasProjectionParts): string =>
  projectionParts(projection).fingerprint;

/** A projection that differs from another in nothing but what is given. */
const users = (
  options: {
    readonly tables?: string;
    readonly version?: number | string;
    readonly partitions?: number;
    readonly Renamed?: () => void;
  } = {},
) => {
  const { Renamed, ...rest } = options;
  return projection('users', {
    tables: 'create table users (id text)',
    ...rest,
    aggregates: [User],
    others: 'ignore',
    on: { Created: () => undefined, ...(Renamed === undefined ? {} : { Renamed }) },
  });
};

describe('the fingerprint of a projection', () => {
  it('is that of the same definition', () => {
    expect(fingerprint(users())).toBe(fingerprint(users()));
  });

  it('does not mind how SQL is laid out, nor how many work on it', () => {
    const laidOut = users({ tables: ' create table users\n  (id text)\n', partitions: 4 });
    expect(fingerprint(laidOut)).toBe(fingerprint(users()));
  });

  it('is another one for other tables, other events or other code', () => {
    const [one, two] = [() => undefined, () => void 'something else'];
    const prints = [
      users(),
      users({ tables: 'create table users (id text, email text)' }),
      users({ Renamed: one }),
      users({ Renamed: two }),
    ].map(fingerprint);
    expect(new Set(prints).size).toBe(prints.length);
  });

  it('takes a version instead of the code', () => {
    const [one, two] = [() => undefined, () => void 'something else'];
    const first = fingerprint(users({ version: 1, Renamed: one }));
    expect(fingerprint(users({ version: 1, Renamed: two }))).toBe(first);
    expect(fingerprint(users({ version: 2, Renamed: one }))).not.toBe(first);
    expect(fingerprint(users({ version: 1 }))).not.toBe(first);
  });

  it('minds the key and the initial state of documents', () => {
    const documents = (initialState: () => number, key?: () => string) =>
      documentProjection('users', {
        aggregates: [User],
        key,
        initialState,
        evolve: { Created: () => null, Renamed: (document) => document },
      });
    const prints = [
      documents(() => 0),
      documents(() => 1),
      documents(
        () => 1,
        () => 'all',
      ),
    ].map(fingerprint);
    expect(new Set(prints).size).toBe(3);
  });
});

describe('a projection', () => {
  it('knows which events it takes', () => {
    const batch = batchProjection('b', { aggregates: [User], types: ['Renamed'], batch: () => {} });
    const { handles, partitions, tables, handler } = projectionParts(batch);
    expect([handles('user', 'Renamed'), handles('user', 'Created')]).toEqual([true, false]);
    expect(handles('order', 'Renamed')).toBe(false);
    expect({ partitions, tables }).toEqual({ partitions: 1, tables: undefined });
    expect(handler).toHaveProperty('batch');
  });

  it('is refused with wrong options, by those who do not compile, too', () => {
    const wrong = { aggregates: [User], types: ['Lost'], batch: () => {} } as unknown;
    expect(() => batchProjection('b', wrong as Parameters<typeof batchProjection>[1])).toThrow(
      'takes Lost, but its aggregates declare Created, Renamed',
    );
    expect(() => users({ partitions: 0 })).toThrow('from 1 to 1024');
    expect(() => users({ tables: ' ' })).toThrow('`tables` is SQL');
    const none = { aggregates: [], batch: () => {} } as unknown;
    expect(() => batchProjection('b', none as Parameters<typeof batchProjection>[1])).toThrow(
      'needs the aggregates',
    );
  });

  it('is nothing else', () => {
    expect(() => projectionParts({} as HasProjectionParts)).toThrow('A projection is made by');
  });
});
