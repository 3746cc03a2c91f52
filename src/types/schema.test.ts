import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type, validate, validateNow, type Schema } from './schema.ts';

/** A schema that answers later, as one that looks something up does. */
function later(calls: unknown[]): Schema<unknown, string> {
  return {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: async (value) => {
        calls.push(value);
        return typeof value === 'string' ? { value } : { issues: [{ message: 'no string' }] };
      },
    },
  };
}

describe('validateNow', () => {
  it('answers at once where the schema does, with what the schema made of the value', () => {
    expect(validateNow(z.string().trim(), ' a ', 'name')).toBe('a');
  });

  it('answers later where the schema does, and asks it once', async () => {
    const calls: unknown[] = [];
    await expect(validateNow(later(calls), 'a', 'name')).resolves.toBe('a');
    expect(calls).toEqual(['a']);
  });

  it('refuses at once or later', async () => {
    expect(() => validateNow(z.string(), 1, 'name')).toThrow('Invalid name: ');
    await expect(validateNow(later([]), 1, 'name')).rejects.toThrow('Invalid name: no string');
  });

  it('reads paths whose segments are keys or objects with a key', () => {
    const schema: Schema = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: () => ({ issues: [{ message: 'no', path: ['a', { key: 0 }] }] }),
      },
    };
    expect(() => validateNow(schema, 1, 'name')).toThrow('Invalid name: a[0]: no');
  });
});

describe('validate', () => {
  it('rejects, and never throws', async () => {
    await expect(validate(z.string(), 1, 'name')).rejects.toMatchObject({ code: 'validation' });
  });
});

describe('type', () => {
  it('accepts everything', () => {
    expect(validateNow(type<{ a: string }>(), 1, 'name')).toBe(1);
  });
});
