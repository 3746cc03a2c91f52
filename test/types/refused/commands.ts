import { aggregate, event, type EventOf, type RejectionOf, type Store } from 'stele';
import { z } from 'zod';
import { Order, User } from './user.ts';

declare const store: Store;

// # a missing field in emit
User.emit.EmailChanged({});
//                     ^ TS2741 Property 'email' is missing in type '{}' but required in type '{ email: string; }'.

// # no payload in emit
User.emit.EmailChanged();
//        ^ TS2554 Expected 1-2 arguments, but got 0.

// # an excess field in emit
User.emit.EmailChanged({ email: 'a@example.com', mail: 'a@example.com' });
//                                               ^ TS2561 Object literal may only specify known properties, but 'mail' does not exist in type '{ email: string; }'. Did you mean to write 'email'?

// # a wrong field in emit
User.emit.EmailChanged({ email: 1 });
//                       ^ TS2322 Type 'number' is not assignable to type 'string'.

// # an event that does not exist
User.emit.EmailChangd({ email: 'a@example.com' });
//        ^ TS2551 Property 'EmailChangd' does not exist on type 'Emit<"user", { UserCreated: EventBuilder<{ email: string; username: string; }, { email: string; username: string; }, undefined>; EmailChanged: EventBuilder<{ email: string; }, { email: string; }, undefined>; }>'. Did you mean 'EmailChanged'?

// # a command that does not exist
await store.execute(User, '1', 'changeMail', { email: 'a@example.com' });
//                             ^ TS2345 Argument of type '"changeMail"' is not assignable to parameter of type '"changeEmail" | "create"'.

// # a wrong input of a command
await store.execute(User, '1', 'changeEmail', { email: 1 });
//                                              ^ TS2322 Type 'number' is not assignable to type 'string'.

// # a missing field in the input of a command
await store.execute(User, '1', 'changeEmail', {});
//                                            ^ TS2741 Property 'email' is missing in type '{}' but required in type '{ email: string; }'.

// # an excess field in the input of a command
await store.execute(User, '1', 'changeEmail', { email: 'a@example.com', mail: '' });
//                                                                      ^ TS2561 Object literal may only specify known properties, but 'mail' does not exist in type '{ email: string; }'. Did you mean to write 'email'?

// # a wrong input of a command as a value
User.command.changeEmail({ mail: 'a@example.com' });
//                         ^ TS2561 Object literal may only specify known properties, but 'mail' does not exist in type '{ email: string; }'. Did you mean to write 'email'?

// # a command of another aggregate
await store.executeAll(User, '1', [Order.command.place({ total: 1 })]);
//                                 ^ TS2322 Type 'Command<"order", "place", { total: number; }>' is not assignable to type 'CommandOf<Aggregate<"user", { UserCreated: EventBuilder<{ email: string; username: string; }, { email: string; username: string; }, undefined>; EmailChanged: EventBuilder<{ email: string; }, { email: string; }, undefined>; }, UserState, { ...; }, { ...; }, undefined>>'.
//   | Type 'Command<"order", "place", { total: number; }>' is not assignable to type 'Command<"user", "changeEmail", { email: string; }>'.
//   |   Type '"order"' is not assignable to type '"user"'.

const given = {
  events: { Opened: event(z.object({})), Paid: event(z.object({ amount: z.number() })) },
  initialState: (): { status: 'open' | 'paid' } => ({ status: 'open' }),
  evolve: {
    Opened: () => ({ status: 'open' as const }),
    Paid: () => ({ status: 'paid' as const }),
  },
  errors: { TooMuch: z.object({ limit: z.number() }) },
};

// # a rejection that is not declared
aggregate('invoice', {
  ...given,
  commands: {
    pay: { input: z.object({}), decide: (_, state, { reject }) => reject.TooLittle({}) },
    //                                                                   ^ TS2339 Property 'TooLittle' does not exist on type 'Reject<{ TooMuch: ZodObject<{ limit: ZodNumber; }, $strip>; }>'.
  },
});

// # wrong data of a rejection
aggregate('invoice', {
  ...given,
  commands: {
    pay: { input: z.object({}), decide: (_, state, { reject }) => reject.TooMuch({ limit: '1' }) },
    //                                                                             ^ TS2322 Type 'string' is not assignable to type 'number'.
  },
});

// # a wrong payload emitted by a command
aggregate('invoice', {
  ...given,
  commands: {
    pay: { input: z.object({}), decide: (_, state, { emit }) => emit.Paid({ amount: '1' }) },
    //                                                                      ^ TS2322 Type 'string' is not assignable to type 'number'.
  },
});

// # an event of another aggregate decided by a command
aggregate('invoice', {
  ...given,
  commands: {
    pay: {
      input: z.object({}),
      decide: () => User.emit.EmailChanged({ email: 'a@example.com' }),
      //            ^ TS2322 Type 'NewEvent<"user", "EmailChanged", { email: string; }>' is not assignable to type 'Promise<Decision<"invoice">> | Decision<"invoice">'.
      //   | Type 'NewEvent<"user", "EmailChanged", { email: string; }>' is not assignable to type 'NewEvent<"invoice", string, unknown>'.
      //   |   Type '"user"' is not assignable to type '"invoice"'.
    },
  },
});

// # a command that reads what the state does not have
aggregate('invoice', {
  ...given,
  commands: { pay: { input: z.object({}), decide: (_, state) => (state.paid ? [] : []) } },
  //                                                                   ^ TS2339 Property 'paid' does not exist on type '{ status: "open" | "paid"; }'.
});

// # a rejection that does not exist
const done = await store.execute(User, '1', 'changeEmail', { email: 'a@example.com' });
if (!done.ok && done.error.type === 'EmailTakn') console.log(done.error);
//              ^ TS2367 This comparison appears to be unintentional because the types '"EmailTaken" | "NotActive"' and '"EmailTakn"' have no overlap.

// # a type of a rejection that does not exist
export type Wrong = RejectionOf<typeof User, 'EmailTakn'>;
//                                           ^ TS2344 Type '"EmailTakn"' does not satisfy the constraint '"EmailTaken" | "NotActive"'.

// # a type of an event that does not exist
export type Missing = EventOf<typeof User, 'EmailChangd'>;
//                                         ^ TS2344 Type '"EmailChangd"' does not satisfy the constraint '"EmailChanged" | "UserCreated"'.
