import pg from 'pg';
import { quoteIdentifier } from '../db/identifier.ts';
import { statement } from '../db/statement.ts';
import type { StoreParts } from '../store/parts.ts';
import type { Consumer } from '../subscriptions/consumer.ts';
import type { ProjectionParts } from './parts.ts';
import { schemaNames } from './schema.ts';
import { projectionStatements } from './statements.ts';

const sessionPath = statement('session-path', `select current_setting('search_path')`);

/** A projection as what runs behind the appends, on its live tables. */
export async function projectionConsumer(
  parts: StoreParts,
  projection: ProjectionParts,
  anyDefinition: boolean,
): Promise<Consumer> {
  const { name, tables, fingerprint } = projection;
  if (tables === undefined) return consumerOf(projection, name, '');
  const [row] = await parts.database.read<[string]>(sessionPath, []);
  const statements = projectionStatements(parts.schema);
  return {
    ...consumerOf(projection, name, settingsFor(schemaNames(parts.schema, name).live)),
    sessionPath: row?.[0],
    // A swap ends the epochs of all partitions, so whoever owns one by then has asked after it.
    isCurrent: async () => {
      const rows = await parts.database.read<[string, string]>(statements.projection, [name]);
      const [[built, mode] = []] = rows;
      return mode === 'async' && (anyDefinition || built === fingerprint);
    },
  };
}

/** A projection as what fills a shadow of its tables, under a name of its own. */
export function shadowConsumer(
  parts: StoreParts,
  projection: ProjectionParts,
  partitions: number,
): Consumer {
  const { name, fingerprint } = projection;
  const { shadow } = schemaNames(parts.schema, name);
  return {
    ...consumerOf(projection, shadowName(name, fingerprint), settingsFor(shadow)),
    partitions,
    joins: true,
    onFailure: 'stop',
    pageSize: 2_000,
    replays: true,
  };
}

/**
 * The name under which a shadow's checkpoints are kept. It says by which definition it is filled, so that
 * nobody who has another one works on it. No subscription can have it.
 */
export function shadowName(projection: string, fingerprint: string): string {
  return `${shadowPrefix(projection)}${fingerprint.slice(0, 12)}`;
}

/** What the names of all shadows of a projection begin with. */
export function shadowPrefix(projection: string): string {
  return `${projection}~`;
}

function consumerOf(projection: ProjectionParts, name: string, settings: string): Consumer {
  const { aggregates, handles, partitions, attempts, onFailure, handler } = projection;
  return {
    name,
    kind: 'projection',
    aggregates,
    handles,
    metadata: undefined,
    from: 'beginning',
    partitions,
    attempts,
    onFailure,
    handler,
    settings,
  };
}

/**
 * SQL for the beginning of a transaction. The schema comes first in the search path. And nobody waits for
 * the disk: the events are there, so what a crash of the server takes back of a read model, together with
 * its checkpoint, is made again. A third of the time of a small batch was that wait.
 */
function settingsFor(schemaName: string): string {
  const first = pg.escapeLiteral(quoteIdentifier(schemaName));
  return `
    select set_config('search_path', concat_ws(', ', ${first}, nullif(current_setting('search_path'), '')), true);
    set local synchronous_commit = off;`;
}
