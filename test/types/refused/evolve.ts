import { aggregate, event } from 'stele';
import { z } from 'zod';
import type { UserState } from './user.ts';

const events = {
  UserCreated: event(z.object({ email: z.email() })),
  EmailChanged: event(z.object({ email: z.email() })),
};

// # a missing evolve handler
aggregate('user', {
  events,
  initialState: (): UserState => ({ status: 'absent' }),
  evolve: { UserCreated: (_, { data }) => ({ status: 'active', email: data.email }) },
  //< TS2741 Property 'EmailChanged' is missing in type '{ UserCreated: (_: UserState, { data }: StreamEvent<"UserCreated", { email: string; }, MetadataOutput<undefined>>) => { status: "active"; email: string; }; }' but required in type 'Evolve<{ UserCreated: EventBuilder<{ email: string; }, { email: string; }, undefined>; EmailChanged: EventBuilder<{ email: string; }, { email: string; }, undefined>; }, UserState, undefined>'.
});

// # an evolve handler of an event that does not exist
aggregate('user', {
  events,
  initialState: (): UserState => ({ status: 'absent' }),
  evolve: {
    UserCreated: (_, { data }) => ({ status: 'active', email: data.email }),
    EmailChanged: (user) => user,
    UserDeleted: () => ({ status: 'absent' }),
    //< TS2353 Object literal may only specify known properties, and 'UserDeleted' does not exist in type 'Evolve<{ UserCreated: EventBuilder<{ email: string; }, { email: string; }, undefined>; EmailChanged: EventBuilder<{ email: string; }, { email: string; }, undefined>; }, UserState, undefined>'.
  },
});

// # a state with a wrong value
aggregate('user', {
  events,
  initialState: (): UserState => ({ status: 'absent' }),
  evolve: {
    UserCreated: (_, { data }) => ({ status: 'activ', email: data.email }),
    //                               ^ TS2820 Type '"activ"' is not assignable to type '"absent" | "active"'. Did you mean '"active"'?
    EmailChanged: (user) => user,
  },
});

// # a state with a field missing
aggregate('user', {
  events,
  initialState: (): UserState => ({ status: 'absent' }),
  evolve: {
    UserCreated: () => ({ status: 'active' }),
    //                 ^ TS2322 Type '{ status: "active"; }' is not assignable to type 'UserState'.
    //   | Property 'email' is missing in type '{ status: "active"; }' but required in type '{ status: "active"; email: string; }'.
    EmailChanged: (user) => user,
  },
});

// # a handler that reads what the event does not have
aggregate('user', {
  events,
  initialState: (): UserState => ({ status: 'absent' }),
  evolve: {
    UserCreated: (_, { data }) => ({ status: 'active', email: data.mail }),
    //                                                             ^ TS2551 Property 'mail' does not exist on type '{ email: string; }'. Did you mean 'email'?
    EmailChanged: (user) => user,
  },
});

// # a handler that reads the position, which an event that is just decided does not have yet
aggregate('counter', {
  events,
  initialState: () => ({ last: 0 }),
  evolve: {
    UserCreated: (_, event) => ({ last: event.position }),
    //                                        ^ TS2339 Property 'position' does not exist on type 'StreamEvent<"UserCreated", { email: string; }, MetadataOutput<undefined>>'.
    EmailChanged: (state) => state,
  },
});

// # a state that is not made by a function
aggregate('counter', {
  events,
  initialState: { count: 0 },
  //              ^ TS2353 Object literal may only specify known properties, and 'count' does not exist in type 'InitialState<AnyState>'.
  evolve: { UserCreated: (state) => state, EmailChanged: (state) => state },
});
