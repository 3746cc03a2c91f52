/** Every code that a {@link SteleError} can carry. */
export type ErrorCode =
  | 'concurrency'
  | 'validation'
  | 'unstorable-value'
  | 'invalid-argument'
  | 'duplicate-event'
  | 'unknown-aggregate'
  | 'unknown-event-type'
  | 'unknown-schema-version'
  | 'upcast-failed'
  | 'evolve-failed'
  | 'projection-failed'
  | 'projection-changed'
  | 'projection-not-built'
  | 'rebuild-running'
  | 'rebuild-failed'
  | 'subscription-failed'
  | 'subscription-stopped'
  | 'wait-timeout'
  | 'read-stalled'
  | 'retries-exhausted'
  | 'schema-newer-than-library'
  | 'schema-not-migrated'
  | 'migration-failed'
  | 'unsafe-number'
  | 'transaction-lost'
  | 'store-closed'
  | 'database'
  | 'embedded-postgres';

const brand = Symbol.for('stele.error');

/**
 * The base of every error that Stele throws. Tell errors apart by `code`, or with
 * {@link isSteleError}, which also holds when two copies of the package are loaded.
 */
export class SteleError extends Error {
  /** What happened, as a literal that never changes. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, text: string, options?: ErrorOptions) {
    super(text, options);
    this.name = new.target.name;
    this.code = code;
    Object.defineProperty(this, brand, { value: true });
  }
}

/** The class that belongs to a code, where the code has a class of its own. */
interface ErrorByCode {
  concurrency: ConcurrencyError;
  validation: ValidationError;
  'unstorable-value': UnstorableValueError;
  'duplicate-event': DuplicateEventError;
  'unknown-event-type': UnknownEventTypeError;
  'unknown-schema-version': UnknownSchemaVersionError;
  'projection-failed': ProjectionError;
  'read-stalled': ReadStalledError;
  'subscription-stopped': SubscriptionStoppedError;
  'wait-timeout': WaitTimeoutError;
}

/**
 * Whether a caught value is an error of Stele's, optionally of one code, whose facts are then typed.
 *
 * @example
 * ```ts
 * if (isSteleError(error, 'concurrency')) console.log(error.streamId, error.actualVersion);
 * ```
 */
export function isSteleError(value: unknown): value is SteleError;
export function isSteleError<C extends ErrorCode>(
  value: unknown,
  code: C,
): value is C extends keyof ErrorByCode ? ErrorByCode[C] : SteleError & { readonly code: C };
export function isSteleError(value: unknown, code?: ErrorCode): boolean {
  if (!(value instanceof Error) || !(brand in value)) return false;
  return code === undefined || ('code' in value && value.code === code);
}

/** What an append may require of its stream before it is stored. */
export type ExpectedVersion = number | 'no-stream' | 'stream-exists' | 'any';

/** The stream was not at the version that the append expected. Nothing was stored. */
export class ConcurrencyError extends SteleError {
  declare readonly code: 'concurrency';
  readonly streamId: string;
  readonly expectedVersion: ExpectedVersion;
  /** The version the stream was at; 0 when it does not exist. */
  readonly actualVersion: number;

  constructor(streamId: string, expectedVersion: ExpectedVersion, actualVersion: number) {
    const found = actualVersion === 0 ? 'it does not exist' : `it is at version ${actualVersion}`;
    const expected =
      typeof expectedVersion === 'number' ? `version ${expectedVersion}` : `'${expectedVersion}'`;
    super(
      'concurrency',
      `Stream '${streamId}' was expected at ${expected}, but ${found}. ` +
        'Load it again, decide again, and append with the new version.',
    );
    this.streamId = streamId;
    this.expectedVersion = expectedVersion;
    this.actualVersion = actualVersion;
  }
}

/** One thing that a schema found wrong. */
export interface Issue {
  readonly message: string;
  readonly path: readonly PropertyKey[];
}

/** A schema refused a value. Nothing was sent to the database. */
export class ValidationError extends SteleError {
  declare readonly code: 'validation';
  readonly issues: readonly Issue[];

  constructor(subject: string, issues: readonly Issue[]) {
    const list = issues.map(({ message, path }) =>
      path.length === 0 ? message : `${formatPath(path)}: ${message}`,
    );
    super('validation', `Invalid ${subject}: ${list.join('; ')}`);
    this.issues = issues;
  }
}

/** A value that JSON or Postgres cannot hold. Nothing was sent to the database. */
export class UnstorableValueError extends SteleError {
  declare readonly code: 'unstorable-value';
  readonly path: readonly PropertyKey[];

  constructor(subject: string, path: readonly PropertyKey[], found: string, advice: string) {
    super(
      'unstorable-value',
      `${subject} cannot be stored: ${found} at ${formatPath(path)}. ${advice}`,
    );
    this.path = path;
  }
}

/** An event id was used before, for something else. Nothing was stored. */
export class DuplicateEventError extends SteleError {
  declare readonly code: 'duplicate-event';
  readonly streamId: string;

