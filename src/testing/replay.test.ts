import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { aggregate } from '../types/aggregate.ts';
import { event } from '../types/event.ts';
import { replay } from './replay.ts';

type UserState = { status: 'absent' } | { status: 'active'; email: string; changed: Date };

const User = aggregate('user', {
  events: {
    UserCreated: event(z.object({ email: z.email(), username: z.string() })).version(
      z.object({ email: z.email(), username: z.string(), hashedPassword: z.string().default('') }),
      (v1) => ({ ...v1, hashedPassword: '' }),
    ),
    EmailChanged: event(z.object({ email: z.email() })),
  },
  initialState: (): UserState => ({ status: 'absent' }),
  evolve: {
    UserCreated: (_, { data, metadata }) => ({
      status: 'active',
      email: data.email,
      changed: metadata.timestamp,
    }),
    EmailChanged: (_, { data, metadata }) => ({
      status: 'active',
      email: data.email,
      changed: metadata.timestamp,
    }),
  },
});

const created = User.emit.UserCreated({ email: 'old@example.com', username: 'ada' });

const Seen = aggregate('seen', {
  events: {
    Added: event(z.object({ text: z.string().transform((text) => text.length) })),
    Spoiled: event(z.object({})),
  },
  initialState: (): { events: unknown[] } => ({ events: [] }),
  evolve: {
    Added: ({ events }, event) => ({ events: [...events, event] }),
    Spoiled: (state) => {
      state.events.push('spoiled');
      return state;
    },
  },
});

describe('replay', () => {
  it('finds the new e-mail after UserCreated and EmailChanged', () => {
    const user = replay(User, [created, User.emit.EmailChanged({ email: 'new@example.com' })]);
    expect(user).toEqual({ status: 'active', email: 'new@example.com', changed: new Date(0) });
  });

  it('is in the initial state without events', () => {
    expect(replay(User, [])).toEqual({ status: 'absent' });
  });

  it('gives handlers what the schema returns, and the event as it would be stored', () => {
    const id = '0198c0de-0000-7000-8000-000000000000';
    const timestamp = new Date('2026-01-01');
    expect(
      replay(Seen, [Seen.emit.Added({ text: 'abc' }), Seen.emit.Added({ text: '' }, { id })], {
        id: '42',
        timestamp,
        metadata: { userId: 'u' },
      }),
    ).toEqual({
      events: [
        {
          id: '00000000-0000-7000-8000-000000000001',
          type: 'Added',
          data: { text: 3 },
          streamId: 'seen-42',
          version: 1,
          metadata: { userId: 'u', timestamp },
        },
        {
          id,
          type: 'Added',
          data: { text: 0 },
          streamId: 'seen-42',
          version: 2,
          metadata: { userId: 'u', timestamp },
        },
      ],
    });
  });

  it('refuses a payload that could not be stored', () => {
    expect(() => replay(User, [User.emit.EmailChanged({ email: 'nobody' })])).toThrow(
      /^Invalid event EmailChanged/u,
    );
  });

  it('refuses an event of another aggregate', () => {
    expect(() => replay(User, [Seen.emit.Spoiled() as never])).toThrow("aggregate 'seen'");
  });

  it('catches a handler that changes the state in place', () => {
    expect(() => replay(Seen, [Seen.emit.Spoiled()])).toThrow(
      expect.objectContaining({ code: 'evolve-failed' }),
    );
  });

  it('says what to do with a schema that answers later', () => {
    const Later = aggregate('later', {
      events: { Checked: event(z.object({ ok: z.boolean() })) },
      initialState: () => 0,
      evolve: { Checked: (count) => count + 1 },
    });
    const slow = aggregate('slow', {
      events: {
        Checked: event({
          '~standard': {
            version: 1 as const,
            vendor: 'test',
            validate: async (value: unknown) => ({ value: value as { ok: boolean } }),
          },
        }),
      },
      initialState: () => 0,
      evolve: { Checked: (count) => count + 1 },
    });
    expect(replay(Later, [Later.emit.Checked({ ok: true })])).toBe(1);
    expect(() => replay(slow, [slow.emit.Checked({ ok: true })])).toThrow('Use given(…).when(…).');
  });
});
