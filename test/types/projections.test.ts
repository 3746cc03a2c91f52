/** What the compiler infers for projections. Checked by `tsc`; at run time there is little to see. */
import {
  aggregate,
  batchProjection,
  documentProjection,
  event,
  projection,
  readModel,
  type DocumentProjection,
  type EventOf,
  type Projection,
  type Store,
  type Transaction,
} from 'stele';
import { describe, expectTypeOf, it } from 'vitest';
import { z } from 'zod';

const User = aggregate('user', {
  events: {
    Created: event(z.object({ email: z.email() })),
    Renamed: event(z.object({ to: z.string() })).storedAs('UserRenamed'),
  },
  initialState: () => ({ email: '' }),
  evolve: { Created: (_, { data }) => data, Renamed: (user) => user },
});
const Order = aggregate('order', {
  events: {
    Placed: event(z.object({ total: z.number() })),
    Renamed: event(z.object({ title: z.string() })).storedAs('OrderRenamed'),
  },
  initialState: () => ({ total: 0 }),
  evolve: { Placed: (_, { data }) => data, Renamed: (order) => order },
});

describe('a projection', () => {
  it('gives handlers their event and what `client` makes, which needs no annotation', () => {
    projection('users', {
      aggregates: [User, Order],
      client: (transaction) => {
        expectTypeOf(transaction).toEqualTypeOf<Transaction>();
        return { run: (text: string) => transaction.query(text) };
      },
      on: {
        Created: async (event, db) => {
          expectTypeOf(event).toEqualTypeOf<EventOf<typeof User, 'Created'>>();
          expectTypeOf(db.run).parameter(0).toEqualTypeOf<string>();
        },
        Placed: ({ data }) => {
          expectTypeOf(data).toEqualTypeOf<{ total: number }>();
        },
        Renamed: () => undefined,
      },
    });
    projection('plain', {
      aggregates: [User],
      others: 'ignore',
      on: {
        Renamed: (_, transaction) => {
          expectTypeOf(transaction).toEqualTypeOf<Transaction>();
        },
      },
    });
  });

  it('gives one handler the events of that name of all its aggregates', () => {
    projection('names', {
      aggregates: [User, Order],
      others: 'ignore',
      on: {
        Renamed: ({ data }) => {
          expectTypeOf(data).toEqualTypeOf<{ to: string } | { title: string }>();
        },
      },
    });
  });

  it('takes handlers that were written outside', () => {
    const created = async (
      { data }: EventOf<typeof User, 'Created'>,
      transaction: Transaction,
    ): Promise<void> => void (await transaction.query(data.email));
    const Users = projection('users', {
      aggregates: [User],
      others: 'ignore',
      on: { Created: created },
    });
    expectTypeOf(Users).toEqualTypeOf<Projection>();
  });
});

describe('a batch projection', () => {
  it('gives the named events, or all of them', () => {
    batchProjection('placed', {
      aggregates: [User, Order],
      types: ['Placed', 'Created'],
      client: (transaction) => ({ transaction }),
      batch: (events, { transaction }) => {
        expectTypeOf(transaction).toEqualTypeOf<Transaction>();
        expectTypeOf(events).toEqualTypeOf<
          readonly (EventOf<typeof User, 'Created'> | EventOf<typeof Order, 'Placed'>)[]
        >();
      },
    });
    batchProjection('all', {
      aggregates: [User],
      batch: (events) => {
        expectTypeOf(events).toEqualTypeOf<readonly EventOf<typeof User>[]>();
      },
    });
  });
});

describe('a document projection', () => {
  it('infers its documents of initialState alone', () => {
    const Names = documentProjection('names', {
      aggregates: [User, Order],
      key: (event) => {
        expectTypeOf(event).toEqualTypeOf<EventOf<typeof User> | EventOf<typeof Order>>();
        return event.type === 'Created' ? event.data.email : null;
      },
      initialState: () => ({ names: 0, tags: ['new'] }),
      evolve: {
        Created: (document, { data }) => {
          expectTypeOf(document).toEqualTypeOf<{ names: number; tags: string[] }>();
          return { ...document, tags: [data.email] };
        },
        Placed: () => null,
        Renamed: ({ names }) => ({ names: names + 1, tags: [] }),
      },
    });
    expectTypeOf(Names).toEqualTypeOf<DocumentProjection<{ names: number; tags: string[] }>>();
  });

  it('keeps literals, unions, interfaces and types that contain themselves', () => {
    interface Tree {
      readonly status: 'open' | 'closed';
      readonly children: readonly Tree[];
      readonly note?: string;
    }
    const Trees = documentProjection('trees', {
      aggregates: [User],
      initialState: (): Tree => ({ status: 'open', children: [] }),
      evolve: {
        Created: () => ({ status: 'closed', children: [] }),
        Renamed: (tree) => ({ ...tree, children: [{ status: 'open', children: [] }] }),
      },
    });
    expectTypeOf(Trees).toEqualTypeOf<DocumentProjection<Tree>>();
    type Union = { kind: 'a'; a: number } | { kind: 'b'; b: string };
    const Unions = documentProjection('unions', {
      aggregates: [User],
      others: 'ignore',
      initialState: (): Union => ({ kind: 'a', a: 0 }),
      evolve: {
        Created: (union) =>
          union.kind === 'a' ? { kind: 'b', b: String(union.a) } : { kind: 'a', a: 1 },
      },
    });
    const read = (store: Store) =>
      readModel(store, Unions, async (unions) => {
        await unions.find({ kind: 'b', b: 'x' }, { orderBy: 'a' });
        return unions.get('x');
      });
    expectTypeOf(read).returns.resolves.toEqualTypeOf<Union | undefined>();
  });
});

describe('readModel', () => {
  it('gives SQL, or a reader of documents, by the kind of projection', () => {
    const Users = projection('users', { aggregates: [User], others: 'ignore', on: {} });
    const read = (store: Store) =>
      readModel(store, Users, (sql) => {
        expectTypeOf(sql).toEqualTypeOf<Transaction>();
        return 1;
      });
    expectTypeOf(read).returns.resolves.toEqualTypeOf<number>();
  });
});
