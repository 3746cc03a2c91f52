import { aggregate, event, type Store } from 'stele';
import { z } from 'zod';
import { Order, User } from './user.ts';

declare const store: Store;

// # an event appended to another aggregate's stream
await store.append(User.stream('1'), [Order.emit.OrderPlaced({ total: 1 })]);
//                                    ^ TS2322 Type 'NewEvent<"order", "OrderPlaced", { total: number; }>' is not assignable to type 'NewEvent<"user", string, unknown>'.
//   | Type '"order"' is not assignable to type '"user"'.

// # an event of another aggregate among the right ones
await store.append(User.stream('1'), [
  User.emit.EmailChanged({ email: 'a@example.com' }),
  Order.emit.OrderPlaced({ total: 1 }),
  //< TS2322 Type 'NewEvent<"order", "OrderPlaced", { total: number; }>' is not assignable to type 'NewEvent<"user", string, unknown>'.
  //   | Type '"order"' is not assignable to type '"user"'.
]);

// # an event of another aggregate in an append to several streams
await store.appendAll([
  { stream: User.stream('1'), events: [User.emit.EmailChanged({ email: 'a@example.com' })] },
  { stream: User.stream('2'), events: [Order.emit.OrderPlaced({ total: 1 })] },
  //                                   ^ TS2322 Type 'NewEvent<"order", "OrderPlaced", { total: number; }>' is not assignable to type 'NewEvent<"user", string, unknown>'.
  //   | Type '"order"' is not assignable to type '"user"'.
]);

// # a stream that is a string
await store.append('user-1', [User.emit.EmailChanged({ email: 'a@example.com' })]);
//                 ^ TS2345 Argument of type 'string' is not assignable to parameter of type 'Stream<string, Schema | undefined>'.

// # an expected version that does not exist
await store.append(User.stream('1'), [User.emit.EmailChanged({ email: 'a@example.com' })], {
  expectedVersion: 'none',
  //< TS2322 Type '"none"' is not assignable to type 'ExpectedVersion | undefined'.
});

// # required metadata left out
await store.append(Order.stream('1'), [Order.emit.OrderPlaced({ total: 1 })]);
//          ^ TS2554 Expected 3 arguments, but got 2.

// # required metadata left out of the options
await store.append(Order.stream('1'), [Order.emit.OrderPlaced({ total: 1 })], {
  //                                                                          ^ TS2345 Argument of type '{ expectedVersion: "no-stream"; }' is not assignable to parameter of type 'AppendOptions & { readonly metadata: Flat<Omit<Metadata, "note" | "tenant" | "userId"> & { userId: string; tenant: string; note?: string | undefined; }>; }'.
  //   | Property 'metadata' is missing in type '{ expectedVersion: "no-stream"; }' but required in type '{ readonly metadata: Flat<Omit<Metadata, "note" | "tenant" | "userId"> & { userId: string; tenant: string; note?: string | undefined; }>; }'.
  expectedVersion: 'no-stream',
});

// # one required key of the metadata left out
await store.append(Order.stream('1'), [Order.emit.OrderPlaced({ total: 1 })], {
  metadata: { userId: 'u' },
  //< TS2741 Property 'tenant' is missing in type '{ userId: string; }' but required in type 'Flat<Omit<Metadata, "note" | "tenant" | "userId"> & { userId: string; tenant: string; note?: string | undefined; }>'.
});

// # required metadata left out of a command
await store.execute(Order, '1', 'place', { total: 1 });
//          ^ TS2554 Expected 5 arguments, but got 4.

// # required metadata left out of an append to several streams
await store.appendAll([
  { stream: Order.stream('1'), events: [Order.emit.OrderPlaced({ total: 1 })] },
  //< TS2322 Type '{ stream: Stream<"order", z.ZodObject<{ userId: z.ZodString; tenant: z.ZodString; note: z.ZodOptional<z.ZodString>; }, z.core.$strip>>; events: NewEvent<"order", "OrderPlaced", { ...; }>[]; }' is not assignable to type 'StreamAppend<Stream<"order", ZodObject<{ userId: ZodString; tenant: ZodString; note: ZodOptional<ZodString>; }, $strip>>>'.
  //   | Property 'metadata' is missing in type '{ stream: Stream<"order", z.ZodObject<{ userId: z.ZodString; tenant: z.ZodString; note: z.ZodOptional<z.ZodString>; }, z.core.$strip>>; events: NewEvent<"order", "OrderPlaced", { ...; }>[]; }' but required in type '{ readonly metadata: Flat<Omit<Metadata, "note" | "tenant" | "userId"> & { userId: string; tenant: string; note?: string | undefined; }>; }'.
]);

// # a wrong value in the metadata that every stream may carry
await store.append(User.stream('1'), [User.emit.EmailChanged({ email: 'a@example.com' })], {
  metadata: { userId: 1 },
  //          ^ TS2322 Type 'number' is not assignable to type 'string'.
});

// # metadata that nobody declared
await store.append(User.stream('1'), [User.emit.EmailChanged({ email: 'a@example.com' })], {
  metadata: { tenant: 't' },
  //          ^ TS2353 Object literal may only specify known properties, and 'tenant' does not exist in type 'Metadata'.
});

// # a handler that reads metadata that nobody declared
aggregate('counter', {
  events: { Counted: event(z.object({})) },
  initialState: () => ({ tenant: '' }),
  evolve: { Counted: (_, { metadata }) => ({ tenant: metadata.tenant }) },
  //                                                          ^ TS2339 Property 'tenant' does not exist on type 'MetadataOutput<undefined>'.
});
