import type { StandardSchemaV1 } from '@standard-schema/spec';
import { ValidationError, type Issue } from './errors.ts';

/** Any validator that speaks Standard Schema: Zod, Valibot, ArkType and others. */
export type Schema<Input = unknown, Output = Input> = StandardSchemaV1<Input, Output>;

/** What a caller gives to a schema. */
export type InputOf<S extends Schema> = NonNullable<S['~standard']['types']>['input'];

/** What a schema makes of it; this is what is stored. */
export type OutputOf<S extends Schema> = NonNullable<S['~standard']['types']>['output'];

/**
 * A schema for a type written by hand, for those who use no validator: it accepts everything, so
 * the compiler alone stands between a wrong payload and the store.
 *
 * @example
 * ```ts
 * errors: { EmailTaken: type<{ email: string }>() }
 * ```
 */
export function type<T>(): Schema<T> {
  return {
    '~standard': {
      version: 1,
      vendor: 'stele',
      // Sound because input and output are the same T, and the caller was checked against it.
      validate: (value) => ({ value: value as T }),
    },
  };
}

/**
 * Runs a schema over a value.
 *
 * @param subject - what is being validated, for the error's text, e.g. `event UserCreated`
 * @throws {@link ValidationError} with every issue and its path
 */
export async function validate<Output>(
  schema: Schema<unknown, Output>,
  value: unknown,
  subject: string,
): Promise<Output> {
  return validateNow(schema, value, subject);
}

/**
 * {@link validate} without a promise where the schema answers at once, as nearly all do: a
 * microtask for each event is a tenth of the cost of appending it.
 */
export function validateNow<Output>(
  schema: Schema<unknown, Output>,
  value: unknown,
  subject: string,
): Output | Promise<Output> {
  const result = schema['~standard'].validate(value);
  return result instanceof Promise
    ? result.then((settled) => outputOf(settled, subject))
    : outputOf(result, subject);
}

function outputOf<Output>(result: StandardSchemaV1.Result<Output>, subject: string): Output {
  if (result.issues) throw new ValidationError(subject, result.issues.map(toIssue));
  return result.value;
}

function toIssue(issue: StandardSchemaV1.Issue): Issue {
  // Array.from, since ArkType's path is an array of a class of its own, which `map` would keep.
  const path = Array.from(issue.path ?? [], (segment) =>
    typeof segment === 'object' ? segment.key : segment,
  );
  return { message: issue.message, path };
}
