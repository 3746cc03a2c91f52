import { isSteleError } from '../types/errors.ts';

/** The SQLSTATEs that Stele reacts to. Everything else is passed on. */
export const sqlstate = {
  serializationFailure: '40001',
  deadlockDetected: '40P01',
  failedTransaction: '25P02',
  lockNotAvailable: '55P03',
  uniqueViolation: '23505',
  insufficientPrivilege: '42501',
  undefinedTable: '42P01',
  duplicateSchema: '42P06',
  invalidSchemaName: '3F000',
  readOnlyTransaction: '25006',
  /** Stele's own: reading by position from a standby. */
  standby: 'ST001',
  /** Stele's own: whoever wrote a checkpoint no longer owns the partition. */
  fenced: 'ST003',
} as const;

/** What a server reports of an error. */
export interface ServerError extends Error {
  readonly severity: string;
  readonly code: string;
  readonly constraint?: string;
  readonly schema?: string;
  readonly table?: string;
}

/** Whether the server reported this, rather than the connection or the driver. */
export function isServerError(error: unknown): error is ServerError {
  return (
    error instanceof Error &&
    'severity' in error &&
    typeof error.severity === 'string' &&
    'code' in error &&
    typeof error.code === 'string'
  );
}

/** Whether the server reported an error with this SQLSTATE. */
export function hasState(error: unknown, state: string): boolean {
  return isServerError(error) && error.code === state;
}

/**
 * Whether the connection was lost or could not be made, so that the same may succeed on another.
 * What the server does not report is of the connection: the driver gives its own errors no code.
 * Class 08 is connection exceptions; 57P01 to 57P05 say that the server shuts down, crashed, or is
 * not ready, or dropped an idle session; 53300 is too many connections. 25006 is a primary that has
 * become a standby.
 */
export function isConnectionLoss(error: unknown): boolean {
  if (!isServerError(error)) {
    return error instanceof Error && !isSteleError(error) && !(error instanceof TypeError);
  }
  return (
    error.code.startsWith('08') ||
    error.code.startsWith('57P') ||
    error.code === '53300' ||
    error.code === sqlstate.readOnlyTransaction
  );
}

/** Whether a transaction was ended by its neighbours, and may succeed when run again. */
export function isTransient(error: unknown): boolean {
  return (
    hasState(error, sqlstate.serializationFailure) || hasState(error, sqlstate.deadlockDetected)
  );
}
