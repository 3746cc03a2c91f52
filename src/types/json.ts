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
    : T extends string | number | boolean | null
      ? T
      : T extends bigint
        ? SteleTypeError<'JSON cannot carry a bigint: use a string, or give event() a codec'>
        : T extends Date
          ? SteleTypeError<'JSON cannot carry a Date: use an ISO string, or give event() a codec'>
          : T extends symbol | ((...args: never) => unknown)
            ? SteleTypeError<'JSON cannot carry a function or a symbol'>
            : T extends undefined
              ? SteleTypeError<'JSON cannot carry undefined here: use null, or an optional property'>
              : T extends
                    | ReadonlyMap<unknown, unknown>
                    | ReadonlySet<unknown>
                    | ArrayBufferView
                    | ArrayBuffer
                    | RegExp
                ? SteleTypeError<'JSON cannot carry a Map, Set, RegExp or binary data: give event() a codec'>
                : { [K in keyof T]: JsonableProperty<T, K> };

/** An optional property may be undefined (it is then left out); an array's element may not. */
export type JsonableProperty<T, K extends keyof T> = T extends readonly unknown[]
  ? Jsonable<T[K]>
  : undefined extends T[K]
    ? Jsonable<Exclude<T[K], undefined>> | undefined
    : Jsonable<T[K]>;
