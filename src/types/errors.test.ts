import { describe, expect, it, vi } from 'vitest';
import {
  ConcurrencyError,
  formatPath,
  isSteleError,
  SteleError,
  UnstorableValueError,
  ValidationError,
} from './errors.ts';

describe('isSteleError', () => {
  it('tells errors by code', () => {
    const error: unknown = new ConcurrencyError('user-1', 3, 4);
    expect(isSteleError(error)).toBe(true);
    expect(isSteleError(error, 'concurrency')).toBe(true);
    expect(isSteleError(error, 'validation')).toBe(false);
    expect(isSteleError(error, 'concurrency') && error.actualVersion).toBe(4);
  });

  it.each([
    new Error('concurrency'),
    Object.assign(new Error('x'), { code: 'concurrency' }),
    { code: 'concurrency' },
    'concurrency',
    null,
    undefined,
  ])('is false for %j', (value) => {
    expect(isSteleError(value)).toBe(false);
    expect(isSteleError(value, 'concurrency')).toBe(false);
  });

  it('holds between two copies of the package', async () => {
    vi.resetModules();
    const copy = await import('./errors.ts');
    expect(copy.SteleError).not.toBe(SteleError);
    const theirs: unknown = new copy.ConcurrencyError('user-1', 'no-stream', 1);
    expect(theirs).not.toBeInstanceOf(SteleError);
    expect(isSteleError(theirs, 'concurrency')).toBe(true);
    expect(copy.isSteleError(new ConcurrencyError('user-1', 1, 2), 'concurrency')).toBe(true);
  });
});

describe('a SteleError', () => {
  it('has the name of its class, its code and its cause', () => {
    const cause = new Error('cause');
    const error = new SteleError('database', 'text', { cause });
    expect(error).toMatchObject({ name: 'SteleError', code: 'database', message: 'text', cause });
    expect(new ConcurrencyError('user-1', 1, 2).name).toBe('ConcurrencyError');
  });

  it('prints without its brand', () => {
    expect(Object.keys(new SteleError('database', 'text'))).toEqual(['code', 'name']);
  });
});

describe('a ConcurrencyError', () => {
  it.each([
    [3, 4, "Stream 'user-1' was expected at version 3, but it is at version 4."],
    ['no-stream', 1, "Stream 'user-1' was expected at 'no-stream', but it is at version 1."],
    [2, 0, "Stream 'user-1' was expected at version 2, but it does not exist."],
  ] as const)('of expected %j and actual %i says so', (expected, actual, text) => {
    expect(new ConcurrencyError('user-1', expected, actual).message).toContain(text);
  });
});

describe('a ValidationError', () => {
  it('lists every issue with its path', () => {
    const error = new ValidationError('event UserCreated', [
      { message: 'Invalid email', path: ['email'] },
      { message: 'Too short', path: ['lines', 0, 'text'] },
      { message: 'Wrong as a whole', path: [] },
    ]);
    expect(error.message).toBe(
      'Invalid event UserCreated: email: Invalid email; lines[0].text: Too short; Wrong as a whole',
    );
    expect(error.issues).toHaveLength(3);
  });
});

describe('an UnstorableValueError', () => {
  it('says what was found, where, and what to do', () => {
    const error = new UnstorableValueError('event A', ['a', 0], 'a Date', 'Use a string.');
    expect(error.message).toBe('event A cannot be stored: a Date at a[0]. Use a string.');
  });
});

describe('formatPath', () => {
  it.each<[PropertyKey[], string]>([
    [[], '(root)'],
    [['a', 'b'], 'a.b'],
    [[0, 1], '[0][1]'],
    [['a', 0, 'b'], 'a[0].b'],
    [[Symbol('s')], 'Symbol(s)'],
  ])('of %j', (path, text) => {
    expect(formatPath(path)).toBe(text);
  });
});
