import { quoteIdentifier } from '../db/identifier.ts';
import { statement, type Statement } from '../db/statement.ts';

/** The statements of the report that people read. */
export interface RuntimeStatements {
  readonly partitions: Statement;
  readonly parked: Statement;
}

export function runtimeStatements(schemaName: string): RuntimeStatements {
  const schema = quoteIdentifier(schemaName);
  return {
    // Counting ends at a limit: beyond it, nobody needs the exact number.
    partitions: statement(
      'status-partitions',
      `select s.name, s.kind, s.status, p.partition, p.status,
         date_part('epoch', p.status_since) * 1000, p.checkpoint, p.epoch, w.label,
         date_part('epoch', p.handled_at) * 1000, p.error, lag.events,
         date_part('epoch', clock_timestamp() - lag.oldest) * 1000,
         (select count(*) from ${schema}.parked_events e
          where e.subscription = p.subscription and e.partition = p.partition)
       from ${schema}.subscriptions s
       join ${schema}.partitions p on p.subscription = s.name
       left join ${schema}.workers w on w.id = p.owner and p.leased_until > clock_timestamp()
       cross join lateral (
         select count(*) as events, min(e.recorded_at) as oldest
         from (
           select recorded_at from ${schema}.events e
           where e.position > p.checkpoint and e.category = any (s.categories)
             and e.type = any (s.types) and (s.metadata is null or e.metadata @> s.metadata)
             and (s.partitions = 1 or ${schema}.partition_of(e.stream_id, s.partitions) = p.partition)
           order by e.position limit $1
         ) e
       ) lag
       order by s.name, p.partition`,
    ),
    parked: statement(
      'status-parked',
      `select stream_id, version, position, type, attempts, error,
         date_part('epoch', parked_at) * 1000, request
       from ${schema}.parked_events where subscription = $1 order by position limit $2`,
    ),
  };
}
