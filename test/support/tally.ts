import { batchProjection, projection, type Projection } from 'stele';
import type { TestDatabase } from './database.ts';
import { Counter } from './aggregates.ts';

/**
 * A read model that would show whatever is skipped, doubled or out of order: for each counter how many
 * events there were, and the last number. `step` is its logic: what an event counts for.
 */
export function tally(
  name: string,
  { step = 1, partitions = 1 }: { readonly step?: number; readonly partitions?: number } = {},
): Projection {
  return projection(name, {
    aggregates: [Counter],
    version: step,
    partitions,
    tables: 'create table tally (id text primary key, events int not null, last int not null)',
    on: {
      Incremented: async ({ streamId, data }, transaction) => {
        await transaction.query(
          `insert into tally values ($1, $2, $3)
           on conflict (id) do update set events = tally.events + $2, last = excluded.last`,
          [streamId, step, data.to],
        );
      },
    },
  });
}

/** The same, in batches. */
export function tallyBatches(name: string, step = 1): Projection {
  return batchProjection(name, {
    aggregates: [Counter],
    version: step,
    tables: 'create table tally (id text primary key, events int not null, last int not null)',
    batch: async (events, transaction) => {
      for (const { streamId, data } of events) {
        await transaction.query(
          `insert into tally values ($1, $2, $3)
           on conflict (id) do update set events = tally.events + $2, last = excluded.last`,
          [streamId, step, data.to],
        );
      }
    },
  });
}

export interface Tally {
  readonly id: string;
  readonly events: number;
  readonly last: number;
}

/** What the read model shows. */
export async function shown(
  database: TestDatabase,
  name: string,
  ending = '',
): Promise<readonly Tally[]> {
  return database.query<Tally & Record<string, unknown>>(
    `select id, events, last from "stele_${name}${ending}".tally order by id`,
  );
}

/** What it should show, by the events. */
export async function expected(database: TestDatabase, step = 1): Promise<readonly Tally[]> {
  return database.query<Tally & Record<string, unknown>>(
    `select stream_id as id, (count(*) * $1)::int as events,
       (array_agg((data ->> 'to')::int order by version desc))[1] as last
     from stele.events where category = 'counter' group by stream_id order by stream_id`,
    [step],
  );
}
