import { SteleError } from './errors.ts';
import type { EventData, EventInput, EventMap } from './event.ts';
import type { MetadataOutput } from './metadata.ts';
import type { NewEvent, RecordedEvent, StreamEvent } from './recorded-event.ts';
import type { InputOf, OutputOf, Schema } from './schema.ts';
import { idOf, streamOf, type Stream } from './stream.ts';

/** Schemas by name: of an aggregate's rejections, or of its commands' inputs. */
export interface SchemaMap {
  readonly [name: string]: Schema;
}

/** A command was understood and refused. A value, never thrown. Made by `reject`. */
export interface Rejection<Type extends string = string, Data = unknown> {
  readonly rejected: true;
  readonly type: Type;
  readonly data: Data;
}

/** A command as a value, for `executeAll`. Made by `aggregate.command`. */
export interface Command<
  Category extends string = string,
  Name extends string = string,
  Input = unknown,
> {
  readonly category: Category;
  readonly name: Name;
  readonly input: Input;
}

/** What `decide` may answer: events, none, or a rejection. */
export type Decision<Category extends string = string> =
  NewEvent<Category> | readonly NewEvent<Category>[] | Rejection;

/** `[data]`, or `[data?]` where every field is optional. */
type Payload<Input> = {} extends Input ? [data?: Input] : [data: Input];

/** Makes events: `emit.EmailChanged({ email })`. */
export type Emit<Category extends string, Events extends EventMap> = {
  readonly [Type in keyof Events & string]: (
    ...args: [
      ...Payload<EventInput<Events[Type]>>,
      options?: { /** A UUID of the caller's. */ readonly id?: string },
    ]
  ) => NewEvent<Category, Type, EventInput<Events[Type]>>;
};

/** Makes rejections: `reject.EmailTaken({ email })`. */
export type Reject<Errors extends SchemaMap> = {
  readonly [Type in keyof Errors & string]: (
    ...args: Payload<InputOf<Errors[Type]>>
  ) => Rejection<Type, OutputOf<Errors[Type]>>;
};

/** Makes commands: `User.command.changeEmail({ email })`. */
export type CommandBuilder<Category extends string, Commands extends SchemaMap> = {
  readonly [Name in keyof Commands & string]: (
    ...args: Payload<InputOf<Commands[Name]>>
  ) => Command<Category, Name, InputOf<Commands[Name]>>;
};

/** What `decide` gets besides input and state. */
export interface DecideContext<
  Category extends string,
  Events extends EventMap,
  Errors extends SchemaMap,
> {
  readonly emit: Emit<Category, Events>;
  readonly reject: Reject<Errors>;
  /** The whole stream id, e.g. `user-42`. */
  readonly streamId: string;
  /** The stream's version that the decision is based on; 0 when there is no stream. */
  readonly version: number;
}

/** A request that may be rejected: the shape of its input, and what decides it. */
export interface CommandDefinition<
  Category extends string,
  Events extends EventMap,
  State,
  Errors extends SchemaMap,
  Input extends Schema,
> {
  readonly input: Input;
  /**
   * Decides by input and state alone. May be asynchronous: no connection is held while it runs. It
   * runs again when the stream has moved on meanwhile.
   */
  readonly decide: (
    input: OutputOf<Input>,
    state: State,
    context: DecideContext<Category, Events, Errors>,
  ) => Decision<Category> | Promise<Decision<Category>>;
  /**
   * Turns the violation of a constraint of an inline read model, by the constraint's name, into a
   * rejection: how a rule over many streams, such as a unique e-mail, is told to the caller.
   */
  readonly constraints?: {
    readonly [constraint: string]: (
      input: OutputOf<Input>,
      context: { readonly reject: Reject<Errors> },
    ) => Rejection;
  };
}

/** Handlers that make the state of the events, one for each event. */
export type Evolve<Events extends EventMap, State, M extends Schema | undefined> = {
  // NoInfer stands around the whole function: only then does the compiler put in State, which
  // initialState has settled, before it looks at what the handler returns. With `=> NoInfer<State>`
  // it would widen `{ status: 'active' }` to `{ status: string }`.
  readonly [Type in keyof Events]: NoInfer<
    (
      state: State,
      event: StreamEvent<Type & string, EventData<Events[Type]>, MetadataOutput<M>>,
    ) => State
  >;
};

