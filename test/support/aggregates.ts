import { aggregate, event, type } from 'stele';
import { z } from 'zod';

export type UserState =
  | { readonly status: 'absent' }
  | {
      readonly status: 'active';
      readonly email: string;
      readonly username: string;
      readonly hashedPassword: string;
      readonly tags: readonly string[];
    };

const createdV1 = z.object({ email: z.email(), username: z.string() });
const createdV2 = z.object({ ...createdV1.shape, hashedPassword: z.string() });

/** What the upcaster gives to users who were stored before passwords. */
export const noPassword = '!';

/** An account of a person, whose `UserCreated` has had two schema versions. */
export const User = aggregate('user', {
  events: {
    UserCreated: event(createdV1).version(createdV2, (v1) => ({
      ...v1,
      hashedPassword: noPassword,
    })),
    EmailChanged: event(z.object({ email: z.email() })),
    Tagged: event(z.object({ tags: z.array(z.string()) })),
  },
  initialState: (): UserState => ({ status: 'absent' }),
  evolve: {
    UserCreated: (_, { data }) => ({ status: 'active', tags: [], ...data }),
    EmailChanged: (user, { data }) =>
      user.status === 'active' ? { ...user, email: data.email } : user,
    Tagged: (user, { data }) => (user.status === 'active' ? { ...user, tags: data.tags } : user),
  },
  errors: {
    AlreadyRegistered: z.object({}),
    NotActive: z.object({}),
    EmailTaken: z.object({ email: z.string() }),
  },
  commands: {
    register: {
      input: z.object({ email: z.email(), username: z.string() }),
      decide: (input, user, { emit, reject }) =>
        user.status === 'absent'
          ? emit.UserCreated({ ...input, hashedPassword: 'h' })
          : reject.AlreadyRegistered(),
      constraints: { users_email_key: ({ email }, { reject }) => reject.EmailTaken({ email }) },
    },
    changeEmail: {
      input: z.object({ email: z.email() }),
      decide: ({ email }, user, { emit, reject }) => {
        if (user.status !== 'active') return reject.NotActive();
        return email === user.email ? [] : emit.EmailChanged({ email });
      },
      constraints: { users_email_key: ({ email }, { reject }) => reject.EmailTaken({ email }) },
    },
  },
});

/** {@link User} as it was before passwords and tags. */
export const EarlyUser = aggregate('user', {
  events: { UserCreated: event(createdV1), EmailChanged: event(z.object({ email: z.email() })) },
  initialState: () => ({ email: '' }),
  evolve: {
    UserCreated: (_, { data }) => ({ email: data.email }),
    EmailChanged: (_, { data }) => ({ email: data.email }),
  },
});

/** An account that counts: each increment depends on the one before it. */
export const Counter = aggregate('counter', {
  events: { Incremented: event(z.object({ to: z.int() })) },
  initialState: () => ({ count: 0 }),
  evolve: { Incremented: (_, { data }) => ({ count: data.to }) },
  commands: {
    increment: {
      input: z.object({}),
      decide: (_, { count }, { emit }) => emit.Incremented({ to: count + 1 }),
    },
  },
});

/** Anything that JSON can carry, unchecked, stored under another name than its key. */
export const Note = aggregate('note', {
  events: { Written: event<{ body: unknown }>().storedAs('note.written.v0') },
  initialState: (): { body: unknown } => ({ body: null }),
  evolve: { Written: (_, { data }) => ({ body: data.body }) },
  commands: {
    write: {
      input: type<{ body: unknown }>(),
      decide: ({ body }, _, { emit }) => emit.Written({ body }),
    },
  },
});

export const aggregates = [User, Counter, Note] as const;

/** The payload of a user who was never seen before. */
export function ada(email = 'ada@example.com'): {
  email: string;
  username: string;
  hashedPassword: string;
} {
  return { email, username: 'ada', hashedPassword: 'h' };
}
