import { aggregate, event } from 'stele';
import { z } from 'zod';

const email = z.email().max(254);
const username = z.string().trim().min(1).max(40);

/** What decisions depend on. The password's hash is not among it, so no history ever shows it. */
export type UserState =
  | { readonly status: 'absent' }
  | {
      readonly status: 'active' | 'deactivated';
      readonly email: string;
      readonly username: string;
    };

/** Decides for one user. Pure: it knows of no database, no clock and no HTTP. */
export const User = aggregate('user', {
  events: {
    UserCreated: event(z.object({ email, username })) // what the first release stored
      .version(z.object({ email, username, hashedPassword: z.string() }), (v1) => ({
        ...v1,
        hashedPassword: '', // matches no password: whoever is that old has to reset theirs
      })),
    EmailChanged: event(z.object({ email })),
    UsernameChanged: event(z.object({ username })),
    UserDeactivated: event(z.object({})),
  },

  initialState: (): UserState => ({ status: 'absent' }),

  evolve: {
    UserCreated: (_, { data }) => ({
      status: 'active',
      email: data.email,
      username: data.username,
    }),
    EmailChanged: (user, { data }) => ({ ...user, email: data.email }),
    UsernameChanged: (user, { data }) => ({ ...user, username: data.username }),
    UserDeactivated: (user) =>
      user.status === 'active' ? { ...user, status: 'deactivated' } : user,
  },

  errors: {
    AlreadyRegistered: z.object({}),
    EmailTaken: z.object({ email: z.string() }),
    NotActive: z.object({ status: z.enum(['absent', 'deactivated']) }),
  },

  commands: {
    register: {
      input: z.object({ email, username, hashedPassword: z.string().min(1) }),
      decide: (input, user, { emit, reject }) =>
        user.status === 'absent' ? emit.UserCreated(input) : reject.AlreadyRegistered(),
      constraints: {
        users_email_key: ({ email }, { reject }) => reject.EmailTaken({ email }),
      },
    },
    changeEmail: {
      input: z.object({ email }),
      decide: ({ email }, user, { emit, reject }) => {
        if (user.status !== 'active') return reject.NotActive({ status: user.status });
        return email === user.email ? [] : emit.EmailChanged({ email });
      },
      constraints: {
        users_email_key: ({ email }, { reject }) => reject.EmailTaken({ email }),
      },
    },
    rename: {
      input: z.object({ username }),
      decide: ({ username }, user, { emit, reject }) => {
        if (user.status !== 'active') return reject.NotActive({ status: user.status });
        return username === user.username ? [] : emit.UsernameChanged({ username });
      },
    },
    deactivate: {
      input: z.object({}),
      decide: (_, user, { emit, reject }) =>
        user.status === 'active'
          ? emit.UserDeactivated()
          : reject.NotActive({ status: user.status }),
    },
  },
});

export type User = typeof User;
