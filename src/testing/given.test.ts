import { AssertionError } from 'node:assert';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { aggregate } from '../types/aggregate.ts';
import { event } from '../types/event.ts';
import { given } from './given.ts';

type UserState = { status: 'absent' } | { status: 'active'; email: string };

const User = aggregate('user', {
  events: {
    UserCreated: event(z.object({ email: z.email(), plan: z.string().default('free') })),
    EmailChanged: event(z.object({ email: z.email() })),
    Notified: event(z.object({})),
  },
  initialState: (): UserState => ({ status: 'absent' }),
  evolve: {
    UserCreated: (_, { data }) => ({ status: 'active', email: data.email }),
    EmailChanged: (_, { data }) => ({ status: 'active', email: data.email }),
    Notified: (user) => user,
  },
  errors: { NotActive: z.object({}), EmailTaken: z.object({ email: z.string() }) },
  commands: {
    create: {
      input: z.object({ email: z.email() }),
      decide: ({ email }, _, { emit }) => emit.UserCreated({ email }),
    },
    changeEmail: {
      input: z.object({ email: z.email() }),
      decide: async ({ email }, user, { emit, reject }) => {
        if (user.status === 'absent') return reject.NotActive();
        if (email === 'taken@example.com') return reject.EmailTaken({ email });
        return email === user.email ? [] : [emit.EmailChanged({ email }), emit.Notified()];
      },
    },
    spoil: {
      input: z.object({}),
      decide: (_, user) => {
        Object.assign(user, { status: 'spoiled' });
        return [];
      },
    },
    emitNonsense: {
      input: z.object({}),
      decide: (_, __, { emit }) => emit.EmailChanged({ email: 'nobody' }),
    },
    tell: {
      input: z.object({}),
      decide: (_, __, { emit, streamId, version }) =>
        emit.EmailChanged({ email: `${streamId}@${version}.example.com` }),
    },
  },
});

const created = User.emit.UserCreated({ email: 'old@example.com' });
const email = 'new@example.com';

async function failure(test: Promise<void>): Promise<AssertionError> {
  try {
    await test;
  } catch (error) {
    if (error instanceof AssertionError) return error;
    throw error;
  }
  throw new Error('The expectation held.');
}

describe('given, when, then', () => {
  it('holds for the events that were decided', async () => {
    await expect(
      given(User, [created])
        .when('changeEmail', { email })
        .then([User.emit.EmailChanged({ email }), User.emit.Notified()]),
    ).resolves.toBeUndefined();
  });

  it('holds for no events', async () => {
    await expect(
      given(User, [created, User.emit.EmailChanged({ email })])
        .when('changeEmail', { email })
        .then([]),
    ).resolves.toBeUndefined();
  });

  it('compares payloads as they would be stored', async () => {
    await expect(
      given(User, [])
        .when('create', { email })
        .then([User.emit.UserCreated({ email, plan: 'free' })]),
    ).resolves.toBeUndefined();
  });

  it('holds for a rejection, with its data or without', async () => {
    const taken = given(User, [created]).when('changeEmail', { email: 'taken@example.com' });
    await expect(taken.thenRejected('EmailTaken')).resolves.toBeUndefined();
    await expect(
      taken.thenRejected('EmailTaken', { email: 'taken@example.com' }),
    ).resolves.toBeUndefined();
    await expect(
      given(User, []).when('changeEmail', { email }).thenRejected('NotActive'),
    ).resolves.toBeUndefined();
  });

  it('tells the command its stream and version', async () => {
    await expect(
      given(User, [created, created], { id: '42' })
        .when('tell', {})
        .then([User.emit.EmailChanged({ email: 'user-42@2.example.com' })]),
    ).resolves.toBeUndefined();
  });

  it('says which data differ', async () => {
    const error = await failure(
      given(User, [created])
        .when('changeEmail', { email })
        .then([User.emit.EmailChanged({ email: 'other@example.com' }), User.emit.Notified()]),
    );
    expect(error.message).toMatch(
      /^Command changeEmail of 'user' should have decided EmailChanged, Notified, but did so with other data\./u,
    );
    expect(error.message).toMatch(/\+ +email: 'new@example\.com'/u);
    expect(error.message).toMatch(/- +email: 'other@example\.com'/u);
    // Or the test runner would print the difference a second time.
    expect([error.actual, error.expected]).toEqual([undefined, undefined]);
  });

  it('says which events are missing', async () => {
    const { message } = await failure(
      given(User, [created])
        .when('changeEmail', { email })
        .then([User.emit.EmailChanged({ email })]),
    );
    expect(message).toContain(
      "Command changeEmail of 'user' should have decided EmailChanged, but decided EmailChanged, Notified.",
    );
  });

  it('says that there was a rejection instead of events, and the other way round', async () => {
    const rejected = await failure(
      given(User, [])
        .when('changeEmail', { email })
        .then([User.emit.EmailChanged({ email })]),
    );
    expect(rejected.message).toContain(
      'should have decided EmailChanged, but answered with the rejection NotActive.',
    );
    const decided = await failure(
      given(User, [created]).when('changeEmail', { email }).thenRejected('NotActive'),
    );
    expect(decided.message).toContain(
      'should have answered with the rejection NotActive, but decided EmailChanged, Notified.',
    );
  });

  it('says that the rejection is another one, or has other data', async () => {
    const taken = given(User, [created]).when('changeEmail', { email: 'taken@example.com' });
    await expect(taken.thenRejected('NotActive')).rejects.toThrow(
      'should have answered with the rejection NotActive, but answered with the rejection EmailTaken.',
    );
    const other = await failure(taken.thenRejected('EmailTaken', { email }));
    expect(other.message).toContain(
      'should have answered with the rejection EmailTaken, but did so with other data.',
    );
    expect(other.message).toMatch(/- +email: 'new@example\.com'/u);
  });

  it('compares an id where one is expected', async () => {
    const id = '0198c0de-0000-7000-8000-000000000000';
    await expect(
      given(User, [])
        .when('create', { email })
        .then([User.emit.UserCreated({ email }, { id })]),
    ).rejects.toThrow('but did so with other data');
  });

  it('refuses an input, a decided or a given payload that the store would refuse', async () => {
    const wrong = { code: 'validation' };
    const user = given(User, [created]);
    await expect(user.when('changeEmail', { email: 'nobody' }).then([])).rejects.toMatchObject(
      wrong,
    );
    await expect(user.when('emitNonsense', {}).then([])).rejects.toMatchObject(wrong);
    await expect(
      given(User, [User.emit.EmailChanged({ email: 'nobody' })])
        .when('spoil', {})
        .then([]),
    ).rejects.toMatchObject(wrong);
  });

  it('catches a command that changes the state in place', async () => {
    await expect(given(User, [created]).when('spoil', {}).then([])).rejects.toThrow(TypeError);
  });

  it('refuses to be awaited without an expectation', async () => {
    const when: unknown = given(User, [created]).when('changeEmail', { email });
    await expect(Promise.resolve(when)).rejects.toThrow(
      'Say what is expected of command changeEmail',
    );
  });
});
