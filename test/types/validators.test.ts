/** The same declarations by every validator that the documentation names: types and behaviour. */
import { type as ark } from 'arktype';
import { aggregate, event, type EventOf, type RejectionOf } from 'stele';
import * as v from 'valibot';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { z } from 'zod';
import { validate, validateNow, type Schema } from '../../src/types/schema.ts';

const byZod = aggregate('zod', {
  events: {
    Registered: event(z.object({ email: z.email() })).version(
      z.object({ email: z.email(), age: z.number().optional() }),
      (v1) => {
        expectTypeOf(v1).toEqualTypeOf<{ email: string }>();
        return { ...v1, age: 1 };
      },
    ),
  },
  initialState: (): { email: string | null } => ({ email: null }),
  evolve: { Registered: (_, { data }) => ({ email: data.email }) },
  errors: { Taken: z.object({ email: z.string() }) },
  commands: {
    register: {
      input: z.object({ email: z.email() }),
      decide: ({ email }, state, { emit, reject }) =>
        state.email === null ? emit.Registered({ email }) : reject.Taken({ email }),
    },
  },
});

const byValibot = aggregate('valibot', {
  events: {
    Registered: event(v.object({ email: v.pipe(v.string(), v.email()) })).version(
      v.object({ email: v.pipe(v.string(), v.email()), age: v.optional(v.number()) }),
      (v1) => {
        expectTypeOf(v1).toEqualTypeOf<{ email: string }>();
        return { ...v1, age: 1 };
      },
    ),
  },
  initialState: (): { email: string | null } => ({ email: null }),
  evolve: { Registered: (_, { data }) => ({ email: data.email }) },
  errors: { Taken: v.object({ email: v.string() }) },
  commands: {
    register: {
      input: v.object({ email: v.pipe(v.string(), v.email()) }),
      decide: ({ email }, state, { emit, reject }) =>
        state.email === null ? emit.Registered({ email }) : reject.Taken({ email }),
    },
  },
});

const byArkType = aggregate('arktype', {
  events: {
    Registered: event(ark({ email: 'string.email' })).version(
      ark({ email: 'string.email', 'age?': 'number' }),
      (v1) => {
        expectTypeOf(v1).toEqualTypeOf<{ email: string }>();
        return { ...v1, age: 1 };
      },
    ),
  },
  initialState: (): { email: string | null } => ({ email: null }),
  evolve: { Registered: (_, { data }) => ({ email: data.email }) },
  errors: { Taken: ark({ email: 'string' }) },
  commands: {
    register: {
      input: ark({ email: 'string.email' }),
      decide: ({ email }, state, { emit, reject }) =>
        state.email === null ? emit.Registered({ email }) : reject.Taken({ email }),
    },
  },
});

describe.each([byZod, byValibot, byArkType])('by $category', (aggregate) => {
  const { Registered } = aggregate.events;
  const newest = Registered.versions[1]?.schema as Schema;

  it('accepts a right payload', async () => {
    const data = { email: 'a@example.com', age: 3 };
    await expect(validate(newest, data, 'event Registered')).resolves.toEqual(data);
  });

  it('answers at once', () => {
    expect(validateNow(newest, { email: 'a@example.com' }, 'event Registered')).toEqual({
      email: 'a@example.com',
    });
  });

  it('refuses a wrong payload and names the path', async () => {
    await expect(validate(newest, { email: 'nobody' }, 'event Registered')).rejects.toMatchObject({
      code: 'validation',
      issues: [{ path: ['email'] }],
      message: expect.stringMatching(/^Invalid event Registered: email: /u),
    });
  });

  it('takes the first version to the second', () => {
    expect(Registered.versions[1]?.upcast?.({ email: 'a@example.com' })).toEqual({
      email: 'a@example.com',
      age: 1,
    });
  });

  it('makes events, commands and rejections', () => {
    const { category } = aggregate;
    expect(aggregate.emit.Registered({ email: 'a' })).toEqual({
      category,
      type: 'Registered',
      data: { email: 'a' },
    });
    expect(aggregate.command.register({ email: 'a' })).toEqual({
      category,
      name: 'register',
      input: { email: 'a' },
    });
    expect(aggregate.reject.Taken({ email: 'a' })).toEqual({
      rejected: true,
      type: 'Taken',
      data: { email: 'a' },
    });
  });
});

it('infers the same of every validator', () => {
  expectTypeOf<EventOf<typeof byZod>['data']>().toEqualTypeOf<{
    email: string;
    age?: number | undefined;
  }>();
  expectTypeOf<EventOf<typeof byValibot>['data']>().toEqualTypeOf<{
    email: string;
    age?: number | undefined;
  }>();
  expectTypeOf<EventOf<typeof byArkType>['data']>().toEqualTypeOf<{
    email: string;
    age?: number;
  }>();
  expectTypeOf<RejectionOf<typeof byZod>>().toEqualTypeOf<RejectionOf<typeof byValibot>>();
  expectTypeOf<RejectionOf<typeof byZod>>().toEqualTypeOf<RejectionOf<typeof byArkType>>();
});
