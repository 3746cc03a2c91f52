import { UnstorableValueError } from './errors.ts';

/**
 * How deep arrays and objects may be nested: far below what breaks. `JSON.stringify` overflows the
 * stack at some thousand levels; Postgres 18 parsed 16,000, and 1,000 with a tenth of its default stack.
 */
export const maximumDepth = 500;

/**
 * How long the JSON text of one value may be, in UTF-16 units. A jsonb value, and each string in it,
 * must stay below 256 MB of UTF-8, and one unit is at most 3 bytes.
 */
export const maximumLength: number = 64 * 1024 * 1024;

/**
 * The JSON text of a value, if JSON and Postgres can hold all of it. An object's property that is
 * `undefined` is left out; nothing else is ever dropped or changed on the way, but for `-0`, which
 * becomes `0`.
 *
 * @param subject - what is to be stored, for the error's text, e.g. `event UserCreated`
 * @throws {@link UnstorableValueError} naming the path of the first value that cannot be stored
 */
// The shape is walked, and the strings are left to JSON.stringify: it writes NUL and lone surrogates
// as \u0000 and \ud800, so one native search of the text replaces a look at each string. A flat
// payload of six fields and 250 bytes takes 0.58 µs, of which JSON.stringify alone is 0.45.
export function encodeJson(value: unknown, subject: string): string {
  const shapely = hasStorableShape(value, 0);
  if (!shapely) refuse(value, subject);
  const text = JSON.stringify(value);
  if (text.length > maximumLength) {
    throw new UnstorableValueError(
      subject,
      [],
      `JSON of ${text.length} characters`,
      `The limit is ${maximumLength}. Keep large content elsewhere and store a reference to it.`,
    );
  }
  if (text.includes('\\u')) refuse(value, subject);
  return text;
}

// The quick half of the check: whatever looks unusual is left to `refuse`, which decides.
function hasStorableShape(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return true;
    case 'number':
      return Number.isFinite(value);
    case 'object':
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (depth >= maximumDepth) return false;
  if (Array.isArray(value)) {
    const { length } = value;
    for (let index = 0; index < length; index++) {
      if (!hasStorableShape(value[index], depth + 1)) return false;
    }
    return true;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  const object = value as Readonly<Record<string, unknown>>;
  if (typeof object['toJSON'] === 'function') return false;
  for (const key of Object.keys(object)) {
    const item = object[key];
    if (item !== undefined && !hasStorableShape(item, depth + 1)) return false;
  }
  return true;
}

/** Throws for the first part that cannot be stored, and returns if there is none after all. */
function refuse(value: unknown, subject: string): void {
  new Search(subject).visit(value);
}

class Search {
  readonly #subject: string;
  readonly #path: PropertyKey[] = [];
  readonly #ancestors: unknown[] = [];

  constructor(subject: string) {
    this.#subject = subject;
  }

  visit(value: unknown): void {
    switch (typeof value) {
      case 'boolean':
        return;
      case 'string':
        this.#visitString(value, 'a string');
        return;
      case 'number':
        if (!Number.isFinite(value)) {
          this.#fail(String(value), 'JSON has only finite numbers: use null or a string.');
        }
        return;
      case 'bigint':
        return this.#fail('a bigint', 'Use a string, or give the event a codec.');
      case 'undefined':
        return this.#fail(
          'undefined',
          'Use null: only the property of an object may be undefined.',
        );
      case 'function':
      case 'symbol':
        return this.#fail(`a ${typeof value}`, 'Store data only.');
      case 'object':
        if (value !== null) this.#visitObject(value);
    }
  }

  #visitObject(value: object): void {
    if (this.#ancestors.includes(value)) {
      this.#fail('a cycle', 'JSON is a tree: store an id instead of the object.');
    }
    if (this.#ancestors.length >= maximumDepth) {
      this.#fail(`nesting deeper than ${maximumDepth}`, 'Store flatter data.');
    }
    this.#ancestors.push(value);
    if (Array.isArray(value)) this.#visitArray(value);
    else this.#visitProperties(value);
    this.#ancestors.pop();
  }

  #visitArray(array: readonly unknown[]): void {
    for (let index = 0; index < array.length; index++) {
      this.#path.push(index);
      if (!Object.hasOwn(array, index)) {
        this.#fail('a hole in an array', 'Fill it, for instance with null.');
      }
      this.visit(array[index]);
      this.#path.pop();
    }
  }

  #visitProperties(object: object): void {
    if (!isPlain(object)) {
      this.#fail(
        describeInstance(object),
        'Use plain objects, arrays, strings and numbers, or give the event a codec.',
      );
    }
    if ('toJSON' in object && typeof object.toJSON === 'function') {
      this.#fail(
        'an object with toJSON()',
        'Call it first, so that what is stored is what was checked.',
      );
    }
    for (const [key, item] of Object.entries(object)) {
      this.#path.push(key);
      this.#visitString(key, 'a key');
      if (item !== undefined) this.visit(item);
      this.#path.pop();
    }
  }

  #visitString(text: string, what: string): void {
    if (text.includes('\0')) {
      this.#fail(`${what} with a NUL character (\\u0000)`, 'Postgres cannot hold it: remove it.');
    }
    if (!text.isWellFormed()) {
      this.#fail(
        `${what} with half of a surrogate pair`,
        'UTF-8 cannot hold it: cut texts between characters, or use toWellFormed().',
      );
    }
  }

  #fail(found: string, advice: string): never {
    throw new UnstorableValueError(this.#subject, this.#path, found, advice);
  }
}

/** Also of another realm, such as a test runner's, whose objects have an Object.prototype of their own. */
function isPlain(object: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(object);
  if (prototype === null || prototype === Object.prototype) return true;
  return (
    typeof prototype === 'object' &&
    Object.getPrototypeOf(prototype) === null &&
    Object.hasOwn(prototype, 'isPrototypeOf')
  );
}

function describeInstance(object: object): string {
  const { constructor } = object;
  const name = typeof constructor === 'function' ? constructor.name : '';
  if (name === '') return 'an instance of a class';
  return `${/^[AEIOU]/u.test(name) ? 'an' : 'a'} ${name}`;
}
