/** What the compiler infers from declarations. Checked by `tsc`; at run time there is little to see. */
import {
  aggregate,
  event,
  type,
  type AnyAggregate,
  type CommandInputOf,
  type CommandOf,
  type EventOf,
  type EventTypeOf,
  type Rejection,
  type RejectionOf,
  type StateOf,
  type Store,
  type StreamEventOf,
} from 'stele';
import { describe, expectTypeOf, it } from 'vitest';
import { z } from 'zod';

type UserState = { status: 'absent' } | { status: 'active'; email: string };

const User = aggregate('user', {
  events: {
    UserCreated: event(z.object({ email: z.email(), username: z.string() })).version(
      z.object({ email: z.email(), username: z.string(), hashedPassword: z.string() }),
      (v1) => ({ ...v1, hashedPassword: '' }),
    ),
    EmailChanged: event(z.object({ email: z.email() })),
    Trimmed: event(z.object({ length: z.string().transform((text) => text.length) })),
  },
  initialState: (): UserState => ({ status: 'absent' }),
  evolve: {
    UserCreated: (_, { data }) => ({ status: 'active', email: data.email }),
    EmailChanged: (user, { data }) => ({ ...user, email: data.email }),
    Trimmed: (user, { data }) => {
      expectTypeOf(data).toEqualTypeOf<{ length: number }>();
      return user;
    },
  },
  errors: { EmailTaken: z.object({ email: z.string() }), NotActive: z.object({}) },
  commands: {
    changeEmail: {
      input: z.object({ email: z.email() }),
      decide: (input, user, { emit, reject, streamId, version }) => {
        expectTypeOf(input).toEqualTypeOf<{ email: string }>();
        expectTypeOf(user).toEqualTypeOf<UserState>();
        expectTypeOf(streamId).toEqualTypeOf<string>();
        expectTypeOf(version).toEqualTypeOf<number>();
        return user.status === 'active' ? emit.EmailChanged(input) : reject.NotActive();
      },
      constraints: { users_email: ({ email }, { reject }) => reject.EmailTaken({ email }) },
    },
    touch: {
      input: z.object({ times: z.coerce.number<string>() }),
      decide: async ({ times }) => {
        expectTypeOf(times).toEqualTypeOf<number>();
        return [];
      },
    },
  },
});

