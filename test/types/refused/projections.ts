import {
  batchProjection,
  documentProjection,
  projection,
  readModel,
  type Store,
  type Transaction,
} from 'stele';
import { Order, User } from './user.ts';

declare const store: Store;

// # a missing handler
projection('users', { aggregates: [User], on: {} });
//                                        ^ TS2322 Type '{}' is not assignable to type '{ readonly EmailChanged: ProjectionHandler<RecordedEvent<"EmailChanged", { email: string; }, MetadataOutput<undefined>>, NoInfer<Transaction>>; readonly UserCreated: ProjectionHandler<...>; } & {}'.
//   | Type '{}' is missing the following properties from type '{ readonly EmailChanged: ProjectionHandler<RecordedEvent<"EmailChanged", { email: string; }, MetadataOutput<undefined>>, NoInfer<Transaction>>; readonly UserCreated: ProjectionHandler<...>; }': EmailChanged, UserCreated

// # one missing handler of several aggregates
projection('users', {
  aggregates: [User, Order],
  on: { EmailChanged: () => {}, OrderPlaced: () => {} },
  //< TS2322 Type '{ EmailChanged: () => void; OrderPlaced: () => void; }' is not assignable to type '{ readonly EmailChanged: ProjectionHandler<RecordedEvent<"EmailChanged", { email: string; }, MetadataOutput<undefined>>, NoInfer<Transaction>>; readonly OrderPlaced: ProjectionHandler<...>; readonly UserCreated: ProjectionHandler<...>; } & {}'.
  //   | Property 'UserCreated' is missing in type '{ EmailChanged: () => void; OrderPlaced: () => void; }' but required in type '{ readonly EmailChanged: ProjectionHandler<RecordedEvent<"EmailChanged", { email: string; }, MetadataOutput<undefined>>, NoInfer<Transaction>>; readonly OrderPlaced: ProjectionHandler<...>; readonly UserCreated: ProjectionHandler<...>; }'.
});

// # a handler for an event that no aggregate declares
projection('users', {
  aggregates: [Order],
  on: { OrderPlaced: () => {}, OrderLost: () => {} },
  //                           ^ TS2353 Object literal may only specify known properties, and 'OrderLost' does not exist in type '{ readonly OrderPlaced: ProjectionHandler<RecordedEvent<"OrderPlaced", { total: number; }, MetadataOutput<ZodObject<{ userId: ZodString; tenant: ZodString; note: ZodOptional<ZodString>; }, $strip>>>, NoInfer<Transaction>>; } & {}'.
});

// # a handler for an event that no aggregate declares, where others are ignored
projection('users', {
  aggregates: [User],
  others: 'ignore',
  on: { UserLost: () => {} },
  //    ^ TS2353 Object literal may only specify known properties, and 'UserLost' does not exist in type '{} & { readonly EmailChanged?: ProjectionHandler<RecordedEvent<"EmailChanged", { email: string; }, MetadataOutput<undefined>>, NoInfer<Transaction>>; readonly UserCreated?: ProjectionHandler<...>; }'.
});

// # a handler that reads what its event does not have
projection('users', {
  aggregates: [User],
  others: 'ignore',
  on: { EmailChanged: ({ data }) => void data.username },
  //                                          ^ TS2339 Property 'username' does not exist on type '{ email: string; }'.
});

// # a handler for a client that the projection does not make
projection('users', {
  aggregates: [User],
  others: 'ignore',
  on: { EmailChanged: (_, db: { insert(): void }) => db.insert() },
  //    ^ TS2322 Type '(_: RecordedEvent<"EmailChanged", { email: string; }, MetadataOutput<undefined>>, db: { insert(): void; }) => void' is not assignable to type 'ProjectionHandler<RecordedEvent<"EmailChanged", { email: string; }, MetadataOutput<undefined>>, NoInfer<Transaction>>'.
  //   | Types of parameters 'db' and 'transaction' are incompatible.
  //   |   Property 'insert' is missing in type 'Transaction' but required in type '{ insert(): void; }'.
});

// # a handler that uses what its client does not have
projection('users', {
  aggregates: [User],
  others: 'ignore',
  client: (transaction: Transaction) => ({ run: (text: string) => transaction.query(text) }),
  on: { EmailChanged: (_, db) => void db.query('select 1') },
  //                                     ^ TS2339 Property 'query' does not exist on type '{ run: (text: string) => Promise<QueryResult<any>>; }'.
});

// # what happens after a failure that does not exist
projection('users', {
  aggregates: [User],
  others: 'ignore',
  onFailure: 'skip',
  //< TS2322 Type '"skip"' is not assignable to type '"park" | "stop" | undefined'.
  on: {},
});

// # a batch of events that no aggregate declares
batchProjection('sign-ups', { aggregates: [User], types: ['UserLost'], batch: () => {} });
//                                                        ^ TS2322 Type '"UserLost"' is not assignable to type '"EmailChanged" | "UserCreated"'.

