import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isSteleError, type UnstorableValueError } from './errors.ts';
import { encodeJson, maximumDepth, maximumLength } from './storable.ts';

function refusal(value: unknown): UnstorableValueError {
  try {
    encodeJson(value, 'event Tested');
  } catch (error) {
    if (isSteleError(error, 'unstorable-value')) return error;
    throw error;
  }
  throw new Error(`${JSON.stringify(value)} was accepted`);
}

function nested(depth: number): unknown {
  let value: unknown = 'leaf';
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { value };
  return value;
}

describe('encodeJson', () => {
  it('leaves out properties that are undefined', () => {
    expect(encodeJson({ a: 1, b: undefined }, 'event Tested')).toBe('{"a":1}');
  });

  it('accepts objects without a prototype', () => {
    expect(encodeJson(Object.assign(Object.create(null), { a: 1 }), 'event Tested')).toBe(
      '{"a":1}',
    );
  });

  it('accepts a backslash and a u that are no escape', () => {
    expect(JSON.parse(encodeJson({ path: String.raw`C:\users\u0000` }, 'event Tested'))).toEqual({
      path: String.raw`C:\users\u0000`,
    });
  });

  it('accepts control characters and whole surrogate pairs', () => {
    expect(JSON.parse(encodeJson({ text: '\u0001\n💶' }, 'event Tested'))).toEqual({
      text: '\u0001\n💶',
    });
  });

  it('keeps a __proto__ key as data and pollutes nothing', () => {
    const value: unknown = JSON.parse('{"__proto__":{"admin":true},"constructor":1}');
    const text = encodeJson(value, 'event Tested');
    expect(text).toBe('{"__proto__":{"admin":true},"constructor":1}');
    expect({}).not.toHaveProperty('admin');
    expect(JSON.parse(text)).not.toHaveProperty('admin');
  });

  it('looks into a __proto__ key', () => {
    const value: unknown = JSON.parse(String.raw`{"__proto__":{"name":"\u0000"}}`);
    expect(refusal(value).path).toEqual(['__proto__', 'name']);
  });

  it('accepts one object in two places, which is no cycle', () => {
    const shared = { a: 1 };
    expect(encodeJson([shared, { shared }], 'event Tested')).toBe('[{"a":1},{"shared":{"a":1}}]');
  });

  class Money {
    readonly amount = 1;
  }
  class Numbers extends Array<number> {}
  const cycle: { self?: unknown } = {};
  cycle.self = [cycle];

  it.each<[what: string, value: unknown, path: PropertyKey[], found: string]>([
    ['undefined itself', undefined, [], 'undefined at (root)'],
    ['NUL in a string', { a: ['x\0'] }, ['a', 0], 'a string with a NUL character'],
    ['NUL in a key', { a: { 'k\0': 1 } }, ['a', 'k\0'], 'a key with a NUL character'],
    ['a lone surrogate in a string', { a: '\ud800' }, ['a'], 'half of a surrogate pair'],
    ['a lone surrogate in a key', { '\udc00': 1 }, ['\udc00'], 'half of a surrogate pair'],
    ['NaN', { a: { b: Number.NaN } }, ['a', 'b'], 'NaN at a.b'],
    ['Infinity', [1, Infinity], [1], 'Infinity at [1]'],
    ['-Infinity', [-Infinity], [0], '-Infinity at [0]'],
    ['a bigint', { a: 1n }, ['a'], 'a bigint at a'],
    ['a Date', { at: new Date() }, ['at'], 'a Date at at'],
    ['a Map', { m: new Map() }, ['m'], 'a Map at m'],
    ['a Set', { m: new Set() }, ['m'], 'a Set at m'],
    ['a typed array', { m: new Uint8Array(1) }, ['m'], 'an Uint8Array at m'],
    ['a Buffer', { m: Buffer.from('a') }, ['m'], 'a Buffer at m'],
    ['an instance', { price: new Money() }, ['price'], 'a Money at price'],
    ['an Error', new Error('x'), [], 'an Error at (root)'],
    ['a boxed string', { s: Object('x') }, ['s'], 'a String at s'],
    ['a function', { f: () => 1 }, ['f'], 'a function at f'],
    ['a symbol', { s: Symbol('x') }, ['s'], 'a symbol at s'],
    ['toJSON of its own', { a: { toJSON: () => 1 } }, ['a'], 'an object with toJSON() at a'],
    [
      'toJSON that does not show',
      { a: Object.defineProperty({}, 'toJSON', { value: () => 1 }) },
      ['a'],
      'an object with toJSON() at a',
    ],
    ['undefined in an array', { l: [1, undefined] }, ['l', 1], 'undefined at l[1]'],
    ['a hole in an array', { l: Array(2) }, ['l', 0], 'a hole in an array at l[0]'],
    ['a cycle', cycle, ['self', 0], 'a cycle at self[0]'],
    ['a toJSON-less instance in a list', [[new Money()]], [0, 0], 'a Money at [0][0]'],
    ['an array of another class', { n: Object.assign(new Numbers(1), [1n]) }, ['n', 0], 'a bigint'],
  ])('refuses %s and names its path', (_, value, path, found) => {
    const error = refusal(value);
    expect(error.path).toEqual(path);
    expect(error.message).toContain('event Tested cannot be stored: ');
    expect(error.message).toContain(found);
  });

  it('says what is wrong, where, and what to do', () => {
    expect(refusal({ order: { at: new Date(0) } }).message).toBe(
      'event Tested cannot be stored: a Date at order.at. ' +
        'Use plain objects, arrays, strings and numbers, or give the event a codec.',
    );
  });

  it(`accepts ${maximumDepth} levels and refuses one more`, () => {
    expect(encodeJson(nested(maximumDepth), 'event Tested')).toContain('leaf');
    const error = refusal(nested(maximumDepth + 1));
    expect(error.path).toHaveLength(maximumDepth);
    expect(error.message).toContain(`nesting deeper than ${maximumDepth}`);
  });

  it('refuses a text that is too long', () => {
    const error = refusal({ text: 'x'.repeat(maximumLength) });
    expect(error.message).toContain(`The limit is ${maximumLength}.`);
  });

  it('gives back the equal value of everything it accepts', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        let text: string;
        try {
          text = encodeJson(value, 'event Tested');
        } catch (error) {
          // jsonValue also makes strings that Postgres cannot hold.
          return isSteleError(error, 'unstorable-value');
        }
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(JSON.parse(text)).toEqual(withoutNegativeZero(value));
        return true;
      }),
    );
  });

  it('accepts what JSON keeps as it is, and nothing else', () => {
    const anything = fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withTypedArray: true,
      withSparseArray: true,
      withNullPrototype: true,
      values: [
        fc.string({ unit: 'binary', maxLength: 3 }),
        fc.string(),
        fc.double(),
        fc.constantFrom(null, undefined, true, -0, Number.NaN, 10n),
      ],
    });
    fc.assert(
      fc.property(anything, (value) => {
        let text: string;
        try {
          text = encodeJson(value, 'event Tested');
        } catch (error) {
          if (!isSteleError(error, 'unstorable-value')) return false;
          return isUnstorable(at(value, error.path), error.path.at(-1));
        }
        expect(withoutNegativeZero(JSON.parse(text))).toEqual(withoutNegativeZero(value));
        return true;
      }),
      { numRuns: 2000 },
    );
  });

  it('names the path of the one bad value, wherever it is', () => {
    const bad = fc.constantFrom<unknown>(
      Number.NaN,
      1n,
      new Date(),
      new Map(),
      'a\0b',
      '\ud83d',
      Symbol.iterator,
    );
    const path = fc.array(
      fc.oneof(fc.nat(3), fc.string({ unit: 'grapheme', minLength: 1 })).filter(isSafeKey),
      { maxLength: 6 },
    );
    fc.assert(
      fc.property(bad, path, (value, path) => {
        expect(refusal(wrap(value, path)).path).toEqual(path);
      }),
    );
  });
});

