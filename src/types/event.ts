import type { Jsonable, JsonableProperty, JsonValue, Refusals, SteleTypeError } from './json.ts';
import { type, type InputOf, type OutputOf, type Schema } from './schema.ts';

/** How a payload that JSON cannot carry is turned into one that it can, and back. */
export interface Codec<Data, Stored> {
  readonly encode: (data: Data) => Stored;
  readonly decode: (stored: Stored) => Data;
}

/** One schema version of an event. Its number is its place in the list, from 1. */
export interface EventVersion {
  readonly schema: Schema;
  readonly codec: Codec<unknown, unknown> | undefined;
  /** Makes this version's payload of the previous one's; only the first version has none. */
  readonly upcast: ((previous: unknown) => unknown) | undefined;
}

declare const types: unique symbol;

/** What an event looks like, in every version it ever had. */
export interface EventDefinition<
  Input = unknown,
  Data = Input,
  StoredName extends string | undefined = string | undefined,
> {
  /** Carries the types; there is nothing here at run time. */
  readonly [types]?: { readonly input: Input; readonly data: Data };
  readonly versions: readonly EventVersion[];
  /** The name it is stored under, where that is not its key in `events`. */
  readonly storedName: StoredName;
}

// Apart from EventDefinition, because the compiler compares the events of every aggregate with
// EventMap, and comparing the generic method `version` made that three quarters of all its work.
/** An event that can be given more versions. Made by {@link event}. */
export interface EventBuilder<
  Input = unknown,
  Data = Input,
  StoredName extends string | undefined = string | undefined,
> extends EventDefinition<Input, Data, StoredName> {
  /**
   * Declares the next schema version. Events stored before keep their version, and `upcast` makes
   * the new payload of the old one whenever they are read; nothing stored is ever rewritten.
   *
   * @param upcast - gets the previous version's payload, returns this version's
   */
  version<S extends Schema>(
    schema: Storable<S>,
    upcast: NoInfer<(previous: Data) => OutputOf<S>>,
  ): EventBuilder<InputOf<S>, OutputOf<S>, StoredName>;
  version<S extends Schema, Stored extends JsonValue>(
    schema: S,
    upcast: NoInfer<(previous: Data) => OutputOf<S>>,
    codec: Codec<OutputOf<S>, Stored>,
  ): EventBuilder<InputOf<S>, OutputOf<S>, StoredName>;

  /**
   * Stores the event under another name than its key, so that a key can be renamed without touching
   * history, or two aggregates can both have a `Renamed`.
   */
  storedAs<const Name extends string>(name: Name): EventBuilder<Input, Data, Name>;
}

/** The events of an aggregate by name. */
export interface EventMap {
  readonly [name: string]: EventDefinition;
}

/** What a caller gives to `emit`. */
export type EventInput<D extends EventDefinition> = NonNullable<D[typeof types]>['input'];

/** What handlers get, and what is stored. */
export type EventData<D extends EventDefinition> = NonNullable<D[typeof types]>['data'];

/** `S` when its output can be stored as JSON, otherwise the reason why not. */
export type Storable<S extends Schema> = S extends StorableSchema
  ? S
  : OutputOf<S> extends Jsonable<OutputOf<S>>
    ? S
    : SteleTypeError<Refusals<OutputOf<S>>>;

// One comparison with this settles nearly every schema, for a fraction of the cost of taking its
// output apart.
interface StorableSchema {
  readonly '~standard': { readonly types?: { readonly output: JsonValue } | undefined };
}

/**
 * Declares an event by the schema of its payload. Any Standard Schema validator will do; what the
 * schema returns is what is stored, after it has been checked.
 *
 * @example
 * ```ts
 * event(z.object({ email: z.email() }))
 * event(z.object({ at: z.date() }), {
 *   encode: ({ at }) => ({ at: at.toISOString() }),
 *   decode: ({ at }) => ({ at: new Date(at) }),
 * })
 * event<{ email: string }>() // typed by hand, nothing is checked at run time
 * ```
 */
export function event<T extends { [K in keyof T]: JsonableProperty<T, K> }>(): EventBuilder<
  T,
  T,
  undefined
>;
export function event<S extends Schema>(
  schema: Storable<S>,
): EventBuilder<InputOf<S>, OutputOf<S>, undefined>;
export function event<S extends Schema, Stored extends JsonValue>(
  schema: S,
  codec: Codec<OutputOf<S>, Stored>,
): EventBuilder<InputOf<S>, OutputOf<S>, undefined>;
export function event(schema: Schema = type(), codec?: ErasedCodec): EventBuilder {
  return define([{ schema, codec: erase(codec), upcast: undefined }], undefined);
}

// The element types of a list of versions cannot be said in one type: each version's upcaster takes
// what the one before it gives. The overloads above check that link; below it is erased.
interface ErasedCodec {
  readonly encode: (data: never) => unknown;
  readonly decode: (stored: never) => unknown;
}

function define<StoredName extends string | undefined>(
  versions: readonly EventVersion[],
  storedName: StoredName,
): EventBuilder<unknown, unknown, StoredName> {
  const version = (
    schema: Schema,
    upcast: (previous: never) => unknown,
    codec?: ErasedCodec,
  ): EventBuilder<unknown, unknown, StoredName> =>
    define(
      [...versions, { schema, codec: erase(codec), upcast: upcast as EventVersion['upcast'] }],
      storedName,
    );
  return Object.freeze({
    versions: Object.freeze(versions),
    storedName,
    version,
    storedAs: <const Name extends string>(name: Name) => define(versions, name),
  });
}

function erase(codec: ErasedCodec | undefined): EventVersion['codec'] {
  return codec as EventVersion['codec'];
}