/**
 * Any state. Says nothing, but has the compiler keep `'active'` as it is, instead of widening it to
 * `string`, in a handler that takes no argument: `Opened: () => ({ status: 'active' })`.
 */
export type AnyState =
  string | number | bigint | boolean | symbol | {} | null | undefined | Literals;
interface Literals {
  readonly [key: string]: '' | 0 | 0n | false | Literals;
}

// The second member is never used. It keeps the compiler from reading the literals of AnyState into
// the state: `() => ({ count: 0 })` must make a state whose count is a number.
type InitialState<State> = (() => State) | ((never: never) => never);

/** What {@link aggregate} is given. */
export interface AggregateDefinition<
  Category extends string,
  Events extends EventMap,
  State extends AnyState,
  Errors extends SchemaMap,
  Commands extends SchemaMap,
  M extends Schema | undefined,
> {
  readonly events: Events;
  /** The metadata that every append to this aggregate's streams must or may carry. */
  readonly metadata?: M;
  /** The state of a stream that has no events. */
  readonly initialState: InitialState<State>;
  /** Pure: the new state of the old one and an event. Neither may be changed in place. */
  readonly evolve: Evolve<Events, State, M>;
  /** The rejections that commands may answer with. */
  readonly errors?: Errors;
  readonly commands?: {
    readonly [Name in keyof Commands]: CommandDefinition<
      Category,
      Events,
      NoInfer<State>,
      Errors,
      Commands[Name]
    >;
  };
}

declare const types: unique symbol;

/** An aggregate of any kind: what the store needs of it at run time. */
export interface AnyAggregate {
  readonly category: string;
  readonly events: EventMap;
  readonly metadata: Schema | undefined;
  readonly initialState: () => unknown;
  readonly evolve: { readonly [type: string]: (state: never, event: never) => unknown };
  readonly errors: SchemaMap;
  readonly commands: { readonly [name: string]: AnyCommandDefinition };
  readonly emit: object;
  readonly reject: object;
  readonly [types]?: AggregateTypes;
}

interface AnyCommandDefinition {
  readonly input: Schema;
  readonly decide: (input: never, state: never, context: never) => Decision | Promise<Decision>;
  readonly constraints?: {
    readonly [constraint: string]: (input: never, context: never) => Rejection;
  };
}

interface AggregateTypes {
  readonly category: string;
  readonly eventType: string;
  readonly commandName: string;
  readonly rejectionType: string;
  readonly events: EventMap;
  readonly state: unknown;
  readonly errors: SchemaMap;
  readonly commands: SchemaMap;
  readonly metadata: Schema | undefined;
}

type CommandsOf<Commands extends SchemaMap> = AnyAggregate['commands'] & {
  readonly [Name in keyof Commands]: { readonly input: Commands[Name] };
};

/** What decides for one stream. Made by {@link aggregate}. */
export interface Aggregate<
  Category extends string,
  Events extends EventMap,
  State,
  Errors extends SchemaMap,
  Commands extends SchemaMap,
  M extends Schema | undefined,
> extends AnyAggregate {
  /** Carries the types; there is nothing here at run time. */
  readonly [types]?: {
    readonly category: Category;
    // Unions that errors print as they are: what is written with `keyof` further down alone, they
    // print by the name of the alias and its argument, a whole aggregate.
    readonly eventType: keyof Events & string;
    readonly commandName: keyof Commands & string;
    readonly rejectionType: keyof Errors & string;
    readonly events: Events;
    readonly state: State;
    readonly errors: Errors;
    readonly commands: Commands;
    readonly metadata: M;
  };
  readonly category: Category;
  readonly events: Events;
  readonly initialState: () => State;
  readonly errors: Errors;
  /** The commands, each with the schema of its input. */
  readonly commands: CommandsOf<Commands>;
  readonly emit: Emit<Category, Events>;
  readonly reject: Reject<Errors>;
  readonly command: CommandBuilder<Category, Commands>;
  /** The stream of one thing: `User.stream('42')` is `user-42`. */
  readonly stream: (id: string) => Stream<Category, M>;
  /** The other way: `User.idOf('user-42')` is `42`. */
  readonly idOf: (streamId: string) => string;
}

