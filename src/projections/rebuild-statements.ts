import { quoteIdentifier } from '../db/identifier.ts';
import { statement, type Statement } from '../db/statement.ts';

/** The statements of rebuilding, comparing and exchanging a projection's tables. */
export interface RebuildStatements {
  /** What is known of the projection. */
  readonly row: Statement;
  /** The same, locked against everybody else who rebuilds it. */
  readonly lockRow: Statement;
  readonly insertRow: Statement;
  readonly openShadow: Statement;
  readonly closeShadow: Statement;
  readonly exchanged: Statement;
  readonly keptAsShadow: Statement;
  readonly keptGone: Statement;
  readonly expired: Statement;
  /** Who works on a subscription whose name begins so, but is not this one, and has given a sign of life. */
  readonly workersOn: Statement;
  /** The partitions of a subscription, locked: nobody moves a checkpoint until this transaction ends. */
  readonly lockPartitions: Statement;
  readonly checkpoints: Statement;
  readonly retryPartitions: Statement;
  readonly dropSubscription: Statement;
  /** Ends all work on the shadows of a projection. */
  readonly dropShadows: Statement;
  readonly addSubscription: Statement;
  readonly dropPartitions: Statement;
  readonly parked: Statement;
  readonly dropParked: Statement;
  readonly addPartition: Statement;
  readonly countEvents: Statement;
  readonly lastPosition: Statement;
  readonly schemaExists: Statement;
  /** The privileges on a schema and on what is in it, as GRANT statements for another one. */
  readonly grants: Statement;
}

export function rebuildStatements(schemaName: string): RebuildStatements {
  const schema = quoteIdentifier(schemaName);
  const row = `select mode, fingerprint, shadow_fingerprint, kept_fingerprint, kept_checkpoints::text,
    date_part('epoch', built_at) * 1000 from ${schema}.projections where name = $1`;
  return {
    row: statement('rebuild-row', row),
    lockRow: statement('rebuild-lock-row', `${row} for update`),
    insertRow: statement(
      'rebuild-insert-row',
      `insert into ${schema}.projections (name, mode, fingerprint) values ($1, $2, '')
       on conflict do nothing`,
    ),
    openShadow: statement(
      'rebuild-open-shadow',
      `update ${schema}.projections
       set shadow_fingerprint = $2, shadow_started_at = clock_timestamp() where name = $1`,
    ),
    closeShadow: statement(
      'rebuild-close-shadow',
      `update ${schema}.projections
       set shadow_fingerprint = null, shadow_started_at = null where name = $1`,
    ),
    exchanged: statement(
      'rebuild-exchanged',
      `update ${schema}.projections
       set fingerprint = $2, mode = $3, built_at = clock_timestamp(), shadow_fingerprint = null,
         shadow_started_at = null,
         kept_fingerprint = case when $6 then nullif(fingerprint, '') end,
         kept_checkpoints = $4::jsonb,
         kept_until = clock_timestamp() + make_interval(secs => $5::float8 / 1000)
       where name = $1`,
    ),
    keptAsShadow: statement(
      'rebuild-kept-as-shadow',
      `update ${schema}.projections
       set shadow_fingerprint = kept_fingerprint, shadow_started_at = clock_timestamp(),
         kept_fingerprint = null, kept_until = null, kept_checkpoints = null
       where name = $1`,
    ),
    keptGone: statement(
      'rebuild-kept-gone',
      `update ${schema}.projections
       set kept_fingerprint = null, kept_until = null, kept_checkpoints = null where name = $1`,
    ),
    expired: statement(
      'rebuild-expired',
      `select name from ${schema}.projections where kept_until < clock_timestamp()
       order by name for update skip locked`,
    ),
    workersOn: statement(
      'rebuild-workers-on',
      `select w.label from ${schema}.workers w, unnest(w.subscriptions) s (name)
       where starts_with(s.name, $1) and s.name <> $2 and w.alive_until > clock_timestamp() limit 1`,
    ),
    lockPartitions: statement(
      'rebuild-lock-partitions',
      `select partition, checkpoint from ${schema}.partitions
       where subscription = $1 order by partition for update`,
    ),
    checkpoints: statement(
      'rebuild-checkpoints',
      `select partition, checkpoint, status, error ->> 'message' from ${schema}.partitions
       where subscription = $1 order by partition`,
    ),
    retryPartitions: statement(
      'rebuild-retry-partitions',
      `update ${schema}.partitions set status = 'waiting', status_since = clock_timestamp()
       where subscription = $1 and status = 'stopped'`,
    ),
    dropSubscription: statement(
      'rebuild-drop-subscription',
      `delete from ${schema}.subscriptions where name = $1`,
    ),
    dropShadows: statement(
      'rebuild-drop-shadows',
      `delete from ${schema}.subscriptions where starts_with(name, $1)`,
    ),
    addSubscription: statement(
      'rebuild-add-subscription',
      `insert into ${schema}.subscriptions (name, kind, partitions, categories, types)
       values ($1, 'projection', $2, $3, $4)
       on conflict (name) do update set
         partitions = excluded.partitions, categories = excluded.categories, types = excluded.types`,
    ),
    dropPartitions: statement(
      'rebuild-drop-partitions',
      `delete from ${schema}.partitions where subscription = $1 and partition >= $2`,
    ),
    parked: statement(
      'rebuild-parked',
      `select from ${schema}.parked_events where subscription = $1 limit 1`,
    ),
    dropParked: statement(
      'rebuild-drop-parked',
      `delete from ${schema}.parked_events where subscription = $1`,
    ),
    // Whoever owned it has lost it: its epoch is over.
    addPartition: statement(
      'rebuild-add-partition',
      `insert into ${schema}.partitions as p (subscription, partition, checkpoint)
       values ($1, $2, $3)
       on conflict (subscription, partition) do update set
         checkpoint = excluded.checkpoint, epoch = p.epoch + 1, owner = null, leased_until = null,
         status = 'waiting', status_since = clock_timestamp(), error = null`,
    ),
    countEvents: statement(
      'rebuild-count-events',
      `select count(*) from ${schema}.events
       where position > $1 and position <= $2 and category = any ($3) and type = any ($4)`,
    ),
    lastPosition: statement(
      'rebuild-last-position',
      `select coalesce(max(position), 0) from ${schema}.events`,
    ),
    schemaExists: statement(
      'rebuild-schema-exists',
      `select exists (select from pg_catalog.pg_namespace where nspname = $1)`,
    ),
    grants: statement(
      'rebuild-grants',
      `with acl as (
         select n.nspacl as acl, 'schema ' || quote_ident($2) as target
         from pg_catalog.pg_namespace n where n.nspname = $1
         union all
         select c.relacl, case c.relkind when 'S' then 'sequence ' else 'table ' end ||
           quote_ident($2) || '.' || quote_ident(c.relname)
         from pg_catalog.pg_class c
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname = $1
         join pg_catalog.pg_namespace m on m.nspname = $2
         join pg_catalog.pg_class o
           on o.relnamespace = m.oid and o.relname = c.relname and o.relkind = c.relkind
         where c.relkind in ('r', 'p', 'v', 'm', 'S')
       )
       select format('grant %s on %s to %s%s', string_agg(g.privilege_type, ', '), a.target,
         case g.grantee when 0 then 'public' else g.grantee::regrole::text end,
         case when g.is_grantable then ' with grant option' else '' end)
       from acl a cross join lateral aclexplode(a.acl) g
       where g.grantee <> g.grantor
       group by a.target, g.grantee, g.is_grantable
       order by 1`,
    ),
  };
}
