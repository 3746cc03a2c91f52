import { quoteIdentifier } from '../db/identifier.ts';
import { statement, type Statement } from '../db/statement.ts';
import { columns } from '../store/statements.ts';

/** Every statement that this layer runs, for one schema. */
export interface SubscriptionStatements {
  readonly subscribe: Statement;
  readonly addPartitions: Statement;
  readonly partitionCount: Statement;
  readonly firstSince: Statement;
  readonly openSince: Statement;
  readonly lastBefore: Statement;
  readonly heartbeat: Statement;
  readonly leave: Statement;
  readonly release: Statement;
  readonly trouble: Statement;
  readonly partition: Statement;
  readonly advance: Statement;
  readonly categoryPage: Statement;
  readonly storePage: Statement;
  readonly news: Statement;
  readonly park: Statement;
  readonly parkedStreams: Statement;
  readonly requests: Statement;
  readonly parkedEvent: Statement;
  readonly unpark: Statement;
  readonly failedAgain: Statement;
  readonly progress: Statement;
  readonly kind: Statement;
  readonly pause: Statement;
  readonly resume: Statement;
  readonly retry: Statement;
  readonly reset: Statement;
  readonly clearParked: Statement;
  readonly request: Statement;
  readonly notify: Statement;
}

export function subscriptionStatements(schemaName: string): SubscriptionStatements {
  const schema = quoteIdentifier(schemaName);
  const eventsOid = `'${schema.replaceAll("'", "''")}.events'::regclass`;
  // $5 and $6: of how many partitions which one; $7: what the metadata must contain.
  const wanted = `position > $1 and position <= $2 and type = any ($4)
    and ($5::integer = 1 or ${schema}.partition_of(stream_id, $5) = $6)
    and ($7::jsonb is null or metadata @> $7)`;
  const since = `status_since = clock_timestamp()`;
  return {
    subscribe: statement(
      'subscribe',
      `insert into ${schema}.subscriptions (name, kind, partitions, categories, types, metadata)
       values ($1, $2, $3, $4, $5, $6)
       on conflict (name) do update set
         categories = excluded.categories, types = excluded.types, metadata = excluded.metadata
       returning partitions, kind`,
    ),
    addPartitions: statement(
      'add-partitions',
      `insert into ${schema}.partitions (subscription, partition, checkpoint)
       select $1, n - 1, $3 from generate_series(1, $2::integer) n
       on conflict do nothing`,
    ),
    partitionCount: statement(
      'partition-count',
      `select count(*) from ${schema}.partitions where subscription = $1`,
    ),
    firstSince: statement(
      'first-since',
      `select min(position) from ${schema}.events where recorded_at >= $1::timestamptz`,
    ),
    // When the oldest of these transactions began, in milliseconds since 1970. Of a prepared one, when
    // it was prepared is known, which is too late; an hour before is early enough for most.
    openSince: statement(
      'open-since',
      `select date_part('epoch', min(coalesce(a.xact_start, clock_timestamp() - interval '1 hour'))) * 1000
       from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
       where l.locktype = 'relation' and l.relation = ${eventsOid}
         and l.mode = 'RowExclusiveLock' and l.granted`,
    ),
    lastBefore: statement(
      'last-before',
      `select coalesce((
         select position from ${schema}.events where recorded_at < $1::timestamptz
         order by position desc limit 1), 0)`,
    ),
    heartbeat: statement(
      'heartbeat',
      `select subscription, partition, partitions, epoch, checkpoint, requests, keep
       from ${schema}.heartbeat($1, $2, $3, make_interval(secs => $4::float8 / 1000))`,
    ),
    // What the last heartbeat may have claimed is let go of, too.
    leave: statement(
      'leave',
      `with released as (
         update ${schema}.partitions
         set owner = null, leased_until = null, epoch = epoch + 1, status = 'waiting', ${since}
         where owner = $1
       )
       delete from ${schema}.workers where id = $1`,
    ),
    release: statement(
      'release',
      `update ${schema}.partitions
       set owner = null, leased_until = null, epoch = epoch + 1, status = 'waiting', ${since}
       where subscription = $1 and partition = $2 and epoch = $3`,
    ),
    // An owner that cannot go on for now keeps the partition; one that gives up lets it go, and ends
    // its epoch.
    trouble: statement(
      'trouble',
      `update ${schema}.partitions
       set status = $4, ${since}, error = $5,
         owner = case $4 when 'retrying' then owner end,
         leased_until = case $4 when 'retrying' then leased_until end,
         epoch = case $4 when 'retrying' then epoch else epoch + 1 end
       where subscription = $1 and partition = $2 and epoch = $3
       returning partition`,
    ),
    partition: statement(
      'partition',
      `select epoch, checkpoint from ${schema}.partitions where subscription = $1 and partition = $2`,
    ),
    advance: statement('advance', `select ${schema}.advance($1, $2, $3, $4, $5)`),
    categoryPage: statement(
      'subscription-category',
      `select ${columns} from ${schema}.events
       where category = $3 and ${wanted} order by position limit $8`,
    ),
    storePage: statement(
      'subscription-store',
      `select ${columns} from ${schema}.events
       where category = any ($3) and ${wanted} order by position limit $8`,
    ),
    // What has come, for those who want to know whether any of it is for them.
    news: statement(
      'news',
      `select distinct type from ${schema}.events where position > $1 and position <= $2`,
    ),
    park: statement(
      'park',
      `insert into ${schema}.parked_events
         (subscription, partition, stream_id, version, position, type, attempts, error)
       values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    ),
    parkedStreams: statement(
      'parked-streams',
      `select distinct stream_id from ${schema}.parked_events where subscription = $1 and partition = $2`,
    ),
    // A replay waits for the earlier ones of its stream that nobody has asked for yet.
    requests: statement(
      'parked-requests',
      `select stream_id, version, request from ${schema}.parked_events e
       where subscription = $1 and partition = $2 and request is not null
         and (request = 'discard' or not exists (
           select from ${schema}.parked_events before
           where before.subscription = e.subscription and before.stream_id = e.stream_id
             and before.version < e.version and before.request is null))
       order by position`,
    ),
    parkedEvent: statement(
      'parked-event',
      `select ${columns} from ${schema}.events where stream_id = $1 and version = $2`,
    ),
    unpark: statement(
      'unpark',
      `delete from ${schema}.parked_events
       where subscription = $1 and stream_id = $2 and version = $3`,
    ),
    failedAgain: statement(
      'failed-again',
      `update ${schema}.parked_events
       set request = case when request = 'discard' then request end,
         error = case when version = $3 then $4 else error end,
         attempts = attempts + case when version = $3 then 1 else 0 end
       where subscription = $1 and stream_id = $2`,
    ),
    progress: statement(
      'progress',
      `select p.partition, p.checkpoint, p.status, s.status, p.error ->> 'message'
       from ${schema}.subscriptions s join ${schema}.partitions p on p.subscription = s.name
       where s.name = $1 order by p.partition`,
    ),
    kind: statement('kind', `select kind from ${schema}.subscriptions where name = $1`),
    pause: statement(
      'pause',
      `update ${schema}.subscriptions set status = 'paused', ${since} where name = $1 returning name`,
    ),
    resume: statement(
      'resume',
      `update ${schema}.subscriptions set status = 'active', ${since} where name = $1 returning name`,
    ),
    retry: statement(
      'retry',
      `update ${schema}.partitions set status = 'waiting', ${since}
       where subscription = $1 and status = 'stopped' returning partition`,
    ),
    // The epoch ends, so that a batch under way is undone.
    reset: statement(
      'reset',
      `update ${schema}.partitions
       set checkpoint = $2, epoch = epoch + 1, owner = null, leased_until = null, error = null,
         status = 'waiting', ${since}
       where subscription = $1 returning partition`,
    ),
    clearParked: statement(
      'clear-parked',
      `delete from ${schema}.parked_events where subscription = $1`,
    ),
    request: statement(
      'request',
      `update ${schema}.parked_events set request = $2
       where subscription = $1 and ($3::text is null or stream_id = $3)
         and ($4::bigint is null or version = $4)
       returning version`,
    ),
    notify: statement('notify-subscriptions', `select pg_notify($1, $2)`),
  };
}
