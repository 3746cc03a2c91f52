import { given, replay } from 'stele/testing';
import { Order, User } from './user.ts';

const created = User.emit.UserCreated({ email: 'a@example.com', username: 'a' });
const changing = given(User, [created]).when('changeEmail', { email: 'b@example.com' });

// # an event of another aggregate to replay
replay(User, [created, Order.emit.OrderPlaced({ total: 1 })]);
//                     ^ TS2322 Type 'NewEvent<"order", "OrderPlaced", { total: number; }>' is not assignable to type 'NewEvent<"user", string, unknown>'.
//   | Type '"order"' is not assignable to type '"user"'.

// # a command that does not exist
given(User, [created]).when('changeMail', { email: 'b@example.com' });
//                          ^ TS2345 Argument of type '"changeMail"' is not assignable to parameter of type '"changeEmail" | "create"'.

// # an event of another aggregate expected
await changing.then([Order.emit.OrderPlaced({ total: 1 })]);
//                   ^ TS2322 Type 'NewEvent<"order", "OrderPlaced", { total: number; }>' is not assignable to type 'NewEvent<"user", string, unknown>'.
//   | Type '"order"' is not assignable to type '"user"'.

// # a rejection that does not exist
await changing.thenRejected('EmailTakn');
//                          ^ TS2345 Argument of type '"EmailTakn"' is not assignable to parameter of type '"EmailTaken" | "NotActive"'.

// # wrong data of a rejection
await changing.thenRejected('EmailTaken', { email: 1 });
//                                          ^ TS2322 Type 'number' is not assignable to type 'string'.

// # nothing expected
await changing;
//< TS1320 Type of 'await' operand must either be a valid promise or must not contain a callable 'then' member.
