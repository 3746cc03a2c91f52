import { inTransaction } from '../db/transaction.ts';
import type { StoreParts } from '../store/parts.ts';
import { SteleError } from '../types/errors.ts';
import type { StartingPoint } from './consumer.ts';
import { startOf } from './registration.ts';
import { subscriptionStatements } from './statements.ts';

/** Which events that are set aside. */
export interface ParkedSelection {
  /** Only those of this stream. */
  readonly streamId?: string | undefined;
  /** Only this event of the stream. */
  readonly version?: number | undefined;
}

/**
 * What a person does to subscriptions. Everything is written to the database, and done by whichever
 * process owns a partition, so none of it needs the code of the handlers.
 */
export interface SubscriptionControl {
  pause(name: string): Promise<void>;
  resume(name: string): Promise<void>;
  retry(name: string): Promise<number>;
  reset(name: string, from: StartingPoint): Promise<void>;
  replay(name: string, selection?: ParkedSelection): Promise<number>;
  discard(name: string, selection?: ParkedSelection): Promise<number>;
}

export function subscriptionControl(parts: StoreParts): SubscriptionControl {
  const { database, schema } = parts;
  const statements = subscriptionStatements(schema);
  const request = async (
    name: string,
    wanted: 'replay' | 'discard',
    { streamId, version }: ParkedSelection = {},
  ): Promise<number> => {
    if (version !== undefined && streamId === undefined) {
      throw new SteleError('invalid-argument', 'A version is of a stream: say which `streamId`.');
    }
    await requireKnown(parts, name);
    const values = [name, wanted, streamId ?? null, version ?? null];
    return (await database.query(statements.request, values)).length;
  };
  const found = (rows: readonly unknown[], name: string): void => {
    if (rows.length === 0) throw unknownSubscription(name);
  };
  return {
    pause: async (name) => {
      found(await database.query(statements.pause, [name]), name);
    },
    resume: async (name) => {
      found(await database.query(statements.resume, [name]), name);
    },
    retry: async (name) => {
      await requireKnown(parts, name);
      return (await database.query(statements.retry, [name])).length;
    },
    reset: async (name, from) => {
      const kind = await requireKnown(parts, name);
      if (kind === 'projection') {
        throw new SteleError(
          'invalid-argument',
          `'${name}' is a projection: its tables would keep what is in them. Use rebuild().`,
        );
      }
      const start = await startOf(parts, statements, from);
      await inTransaction(database, async (client) => {
        await database.on(client, statements.reset, [name, start]);
        await database.on(client, statements.clearParked, [name]);
      });
    },
    replay: (name, selection) => request(name, 'replay', selection),
    discard: (name, selection) => request(name, 'discard', selection),
  };
}

/** What kind of subscription it is. */
async function requireKnown({ database, schema }: StoreParts, name: string): Promise<string> {
  const statements = subscriptionStatements(schema);
  const [row] = await database.read<[string]>(statements.kind, [name]);
  if (row === undefined) throw unknownSubscription(name);
  return row[0];
}

function unknownSubscription(name: string): SteleError {
  return new SteleError(
    'invalid-argument',
    `There is no subscription '${name}': none has run on this store yet.`,
  );
}
