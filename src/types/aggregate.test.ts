import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { aggregate } from './aggregate.ts';
import { event } from './event.ts';

const User = aggregate('user', {
  events: {
    EmailChanged: event(z.object({ email: z.email() })),
    Deleted: event(z.object({})),
  },
  initialState: (): { email: string | null } => ({ email: null }),
  evolve: {
    EmailChanged: (_, { data }) => ({ email: data.email }),
    Deleted: () => ({ email: null }),
  },
  errors: { EmailTaken: z.object({ email: z.string() }), NotActive: z.object({}) },
  commands: {
    changeEmail: {
      input: z.object({ email: z.email() }),
      decide: ({ email }, _, { emit }) => emit.EmailChanged({ email }),
    },
    delete: { input: z.object({}), decide: (_, __, { emit }) => emit.Deleted() },
  },
});

describe('aggregate', () => {
  it('makes events', () => {
    expect(User.emit.EmailChanged({ email: 'a@example.com' })).toEqual({
      category: 'user',
      type: 'EmailChanged',
      data: { email: 'a@example.com' },
    });
  });

  it('makes events with an id of the caller, and without one leaves the key out', () => {
    const id = '0198c0de-0000-7000-8000-000000000000';
    expect(User.emit.Deleted({}, { id })).toHaveProperty('id', id);
    expect(User.emit.Deleted()).not.toHaveProperty('id');
  });

  it('gives an empty payload to what is made without one', () => {
    expect(User.emit.Deleted().data).toEqual({});
    expect(User.reject.NotActive().data).toEqual({});
    expect(User.command.delete().input).toEqual({});
  });

  it('makes rejections', () => {
    expect(User.reject.EmailTaken({ email: 'a@example.com' })).toEqual({
      rejected: true,
      type: 'EmailTaken',
      data: { email: 'a@example.com' },
    });
  });

  it('makes commands', () => {
    expect(User.command.changeEmail({ email: 'a@example.com' })).toEqual({
      category: 'user',
      name: 'changeEmail',
      input: { email: 'a@example.com' },
    });
  });

  it('makes streams', () => {
    expect(User.stream('42')).toEqual({ category: 'user', streamId: 'user-42' });
  });

  it('has empty maps of what was not declared', () => {
    const Plain = aggregate('plain', { events: {}, initialState: () => 0, evolve: {} });
    expect(Plain).toMatchObject({ errors: {}, commands: {}, metadata: undefined });
  });

  it('cannot be changed', () => {
    expect(Object.isFrozen(User)).toBe(true);
    expect(Object.isFrozen(User.emit)).toBe(true);
  });
});

describe('events named like what every object inherits', () => {
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'] as const;
  const mapped = <Value>(value: Value): Record<(typeof names)[number], Value> =>
    Object.fromEntries(names.map((name) => [name, value])) as Record<(typeof names)[number], Value>;
  const Odd = aggregate('odd', {
    events: mapped(event(z.object({}))),
    initialState: () => 0,
    evolve: mapped((count: number) => count + 1),
  });

  it.each(names)('%s is an event like any other', (name) => {
    expect(Object.hasOwn(Odd.emit, name)).toBe(true);
    expect(Odd.emit[name]({ admin: true } as never)).toEqual({
      category: 'odd',
      type: name,
      data: { admin: true },
    });
    expect({}).not.toHaveProperty('admin');
  });

  it('are not found where they were not declared', () => {
    expect(() =>
      aggregate('odd', {
        events: mapped(event(z.object({}))),
        initialState: () => 0,
        evolve: {} as never,
      }),
    ).toThrow("Aggregate 'odd' has no evolve handler for its event '__proto__'.");
  });
});

describe('what the compiler would have refused', () => {
  const declare = aggregate as (category: unknown, definition: unknown) => unknown;
  const right = {
    events: { Counted: event(z.object({})) },
    initialState: () => 0,
    evolve: { Counted: (count: number) => count + 1 },
  };

  it.each<[what: string, category: unknown, definition: unknown, text: string]>([
    ['an empty category', '', right, 'A category is 1 to 100 letters'],
    ['a category with a hyphen', 'a-b', right, "but got 'a-b'"],
    ['a category with a space', 'a b', right, "but got 'a b'"],
    ['a category that is too long', 'a'.repeat(101), right, 'A category is 1 to 100 letters'],
    ['a category that is no string', 42, right, "but got '42'"],
    [
      'a missing handler',
      'counter',
      { ...right, evolve: {} },
      "Aggregate 'counter' has no evolve handler for its event 'Counted'. Add evolve.Counted: (state, event) => state.",
    ],
    [
      'a handler that is no function',
      'counter',
      { ...right, evolve: { Counted: 1 } },
      "Aggregate 'counter' has no evolve handler for its event 'Counted'.",
    ],
    [
      'a handler of no event',
      'counter',
      { ...right, evolve: { ...right.evolve, Cuonted: () => 0 } },
      "Aggregate 'counter' evolves 'Cuonted', which is none of its events.",
    ],
    [
      'a state that is not made by a function',
      'counter',
      { ...right, initialState: 0 },
      "Aggregate 'counter' needs an initialState",
    ],
    [
      'two events stored under one name',
      'counter',
      {
        ...right,
        events: { ...right.events, Added: event(z.object({})).storedAs('Counted') },
        evolve: { ...right.evolve, Added: () => 0 },
      },
      "Aggregate 'counter' stores both 'Counted' and 'Added' as 'Counted'.",
    ],
    [
      'a command that does not decide',
      'counter',
      { ...right, commands: { count: { input: z.object({}) } } },
      "Command 'count' of aggregate 'counter' needs a decide function.",
    ],
  ])('%s is refused at run time too', (_, category, definition, text) => {
    expect(() => declare(category, definition)).toThrow(
      expect.objectContaining({
        code: 'invalid-argument',
        message: expect.stringContaining(text),
      }),
    );
  });
});