type TypesOf<A extends AnyAggregate> = NonNullable<A[typeof types]>;

/** The state of an aggregate. */
export type StateOf<A extends AnyAggregate> = TypesOf<A>['state'];

/** The schema of an aggregate's own metadata. */
export type MetadataSchemaOf<A extends AnyAggregate> = TypesOf<A>['metadata'];

/** The names of an aggregate's events. */
export type EventTypeOf<A extends AnyAggregate> = keyof TypesOf<A>['events'] &
  TypesOf<A>['eventType'];

/**
 * A stored event of an aggregate, by name, or any of them: for handlers written outside.
 *
 * @example
 * ```ts
 * function greet(event: EventOf<typeof User, 'UserCreated'>) {
 *   return `${event.data.username} <${event.data.email}>, by ${event.metadata.userId}`;
 * }
 * ```
 */
export type EventOf<A extends AnyAggregate, Type extends EventTypeOf<A> = EventTypeOf<A>> = {
  [T in Type]: RecordedEvent<
    T,
    EventData<TypesOf<A>['events'][T]>,
    MetadataOutput<MetadataSchemaOf<A>>
  >;
}[Type];

/** An event of an aggregate as `evolve` sees it, which has no position yet. */
export type StreamEventOf<A extends AnyAggregate, Type extends EventTypeOf<A> = EventTypeOf<A>> = {
  [T in Type]: StreamEvent<
    T,
    EventData<TypesOf<A>['events'][T]>,
    MetadataOutput<MetadataSchemaOf<A>>
  >;
}[Type];

/** The names of an aggregate's commands. */
export type CommandNameOf<A extends AnyAggregate> = keyof TypesOf<A>['commands'] &
  TypesOf<A>['commandName'];

/** The input that a command takes. */
export type CommandInputOf<A extends AnyAggregate, Name extends CommandNameOf<A>> = InputOf<
  TypesOf<A>['commands'][Name]
>;

/** A command of an aggregate as a value, by name, or any of them. */
export type CommandOf<A extends AnyAggregate, Name extends CommandNameOf<A> = CommandNameOf<A>> = {
  [N in Name]: Command<TypesOf<A>['category'], N, CommandInputOf<A, N>>;
}[Name];

/** The names of an aggregate's rejections. */
export type RejectionTypeOf<A extends AnyAggregate> = keyof TypesOf<A>['errors'] &
  TypesOf<A>['rejectionType'];

/** A rejection of an aggregate, by name, or any of them. */
export type RejectionOf<
  A extends AnyAggregate,
  Type extends RejectionTypeOf<A> = RejectionTypeOf<A>,
> = { [T in Type]: Rejection<T, OutputOf<TypesOf<A>['errors'][T]>> }[Type];

/**
 * Declares what decides for one stream: its events, how they make its state, its commands and how
 * they are decided. Pure: nothing here knows of a database.
 *
 * @param category - the first part of the stream ids; letters, digits, `_`, `.` and `:`
 * @throws SteleError `invalid-argument` when the category or a handler is wrong
 *
 * @example
 * ```ts
 * const User = aggregate('user', {
 *   events: { EmailChanged: event(z.object({ email: z.email() })) },
 *   initialState: (): { email: string | null } => ({ email: null }),
 *   evolve: { EmailChanged: (_, { data }) => ({ email: data.email }) },
 *   commands: {
 *     changeEmail: {
 *       input: z.object({ email: z.email() }),
 *       decide: ({ email }, user, { emit }) => (email === user.email ? [] : emit.EmailChanged({ email })),
 *     },
 *   },
 * });
 * ```
 */
export function aggregate<
  const Category extends string,
  Events extends EventMap,
  State extends AnyState,
  Errors extends SchemaMap = {},
  Commands extends SchemaMap = {},
  M extends Schema | undefined = undefined,
