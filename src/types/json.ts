/** A value that JSON carries without loss. */
export type JsonValue = string | number | boolean | null | JsonArray | JsonObject;

/** A JSON array. */
export interface JsonArray extends ReadonlyArray<JsonValue> {}

/** A JSON object. A key whose value is `undefined` is left out when stored. */
export interface JsonObject {
  readonly [key: string]: JsonValue | undefined;
}

/**
 * A type that nothing can be assigned to, whose name is the explanation. The compiler prints it
 * where a wrong argument was given.
 */
export interface SteleTypeError<Explanation extends string> {
  readonly __stele: Explanation;
}

/** Why JSON cannot carry a type, for each member of a union; `never` where it can, or for an object. */
type Refusal<T> = T extends string | number | boolean | null
  ? never
  : T extends bigint
    ? 'JSON cannot carry a bigint: use a string, or a codec'
    : T extends Date
      ? 'JSON cannot carry a Date: use an ISO string, or a codec'
      : T extends symbol | ((...args: never) => unknown)
        ? 'JSON cannot carry a function or a symbol'
        : T extends undefined
          ? 'JSON cannot carry undefined here: use null, or an optional property'
          : T extends
                | ReadonlyMap<unknown, unknown>
                | ReadonlySet<unknown>
                | WeakMap<WeakKey, unknown>
                | WeakSet<WeakKey>
                | ArrayBufferView
                | ArrayBuffer
                | RegExp
                | Promise<unknown>
            ? 'JSON cannot carry a Map, Set, RegExp, Promise or binary data: use a codec'
            : never;

/**
 * `T` itself when JSON can carry it; otherwise `T` with a {@link SteleTypeError} in the place of
 * each part that it cannot carry.
 *
 * The first line is the fast path: nearly every payload is assignable to {@link JsonValue} as a
 * whole, and assignability costs no instantiations. Interfaces have no implicit index signature,
 * so they take the structural path.
 */
export type Jsonable<T> = [T] extends [JsonValue]
  ? T
  : unknown extends T
    ? T
    : T extends unknown
      ? JsonablePart<T, Refusal<T>>
      : never;

type JsonablePart<T, Why extends string> = [Why] extends [never]
  ? { [K in keyof T]: JsonableProperty<T, K> }
  : SteleTypeError<Why>;

/** An optional property may be undefined (it is then left out); an array's element may not. */
export type JsonableProperty<T, K extends keyof T> = T extends readonly unknown[]
  ? Jsonable<T[K]>
  : undefined extends T[K]
    ? Jsonable<Exclude<T[K], undefined>> | undefined
    : Jsonable<T[K]>;

/**
 * Every reason why JSON cannot carry `T`, each with its path: `deep.at: JSON cannot carry a Date`.
 * Meant for a type that was refused; looks a few levels deep, since that type may be recursive.
 */
export type Refusals<T> = [RefusalsWithin<T, '', []>] extends [never]
  ? 'JSON cannot carry this type'
  : RefusalsWithin<T, '', []>;

type RefusalsWithin<T, Path extends string, Depth extends readonly unknown[]> = [T] extends [
  JsonValue,
]
  ? never
  : unknown extends T
    ? never
    : Depth['length'] extends 5
      ? never
      : T extends unknown
        ? T extends string | number | boolean | null
          ? never
          : RefusalsOfPart<T, Refusal<T>, Path, Depth>
        : never;

type RefusalsOfPart<
  T,
  Why extends string,
  Path extends string,
  Depth extends readonly unknown[],
> = [Why] extends [never]
  ? T extends readonly (infer Element)[]
    ? RefusalsWithin<Element, `${Path}[]`, [...Depth, 0]>
    : {
        [K in keyof T & string]-?: RefusalsWithin<
          undefined extends T[K] ? Exclude<T[K], undefined> : T[K],
          Path extends '' ? K : `${Path}.${K}`,
          [...Depth, 0]
        >;
      }[keyof T & string]
  : Path extends ''
    ? Why
    : `${Path}: ${Why}`;