function isSafeKey(key: string | number): boolean {
  return typeof key === 'number' || (!key.includes('\0') && key.isWellFormed());
}

/** The value within arrays and objects, among siblings that can be stored. */
function wrap(value: unknown, path: readonly (string | number)[]): unknown {
  return path.reduceRight<unknown>((inner, key) => {
    if (typeof key === 'string') {
      return Object.fromEntries([
        ['before', 'x'],
        [key, inner],
      ]);
    }
    const array: unknown[] = Array.from({ length: key }, () => null);
    return [...array, inner, 'after'];
  }, value);
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((inner, key) => (inner as Record<PropertyKey, unknown>)[key], value);
}

function isUnstorable(value: unknown, key: PropertyKey | undefined): boolean {
  if (typeof key === 'string' && (key.includes('\0') || !key.isWellFormed())) return true;
  if (typeof value === 'string') return value.includes('\0') || !value.isWellFormed();
  if (typeof value === 'number') return !Number.isFinite(value);
  if (Array.isArray(value) || typeof value === 'boolean' || value === null) return false;
  if (typeof value !== 'object') return true;
  return Object.getPrototypeOf(value) !== Object.prototype && Object.getPrototypeOf(value) !== null;
}

function withoutNegativeZero(value: unknown): unknown {
  if (Object.is(value, -0)) return 0;
  if (Array.isArray(value)) return value.map(withoutNegativeZero);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => [key, withoutNegativeZero(item)]),
  );
}
