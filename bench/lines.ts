import { projection } from 'stele';

import { Order } from './order.ts';

/** The read model whose delay is measured: a row for each event. */
export const Lines = projection('lines', {
  aggregates: [Order],
  tables: `create table lines (
    position bigint primary key, order_id text not null, sku text not null, quantity integer not null
  )`,
  on: {
    LineAdded: async ({ position, streamId, data }, transaction) => {
      await transaction.query('insert into lines values ($1, $2, $3, $4)', [
        position,
        Order.idOf(streamId),
        data.sku,
        data.quantity,
      ]);
    },
  },
});
