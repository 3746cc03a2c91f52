import { quoteIdentifier } from '../db/identifier.ts';
import { statement, type Statement } from '../db/statement.ts';

/** Every statement that this layer runs, for one schema. */
export interface Statements {
  readonly appendEvent: Statement;
  readonly appendEvents: Statement;
  readonly appendGroup: Statement;
  readonly storedEvents: Statement;
  readonly eventsOfKey: Statement;
  readonly streamForwards: Statement;
  readonly streamBackwards: Statement;
  readonly store: Statement;
  readonly category: Statement;
  readonly eventById: Statement;
  readonly correlation: Statement;
  readonly watermark: Statement;
  readonly blockers: Statement;
  readonly notify: Statement;
  readonly enterProjection: Statement;
  readonly setSearchPath: Statement;
  readonly projectionMode: Statement;
}

/** The columns of an event, in the order that the row codec reads them. */
export const columns: string =
  'position, stream_id, version, id, type, schema_version, data, metadata, ' +
  "date_part('epoch', recorded_at) * 1000";

export function storeStatements(schemaName: string): Statements {
  const schema = quoteIdentifier(schemaName);
  const now = "date_trunc('milliseconds', clock_timestamp())";

  // One stream: its head is moved on and locked by the same statement. $4 is the expected version
  // as in the function `append`. A stream that must exist is not made.
  const moveHead = (events: string): string => `
    insert into ${schema}.streams as s (stream_id, category, version, recorded_at)
    select $1, $2, ${events}, ${now}
    where $3::bigint in (0, -1) or exists (select from ${schema}.streams where stream_id = $1)
    on conflict (stream_id) do update set
      version = s.version + excluded.version,
      recorded_at = greatest(s.recorded_at, ${now})
    where $3 = -1 or $3 = s.version or ($3 = -2 and s.version > 0)
    returning s.version, s.recorded_at`;
  const target = `${schema}.events
    (position, version, recorded_at, id, schema_version, stream_id, category, type, data, metadata)`;
  const position = `nextval('${schema.replaceAll("'", "''")}.positions')`;
  const page = 'order by position limit $3';

  return {
    // Against the same statement with arrays of one element: 73 instead of 134 µs without a flush.
    appendEvent: statement(
      'append-event',
      `with head as (${moveHead('1')}), stored as (
        insert into ${target}
        select ${position}, version, recorded_at, $5, $7, $1, $2, $6, $8, $4 from head
        returning position
      )
      select head.version, date_part('epoch', head.recorded_at) * 1000, stored.position
      from head, stored`,
    ),
    appendEvents: statement(
      'append-events',
      `with head as (${moveHead('cardinality($5::uuid[])')}), stored as (
        insert into ${target}
        select ${position}, head.version - cardinality($5) + e.n, head.recorded_at, e.id,
          e.schema_version, $1, $2, e.type, e.data, $4
        from head, unnest($5, $6::text[], $7::integer[], $8::jsonb[]) with ordinality
          e (id, type, schema_version, data, n)
        order by e.n
        returning position
      )
      select version, date_part('epoch', recorded_at) * 1000,
        (select array_agg(position order by position) from stored)
      from head`,
    ),
    appendGroup: statement(
      'append-group',
      `select outcomes, versions, recorded_at, positions
       from ${schema}.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
    ),
    // For each event that was sent again: whether the stored one is the same, and the stored one.
    storedEvents: statement(
      'stored-events',
      `select sought_stream,
         coalesce(type = sought_type and schema_version = sought_version and data = sought_data, false),
         ${columns}
       from unnest($1::text[], $2::uuid[], $3::text[], $4::integer[], $5::jsonb[]) with ordinality
         n (sought_stream, sought_id, sought_type, sought_version, sought_data, place)
       left join ${schema}.events on id = sought_id and stream_id = sought_stream
       order by place`,
    ),
    // The events that one append with an idempotency key stored in a stream: from the event whose id
    // was made of the key, as long as they carry the key.
    eventsOfKey: statement(
      'events-of-key',
      `with first as materialized (
         select version as of_key from ${schema}.events where id = $2 and stream_id = $1
       ), following as materialized (
         select e.version as of_another from first, ${schema}.events e
         where e.stream_id = $1 and e.version > of_key
           and e.metadata ->> 'idempotencyKey' is distinct from $3
         order by e.version limit 1
       )
       select ${columns} from ${schema}.events
       where stream_id = $1 and version >= (select of_key from first)
         and version < coalesce((select of_another from following), 9223372036854775807)
       order by version`,
    ),
    streamForwards: statement(
      'stream-forwards',
      `select ${columns} from ${schema}.events
       where stream_id = $1 and version > $2 and version <= $3 and recorded_at <= $4::timestamptz
       order by version limit $5`,
    ),
    streamBackwards: statement(
      'stream-backwards',
      `select ${columns} from ${schema}.events
       where stream_id = $1 and version > $2 and version <= $3 and recorded_at <= $4::timestamptz
       order by version desc limit $5`,
    ),
    store: statement(
      'store',
      `select ${columns} from ${schema}.events
       where position > $1 and position <= $2
         and ($4::text[] is null or category = any ($4)) and ($5::text[] is null or type = any ($5))
       ${page}`,
    ),
    // One category has an index of its own.
    category: statement(
      'category',
      `select ${columns} from ${schema}.events
       where category = $4 and position > $1 and position <= $2
         and ($5::text[] is null or type = any ($5))
       ${page}`,
    ),
    eventById: statement(
      'event-by-id',
      `select ${columns} from ${schema}.events where id = $1 order by position limit 1`,
    ),
    correlation: statement(
      'correlation',
      `select ${columns} from ${schema}.events
       where metadata ->> 'correlationId' = $1 and metadata ? 'correlationId'
       order by position`,
    ),
    watermark: statement(
      'watermark',
      `select "position", visible, transactions from ${schema}.watermark()`,
    ),
    // Of other roles' sessions only some columns are shown, and a prepared transaction has no session.
    // Whatever is not shown: it is open at least as long as the reader has waited.
    blockers: statement(
      'blockers',
      `select coalesce(l.pid, 0),
         coalesce(a.application_name, case when l.pid is null then 'a prepared transaction' else '' end),
         coalesce(a.state, 'unknown'),
         coalesce(date_part('epoch', clock_timestamp() - a.xact_start) * 1000, $2::float8)
       from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
       where l.locktype = 'relation'
         and l.relation = '${schema.replaceAll("'", "''")}.events'::regclass
         and l.mode = 'RowExclusiveLock' and l.granted and l.virtualtransaction = any ($1)
       order by 4 desc`,
    ),
    // Returns the search path before. What stands in pg_namespace for this transaction is not the schema
    // that the name means now, where tables were exchanged after its snapshot was taken: it would write
    // to tables that another definition has built.
    enterProjection: statement(
      'enter-projection',
      `with former as materialized (select current_setting('search_path') as path)
       select path, set_config('search_path',
         concat_ws(', ', quote_ident(nspname), nullif(coalesce($3::text, path), '')), true)
       from former, ${schema}.projections p, pg_catalog.pg_namespace
       where p.name = $1 and p.fingerprint = $2 and p.mode = 'inline'
         and nspname = ('${schemaName.replaceAll("'", "''")}_' || $1)::name
         and oid = to_regnamespace(quote_ident(nspname))`,
    ),
    setSearchPath: statement(
      'set-search-path',
      `with former as materialized (select current_setting('search_path') as path)
       select path, set_config('search_path', $1, true) from former`,
    ),
    projectionMode: statement(
      'projection-mode',
      `select mode from ${schema}.projections where name = $1`,
    ),
    notify: statement('notify', `select pg_notify($1, '')`),
  };
}