describe('an aggregate', () => {
  it('gives a stored event with the newest payload and the metadata', () => {
    type Created = EventOf<typeof User, 'UserCreated'>;
    expectTypeOf<Created['type']>().toEqualTypeOf<'UserCreated'>();
    expectTypeOf<Created['data']>().toEqualTypeOf<{
      email: string;
      username: string;
      hashedPassword: string;
    }>();
    expectTypeOf<Created['streamId']>().toEqualTypeOf<string>();
    expectTypeOf<Created['version']>().toEqualTypeOf<number>();
    expectTypeOf<Created['position']>().toEqualTypeOf<number>();
    expectTypeOf<Created['metadata']['timestamp']>().toEqualTypeOf<Date>();
    expectTypeOf<Created['metadata']['userId']>().toEqualTypeOf<string | undefined>();
  });

  it('gives a union of its events that narrows by type', () => {
    const read = (event: EventOf<typeof User>): string =>
      event.type === 'EmailChanged' ? event.data.email : event.streamId;
    expectTypeOf(read).returns.toEqualTypeOf<string>();
    expectTypeOf<EventTypeOf<typeof User>>().toEqualTypeOf<
      'UserCreated' | 'EmailChanged' | 'Trimmed'
    >();
  });

  it('gives evolve an event without a position', () => {
    expectTypeOf<StreamEventOf<typeof User, 'EmailChanged'>>().not.toHaveProperty('position');
    expectTypeOf<StreamEventOf<typeof User, 'EmailChanged'>['data']>().toEqualTypeOf<{
      email: string;
    }>();
    expectTypeOf<EventOf<typeof User, 'EmailChanged'>>().toExtend<
      StreamEventOf<typeof User, 'EmailChanged'>
    >();
  });

  it('gives its state, commands and rejections', () => {
    expectTypeOf<StateOf<typeof User>>().toEqualTypeOf<UserState>();
    expectTypeOf<CommandInputOf<typeof User, 'touch'>>().toEqualTypeOf<{ times: string }>();
    expectTypeOf(User.command.changeEmail({ email: 'a@example.com' })).toExtend<
      CommandOf<typeof User>
    >();
    expectTypeOf<CommandOf<typeof User>['name']>().toEqualTypeOf<'changeEmail' | 'touch'>();
    expectTypeOf<RejectionOf<typeof User>['type']>().toEqualTypeOf<'EmailTaken' | 'NotActive'>();
    expectTypeOf<RejectionOf<typeof User, 'EmailTaken'>>().toEqualTypeOf<
      Rejection<'EmailTaken', { email: string }>
    >();
  });

  it('takes what a schema takes, and hands out what it returns', () => {
    expectTypeOf(User.emit.Trimmed).parameter(0).toEqualTypeOf<{ length: string }>();
    expectTypeOf<EventOf<typeof User, 'Trimmed'>['data']>().toEqualTypeOf<{ length: number }>();
  });

  it('is an aggregate of any kind', () => {
    expectTypeOf(User).toExtend<AnyAggregate>();
  });

  it('infers the state of initialState alone, and never as a literal', () => {
    const Counter = aggregate('counter', {
      events: { Counted: event(z.object({ by: z.number() })), Reset: event(z.object({})) },
      initialState: () => ({ count: 0, tags: ['new'] }),
      evolve: {
        Counted: ({ count, tags }, { data }) => ({ count: count + data.by, tags }),
        Reset: () => ({ count: 0, tags: [] }),
      },
    });
    expectTypeOf<StateOf<typeof Counter>>().toEqualTypeOf<{ count: number; tags: string[] }>();
  });

  it('keeps literals, tuples and Maps that a handler returns', () => {
    interface State {
      status: 'open' | 'closed';
      last: [name: string, at: number];
      seen: Map<string, 'once' | 'twice'>;
    }
    const Door = aggregate('door', {
      events: { Opened: event(z.object({})), Closed: event(z.object({})) },
      initialState: (): State => ({ status: 'closed', last: ['', 0], seen: new Map() }),
      evolve: {
        Opened: (door) => ({
          status: 'open',
          last: ['a', 1],
          seen: new Map([...door.seen, ['a', 'once']]),
        }),
        Closed: (door) => ({ ...door, status: 'closed' }),
      },
    });
    expectTypeOf<StateOf<typeof Door>>().toEqualTypeOf<State>();
  });

  it('keeps the literal of a handler that takes no argument', () => {
    const Light = aggregate('light', {
      events: { On: event(z.object({})), Off: event(z.object({})) },
      initialState: (): { status: 'on' | 'off' } => ({ status: 'off' }),
      evolve: { On: () => ({ status: 'on' }), Off: () => ({ status: 'off' }) },
    });
    expectTypeOf<StateOf<typeof Light>>().toEqualTypeOf<{ status: 'on' | 'off' }>();
  });

  it('keeps the literal that an upcaster returns', () => {
    const shape = z.union([
      z.object({ kind: z.literal('circle'), radius: z.number() }),
      z.object({ kind: z.literal('point') }),
    ]);
    const drawn = event(z.object({ radius: z.number() })).version(shape, ({ radius }) =>
      radius > 0 ? { kind: 'circle', radius } : { kind: 'point' },
    );
    const marked = event(z.object({})).version(shape, () => ({ kind: 'point' }));
    expectTypeOf(marked).toEqualTypeOf(drawn);
  });
});

describe('metadata', () => {
  const Order = aggregate('order', {
    events: { OrderPlaced: event(z.object({ total: z.number() })) },
    metadata: z.object({
      userId: z.string(),
      tenant: z.coerce.number<string>(),
      note: z.string().optional(),
    }),
    initialState: () => ({ total: 0 }),
    evolve: {
      OrderPlaced: (_, { data, metadata }) => {
        expectTypeOf(metadata.userId).toEqualTypeOf<string>();
        expectTypeOf(metadata.tenant).toEqualTypeOf<number>();
        return data;
      },
    },
  });

  it('is found as its schema returns it, with what Stele adds', () => {
    type Found = EventOf<typeof Order>['metadata'];
    expectTypeOf<Found['userId']>().toEqualTypeOf<string>();
    expectTypeOf<Found['tenant']>().toEqualTypeOf<number>();
    expectTypeOf<Found['note']>().toEqualTypeOf<string | undefined>();
    expectTypeOf<Found['correlationId']>().toEqualTypeOf<string | undefined>();
    expectTypeOf<Found['timestamp']>().toEqualTypeOf<Date>();
  });

  it('is given as its schema takes it', () => {
    const append = async (store: Store): Promise<void> => {
      const placed = Order.emit.OrderPlaced({ total: 1 });
      await store.append(Order.stream('1'), [placed], { metadata: { userId: 'u', tenant: '7' } });
      await store.append(Order.stream('1'), [placed], {
        expectedVersion: 'no-stream',
        metadata: { userId: 'u', tenant: '7', correlationId: 'c' },
      });
      await store.append(User.stream('1'), [User.emit.EmailChanged({ email: 'a@example.com' })]);
      await store.append(User.stream('1'), [], { metadata: { userId: 'u' } });
    };
    expectTypeOf(append).returns.resolves.toEqualTypeOf<void>();
  });

  it('stays optional where every key of its schema is', () => {
    const Note = aggregate('note', {
      events: { Noted: event(z.object({})) },
      metadata: z.object({ tenant: z.string().optional() }),
      initialState: () => 0,
      evolve: { Noted: (count) => count + 1 },
    });
    const append = (store: Store): Promise<unknown> =>
      store.append(Note.stream('1'), [Note.emit.Noted()]);
    expectTypeOf(append).returns.toEqualTypeOf<Promise<unknown>>();
  });
});

