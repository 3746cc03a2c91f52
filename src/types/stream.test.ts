import { describe, expect, it } from 'vitest';
import { categoryOf, idOf, streamOf } from './stream.ts';

const stream = streamOf as (category: string, id: unknown) => { streamId: string };

describe('a stream', () => {
  it.each(['42', 'a-b-c', 'ü', '日本', '💶', 'with space', "'; drop table events; --"])(
    'may have the id %s',
    (id) => {
      expect(stream('user', id)).toEqual({ category: 'user', streamId: `user-${id}` });
      expect(categoryOf(`user-${id}`)).toBe('user');
    },
  );

  it('may be as long as 500 characters, with its category', () => {
    expect(stream('user', 'x'.repeat(495)).streamId).toHaveLength(500);
    expect(() => stream('user', 'x'.repeat(496))).toThrow(
      "A stream id may have 500 characters, but 'user-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…' has 501.",
    );
  });

  it.each<[unknown, string]>([
    ['', "but got ''"],
    [undefined, 'but got undefined'],
    [42, 'but got number'],
    [null, 'but got object'],
    ['a\0', 'holds a NUL or a lone surrogate'],
    ['\ud83d', 'holds a NUL or a lone surrogate'],
  ])('may not have the id %j', (id, text) => {
    expect(() => stream('user', id)).toThrow(
      expect.objectContaining({
        code: 'invalid-argument',
        message: expect.stringContaining(text),
      }),
    );
  });

  it('has no category but itself without a hyphen', () => {
    expect(categoryOf('user')).toBe('user');
    expect(categoryOf('user-')).toBe('user');
  });

  it('gives its id back', () => {
    expect(idOf('user', streamOf('user', 'a-b').streamId)).toBe('a-b');
  });

  it.each(['order-1', 'user', 'user-', 'users-1'])('%s is none of another category', (streamId) => {
    expect(() => idOf('user', streamId)).toThrow(`'${streamId}' is not a stream of 'user'.`);
  });
});
