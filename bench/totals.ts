import { batchProjection, projection, type Projection } from 'stele';

import { Order, type Line } from './order.ts';

/** The read model that is rebuilt: a row for each order, changed by each of its events. */
export const totalsTable = `create table totals (
  order_id text primary key, lines integer not null, total double precision not null
)`;

const change = `
  on conflict (order_id) do update set
    lines = totals.lines + excluded.lines, total = totals.total + excluded.total`;

/** The statement for one event. */
export const addOne = `insert into totals values ($1, 1, $2) ${change}`;

const addMany = `
  insert into totals
  select order_id, count(*), sum(total) from unnest($1::text[], $2::float8[]) as e (order_id, total)
  group by order_id ${change}`;

export function totalOf({ quantity, price }: Line): number {
  return quantity * price;
}

/** Event by event. */
export function totals(name: string, partitions: number): Projection {
  return projection(name, {
    aggregates: [Order],
    tables: totalsTable,
    partitions,
    on: {
      LineAdded: async ({ streamId, data }, transaction) => {
        await transaction.query(addOne, [Order.idOf(streamId), totalOf(data)]);
      },
    },
  });
}

/** As many events at once as there are. */
export function batchTotals(name: string, partitions: number): Projection {
  return batchProjection(name, {
    aggregates: [Order],
    tables: totalsTable,
    partitions,
    batch: async (events, transaction) => {
      await transaction.query(addMany, [
        events.map(({ streamId }) => Order.idOf(streamId)),
        events.map(({ data }) => totalOf(data)),
      ]);
    },
  });
}
