/** What the other files misuse. Nothing here is refused. */
import { aggregate, event } from 'stele';
import { z } from 'zod';

export type UserState = { status: 'absent' } | { status: 'active'; email: string };

export const User = aggregate('user', {
  events: {
    UserCreated: event(z.object({ email: z.email(), username: z.string() })),
    EmailChanged: event(z.object({ email: z.email() })),
  },
  initialState: (): UserState => ({ status: 'absent' }),
  evolve: {
    UserCreated: (_, { data }) => ({ status: 'active', email: data.email }),
    EmailChanged: (_, { data }) => ({ status: 'active', email: data.email }),
  },
  errors: { EmailTaken: z.object({ email: z.string() }), NotActive: z.object({}) },
  commands: {
    changeEmail: {
      input: z.object({ email: z.email() }),
      decide: ({ email }, user, { emit, reject }) =>
        user.status === 'active' ? emit.EmailChanged({ email }) : reject.NotActive(),
    },
    create: {
      input: z.object({ email: z.email(), username: z.string() }),
      decide: (input, _, { emit }) => emit.UserCreated(input),
    },
  },
});

export const Order = aggregate('order', {
  events: { OrderPlaced: event(z.object({ total: z.number() })) },
  metadata: z.object({ userId: z.string(), tenant: z.string(), note: z.string().optional() }),
  initialState: () => ({ total: 0 }),
  evolve: { OrderPlaced: (_, { data }) => ({ total: data.total }) },
  commands: {
    place: {
      input: z.object({ total: z.number() }),
      decide: ({ total }, _, { emit }) => emit.OrderPlaced({ total }),
    },
  },
});