>(
  category: Category,
  definition: AggregateDefinition<Category, Events, State, Errors, Commands, M>,
): Aggregate<Category, Events, State, Errors, Commands, M> {
  assertDefinition(category, definition);
  const errors = definition.errors ?? ({} as Errors); // Errors is {} where there are none
  const emit = builder(definition.events, (type, data, options) => ({
    category,
    type,
    data,
    ...(options?.id === undefined ? {} : { id: options.id }),
  }));
  const reject = builder(errors, (type, data) => ({ rejected: true as const, type, data }));
  // Commands is {} where there are none.
  const commands = (definition.commands ?? {}) as CommandsOf<Commands>;
  const command = builder(commands, (name, input) => ({ category, name, input }));
  return Object.freeze({
    category,
    events: definition.events,
    metadata: definition.metadata,
    initialState: definition.initialState as () => State, // the other member cannot be called
    evolve: definition.evolve,
    errors,
    commands,
    // Each builder has a function for each key, whose result has the key and the given payload:
    // the mapped types Emit, Reject and CommandBuilder say the same, key by key.
    emit: emit as unknown as Emit<Category, Events>,
    reject: reject as unknown as Reject<Errors>,
    command: command as unknown as CommandBuilder<Category, Commands>,
    stream: (id: string) => streamOf<Category, M>(category, id),
    idOf: (streamId: string) => idOf(category, streamId),
  });
}

// The compiler has refused all of this already, but not to those who write JavaScript.
function assertDefinition(
  category: string,
  definition: {
    readonly events: EventMap;
    readonly initialState: unknown;
    readonly evolve: { readonly [type: string]: unknown };
    readonly commands?: { readonly [name: string]: { readonly decide?: unknown } };
  },
): void {
  if (typeof category !== 'string' || !/^[\w.:]{1,100}$/u.test(category)) {
    throw new SteleError(
      'invalid-argument',
      `A category is 1 to 100 letters, digits, '_', '.' or ':', without a hyphen since that ends it in a stream id, but got '${category}'.`,
    );
  }
  const { events, initialState, evolve, commands = {} } = definition;
  if (typeof initialState !== 'function') {
    throw new SteleError(
      'invalid-argument',
      `Aggregate '${category}' needs an initialState: a function that returns the state of a stream without events.`,
    );
  }
  const storedNames = new Map<string, string>();
  for (const [type, definition] of Object.entries(events)) {
    // Own, since an event may be named `constructor`, which every object inherits.
    if (!Object.hasOwn(evolve, type) || typeof evolve[type] !== 'function') {
      throw new SteleError(
        'invalid-argument',
        `Aggregate '${category}' has no evolve handler for its event '${type}'. Add evolve.${type}: (state, event) => state.`,
      );
    }
    const storedName = definition.storedName ?? type;
    const other = storedNames.get(storedName);
    if (other !== undefined) {
      throw new SteleError(
        'invalid-argument',
        `Aggregate '${category}' stores both '${other}' and '${type}' as '${storedName}'. Tell them apart with storedAs().`,
      );
    }
    storedNames.set(storedName, type);
  }
  for (const type of Object.keys(evolve)) {
    if (Object.hasOwn(events, type)) continue;
    throw new SteleError(
      'invalid-argument',
      `Aggregate '${category}' evolves '${type}', which is none of its events.`,
    );
  }
  for (const [name, command] of Object.entries(commands)) {
    if (typeof command.decide === 'function') continue;
    throw new SteleError(
      'invalid-argument',
      `Command '${name}' of aggregate '${category}' needs a decide function.`,
    );
  }
}

function builder<Built>(
  map: object,
  build: (key: string, payload: unknown, options?: { readonly id?: string }) => Built,
): Record<string, (payload?: unknown, options?: { readonly id?: string }) => Built> {
  return Object.freeze(
    Object.fromEntries(
      Object.keys(map).map((key) => [
        key,
        (payload: unknown = {}, options?: { readonly id?: string }) => build(key, payload, options),
      ]),
    ),
  );
}