describe('an event typed by hand', () => {
  interface Address {
    street: string;
    lines?: string[];
  }
  interface Moved {
    from?: Address;
    to: Address;
  }
  interface Comment {
    text: string;
    replies: Comment[];
  }

  it('takes interfaces, unions and types that contain themselves', () => {
    const Person = aggregate('person', {
      events: {
        Moved: event<Moved>(),
        Commented: event<Comment>(),
        Changed: event<{ kind: 'name'; name: string } | { kind: 'age'; age: number | null }>(),
      },
      errors: { TooFar: type<{ km: number }>() },
      initialState: () => ({ street: '' }),
      evolve: {
        Moved: (_, { data }) => ({ street: data.to.street }),
        Commented: (person) => person,
        Changed: (person, { data }) => (data.kind === 'name' ? { street: data.name } : person),
      },
    });
    expectTypeOf<EventOf<typeof Person, 'Moved'>['data']>().toEqualTypeOf<Moved>();
    expectTypeOf<EventOf<typeof Person, 'Commented'>['data']>().toEqualTypeOf<Comment>();
    expectTypeOf<RejectionOf<typeof Person>>().toEqualTypeOf<Rejection<'TooFar', { km: number }>>();
  });

  it('can get a schema later', () => {
    const moved = event<Moved>().version(z.object({ street: z.string() }), (v1) => ({
      street: v1.to.street,
    }));
    expectTypeOf(moved.version).toBeFunction();
  });
});

describe('a schema', () => {
  it('may be of any JSON, of unknown, or contain itself', () => {
    interface Tree {
      value: string;
      children: Tree[];
    }
    const tree: z.ZodType<Tree> = z.lazy(() =>
      z.object({ value: z.string(), children: z.array(tree) }),
    );
    const list = z.object({
      value: z.string(),
      get next() {
        return list.optional();
      },
    });
    const Any = aggregate('any', {
      events: {
        Json: event(z.object({ json: z.json() })),
        Unknown: event(z.object({ value: z.unknown() })),
        Tree: event(tree),
        List: event(list),
      },
      initialState: () => '',
      evolve: {
        Json: (state) => state,
        Unknown: (state) => state,
        Tree: (_, { data }) => data.children.map(({ value }) => value).join(','),
        List: (_, { data }) => data.next?.next?.value ?? '',
      },
    });
    expectTypeOf<EventOf<typeof Any, 'Tree'>['data']>().toEqualTypeOf<Tree>();
  });

  it('may make a Date if there is a codec', () => {
    const Meeting = aggregate('meeting', {
      events: {
        Planned: event(z.object({ at: z.date() }), {
          encode: ({ at }) => ({ at: at.toISOString() }),
          decode: ({ at }) => ({ at: new Date(at) }),
        }).version(
          z.object({ at: z.date(), room: z.string() }),
          (v1) => {
            expectTypeOf(v1).toEqualTypeOf<{ at: Date }>();
            return { ...v1, room: '' };
          },
          {
            encode: ({ at, room }) => [at.getTime(), room] as const,
            decode: ([at, room]) => ({ at: new Date(at), room }),
          },
        ),
      },
      initialState: () => new Date(0),
      evolve: { Planned: (_, { data }) => data.at },
    });
    expectTypeOf<EventOf<typeof Meeting>['data']>().toEqualTypeOf<{ at: Date; room: string }>();
  });
});