// # a batch handler that reads what its events do not have
batchProjection('sign-ups', {
  aggregates: [User],
  types: ['EmailChanged'],
  batch: (events) => events.forEach(({ data }) => void data.username),
  //                                                        ^ TS2339 Property 'username' does not exist on type '{ email: string; }'.
});

// # a document projection without a handler
documentProjection('profiles', {
  aggregates: [Order],
  initialState: () => ({ total: 0 }),
  evolve: {},
  //< TS2322 Type '{}' is not assignable to type '{ readonly OrderPlaced: NoInfer<DocumentHandler<{ total: number; }, RecordedEvent<"OrderPlaced", { total: number; }, MetadataOutput<ZodObject<{ userId: ZodString; tenant: ZodString; note: ZodOptional<ZodString>; }, $strip>>>>>; } & {}'.
  //   | Property 'OrderPlaced' is missing in type '{}' but required in type '{ readonly OrderPlaced: NoInfer<DocumentHandler<{ total: number; }, RecordedEvent<"OrderPlaced", { total: number; }, MetadataOutput<ZodObject<{ userId: ZodString; tenant: ZodString; note: ZodOptional<ZodString>; }, $strip>>>>>; }'.
});

// # a document of the wrong shape
documentProjection('profiles', {
  aggregates: [Order],
  initialState: () => ({ total: 0 }),
  evolve: { OrderPlaced: (_, { data }) => ({ total: `${data.total}` }) },
  //                                         ^ TS2322 Type 'string' is not assignable to type 'number'.
});

// # a document with a field that its state does not have
documentProjection('profiles', {
  aggregates: [Order],
  initialState: (): { status: 'new' | 'placed' } => ({ status: 'new' }),
  evolve: { OrderPlaced: () => ({ status: 'gone' }) },
  //                              ^ TS2322 Type '"gone"' is not assignable to type '"new" | "placed"'.
});

// # a document that JSON cannot carry
documentProjection('profiles', {
  aggregates: [Order],
  initialState: () => ({ total: 0, at: new Date() }),
  //< TS2322 Type '() => { total: number; at: Date; }' is not assignable to type 'SteleTypeError<"at: JSON cannot carry a Date: use an ISO string, or a codec">'.
  evolve: { OrderPlaced: (order) => order },
});

// # a key that is no text
documentProjection('profiles', {
  aggregates: [Order],
  key: ({ version }) => version,
  //< TS2322 Type '({ version }: RecordedEvent<"OrderPlaced", { total: number; }, MetadataOutput<ZodObject<{ userId: ZodString; tenant: ZodString; note: ZodOptional<ZodString>; }, $strip>>>) => number' is not assignable to type '(event: RecordedEvent<"OrderPlaced", { total: number; }, MetadataOutput<ZodObject<{ userId: ZodString; tenant: ZodString; note: ZodOptional<ZodString>; }, $strip>>>) => string | null'.
  //   | Type 'number' is not assignable to type 'string'.
  initialState: () => ({ total: 0 }),
  evolve: { OrderPlaced: (order) => order },
});

const Totals = documentProjection('totals', {
  aggregates: [Order],
  initialState: () => ({ total: 0, lines: [{ sku: '' }] }),
  evolve: { OrderPlaced: (order) => order },
});

// # a document found by what it does not have
await readModel(store, Totals, (totals) => totals.find({ sum: 1 }));
//                                                       ^ TS2353 Object literal may only specify known properties, and 'sum' does not exist in type '{ readonly total?: number | undefined; readonly lines?: readonly { readonly sku?: string | undefined; }[] | undefined; }'.

// # a document found by a part of the wrong type
await readModel(store, Totals, (totals) => totals.find({ lines: [{ sku: 1 }] }));
//                                                                 ^ TS2322 Type 'number' is not assignable to type 'string'.

// # documents ordered by what they do not have
await readModel(store, Totals, (totals) => totals.find({}, { orderBy: 'sum' }));
//                                                           ^ TS2322 Type '"sum"' is not assignable to type '"lines" | "total" | undefined'.

// # SQL where documents are read
await readModel(store, Totals, (totals) => totals.query('select 1'));
//                                                ^ TS2339 Property 'query' does not exist on type 'Documents<{ total: number; lines: { sku: string; }[]; }>'.

// # a read model of something that is no projection
await readModel(store, User, () => 1);
//                     ^ TS2740 Type 'Aggregate<"user", { UserCreated: EventBuilder<{ email: string; username: string; }, { email: string; username: string; }, undefined>; EmailChanged: EventBuilder<{ email: string; }, { email: string; }, undefined>; }, UserState, { ...; }, { ...; }, undefined>' is missing the following properties from type 'Projection': waitUntil, name, aggregates, handles, and 2 more.