  constructor(streamId: string) {
    super(
      'duplicate-event',
      `Stream '${streamId}' already holds an event with one of these ids, but not these same events. ` +
        'An id belongs to one event: send the first append again unchanged, or use new ids.',
    );
    this.streamId = streamId;
  }
}

/** A stored event has a type that no aggregate of this store declares. */
export class UnknownEventTypeError extends SteleError {
  declare readonly code: 'unknown-event-type';
  readonly streamId: string;
  readonly version: number;
  readonly eventType: string;

  constructor(streamId: string, version: number, eventType: string) {
    super(
      'unknown-event-type',
      `Event ${version} of stream '${streamId}' has type '${eventType}', which no aggregate of this store declares. ` +
        'Declare it again: events that were stored stay part of the history.',
    );
    this.streamId = streamId;
    this.version = version;
    this.eventType = eventType;
  }
}

/** A stored event was written by newer code than this. */
export class UnknownSchemaVersionError extends SteleError {
  declare readonly code: 'unknown-schema-version';
  readonly streamId: string;
  readonly version: number;
  readonly eventType: string;
  readonly schemaVersion: number;
  readonly knownVersion: number;

  constructor(facts: {
    streamId: string;
    version: number;
    eventType: string;
    schemaVersion: number;
    knownVersion: number;
  }) {
    super(
      'unknown-schema-version',
      `Event ${facts.version} of stream '${facts.streamId}' is ${facts.eventType} of schema version ${facts.schemaVersion}, ` +
        `but this process knows versions up to ${facts.knownVersion}. Deploy the code that wrote it.`,
    );
    this.streamId = facts.streamId;
    this.version = facts.version;
    this.eventType = facts.eventType;
    this.schemaVersion = facts.schemaVersion;
    this.knownVersion = facts.knownVersion;
  }
}

/** A projection's handler failed. The append was rolled back; `cause` is what the handler threw. */
export class ProjectionError extends SteleError {
  declare readonly code: 'projection-failed';
  readonly projection: string;
  readonly eventType: string;
  readonly streamId: string;
  readonly version: number;

  constructor(
    projection: string,
    event: { readonly type: string; readonly streamId: string; readonly version: number },
    cause: unknown,
  ) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(
      'projection-failed',
      `Projection '${projection}' failed on ${event.type} (event ${event.version} of stream '${event.streamId}'), ` +
        `so the append was rolled back: ${reason}`,
      { cause },
    );
    this.projection = projection;
    this.eventType = event.type;
    this.streamId = event.streamId;
    this.version = event.version;
  }
}

/** A transaction that appended and is still open, so that readers may not pass it. */
export interface Blocker {
  readonly pid: number;
  readonly application: string;
  readonly state: string;
  /** How long the transaction has been open, in milliseconds. */
  readonly ageMs: number;
}

/** Reading in position order waited too long for a transaction that appended and stays open. */
export class ReadStalledError extends SteleError {
  declare readonly code: 'read-stalled';
  readonly blockers: readonly Blocker[];

  constructor(waitedMs: number, blockers: readonly Blocker[]) {
    const list = blockers.map(
      ({ pid, application, state, ageMs }) =>
        `pid ${pid} ('${application}', ${state}, open for ${Math.round(ageMs)} ms)`,
    );
    super(
      'read-stalled',
      `Waited ${Math.round(waitedMs)} ms for transactions that have appended and are still open: ${list.join(', ')}. ` +
        'Commit or end them: events behind them cannot be given out in order before that.',
    );
    this.blockers = blockers;
  }
}

/** Something was waited for that a stopped subscription will not handle. */
export class SubscriptionStoppedError extends SteleError {
  declare readonly code: 'subscription-stopped';
  readonly subscription: string;
  /** The position that was waited for. */
  readonly position: number;
  /** The position up to which it has handled everything. */
  readonly checkpoint: number;

  constructor(subscription: string, position: number, checkpoint: number, reason: string) {
    super(
      'subscription-stopped',
      `'${subscription}' has stopped behind position ${checkpoint}, so it will not come to ${position}: ${reason}. ` +
        'What was appended is stored. Mend the handler, then retry() the subscription.',
    );
    this.subscription = subscription;
    this.position = position;
    this.checkpoint = checkpoint;
  }
}

/** A subscription was not at a position in time. */
export class WaitTimeoutError extends SteleError {
  declare readonly code: 'wait-timeout';
  readonly subscription: string;
  /** The position that was waited for. */
  readonly position: number;
  /** The position up to which it has handled everything. */
  readonly checkpoint: number;

  constructor(
    subscription: string,
    position: number,
    checkpoint: number,
    status: string,
    timeoutMs: number,
  ) {
    super(
      'wait-timeout',
      `'${subscription}' was not at position ${position} within ${timeoutMs} ms: it is ${status}, at ${checkpoint}. ` +
        'What was appended is stored, and will be handled. Allow a longer timeoutMs, or see that it runs.',
    );
    this.subscription = subscription;
    this.position = position;
    this.checkpoint = checkpoint;
  }
}

/** `['items', 0, 'name']` as `items[0].name`; the root is `(root)`. */
export function formatPath(path: readonly PropertyKey[]): string {
  if (path.length === 0) return '(root)';
  return path
    .map((key, index) =>
      typeof key === 'number' ? `[${key}]` : `${index === 0 ? '' : '.'}${String(key)}`,
    )
    .join('');
}
