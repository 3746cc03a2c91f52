import { describe, expect, it } from 'vitest';
import { checkProjectionName, schemaNames, searchPathOf, throwAwaySchema } from './schema.ts';

describe('the name of a projection', () => {
  it.each(['users', 'sign-ups', 'users.v2', 'Users_2', 'x'.repeat(30)])('may be %j', (name) => {
    expect(() => checkProjectionName(name)).not.toThrow();
  });

  it.each(['', ' ', 'a b', 'a"b', 'a__new', 'x'.repeat(31), 'ü', '../x', 'a\0'])(
    'may not be %j',
    (name) => {
      expect(() => checkProjectionName(name)).toThrow("A projection's name is 1 to 30 letters");
    },
  );
});

describe('the schemas of a projection', () => {
  it('are named after the store’s and the projection', () => {
    expect(schemaNames('stele', 'users')).toEqual({
      live: 'stele_users',
      shadow: 'stele_users__new',
      kept: 'stele_users__old',
    });
    expect(throwAwaySchema('stele', 'users')).toMatch(/^stele_users__then_[0-9a-f]{6}$/u);
  });

  it('have names that Postgres does not cut, or none', () => {
    const longest = throwAwaySchema('schema_of_12', 'x'.repeat(30));
    expect(Buffer.byteLength(longest)).toBe(56);
    expect(() => schemaNames('schema_of_13_', 'x'.repeat(30))).toThrow('may have 43 bytes');
    expect(() => schemaNames('ääääääääää', 'x'.repeat(30))).toThrow('may have 43 bytes');
  });

  it('stand before what was found first', () => {
    expect(searchPathOf('stele_users')).toBe('"stele_users"');
    expect(searchPathOf('a"b', '"$user", public')).toBe('"a""b", "$user", public');
  });
});
