import { openRuntime, reaction, subscription, type Store } from 'stele';
import { User } from './user.ts';

// # a handler for an event that no aggregate declares
subscription('audit', {
  aggregates: [User],
  on: { UserRemoved: async () => {} },
  //    ^ TS2353 Object literal may only specify known properties, and 'UserRemoved' does not exist in type '{ readonly EmailChanged?: SubscriptionHandler<RecordedEvent<"EmailChanged", { email: string; }, MetadataOutput<undefined>>, NoInfer<Transaction>>; readonly UserCreated?: SubscriptionHandler<...>; }'.
});

// # the data of another event
subscription('audit', {
  aggregates: [User],
  on: {
    EmailChanged: async ({ data }) => {
      console.log(data.username);
      //               ^ TS2339 Property 'username' does not exist on type '{ email: string; }'.
    },
  },
});

// # a transaction in a reaction
reaction('welcome', {
  aggregates: [User],
  on: {
    UserCreated: async (event, transaction) => {
      await transaction.query('select 1', [event.id]);
      //                ^ TS2339 Property 'query' does not exist on type 'ReactionContext'.
    },
  },
});

// # a start that there is not
reaction('welcome', {
  aggregates: [User],
  from: 'today',
  //< TS2322 Type '"today"' is not assignable to type 'StartingPoint | undefined'.
  on: { UserCreated: async () => {} },
});

// # a handler's client that is another one than `client` makes
subscription('audit', {
  aggregates: [User],
  client: (transaction) => ({ run: (sql: string) => transaction.query(sql) }),
  on: {
    EmailChanged: async (_, database) => {
      await database.query('select 1');
      //             ^ TS2339 Property 'query' does not exist on type '{ run: (sql: string) => Promise<QueryResult<any>>; }'.
    },
  },
});

// # something to run that is none
declare const store: Store;
await openRuntime(store, { run: [User] });
//                               ^ TS2322 Type 'Aggregate<"user", { UserCreated: EventBuilder<{ email: string; username: string; }, { email: string; username: string; }, undefined>; EmailChanged: EventBuilder<{ email: string; }, { email: string; }, undefined>; }, UserState, { ...; }, { ...; }, undefined>' is not assignable to type 'Runnable'.
//   | Type 'Aggregate<"user", { UserCreated: EventBuilder<{ email: string; username: string; }, { email: string; username: string; }, undefined>; EmailChanged: EventBuilder<{ email: string; }, { email: string; }, undefined>; }, UserState, { ...; }, { ...; }, undefined>' is missing the following properties from type 'Subscription': waitUntil, name, kind, aggregates, and 4 more.
