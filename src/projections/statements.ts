import { quoteIdentifier } from '../db/identifier.ts';
import { statement, type Statement } from '../db/statement.ts';
import { columns } from '../store/statements.ts';

/** The statements on what is known of projections, and on the events that one of them takes. */
export interface ProjectionStatements {
  /** The definition that the tables were built by, and the mode in which they are kept. */
  readonly projection: Statement;
  readonly insertProjection: Statement;
  /** Drops a checkpoint that belongs to other tables. */
  readonly forgetSubscription: Statement;
  /** Held until the transaction ends: tables are made by one process at a time. */
  readonly lockProjection: Statement;
  /** Whether there is an event of these categories and stored types. */
  readonly hasEvents: Statement;
  /** A page of the events of several categories, up to a position and a time. */
  readonly history: Statement;
  readonly historyOfCategory: Statement;
}

export function projectionStatements(schemaName: string): ProjectionStatements {
  const schema = quoteIdentifier(schemaName);
  const page = `and type = any ($2::text[]) and position > $3 and position <= $4
    and recorded_at <= $5::timestamptz order by position limit $6`;
  return {
    projection: statement(
      'projection',
      `select fingerprint, mode from ${schema}.projections where name = $1`,
    ),
    insertProjection: statement(
      'insert-projection',
      `insert into ${schema}.projections (name, mode, fingerprint) values ($1, $2, $3)
       on conflict (name) do update set
         mode = excluded.mode, fingerprint = excluded.fingerprint, built_at = clock_timestamp()`,
    ),
    forgetSubscription: statement(
      'forget-subscription',
      `delete from ${schema}.subscriptions where name = $1`,
    ),
    lockProjection: statement(
      'lock-projection',
      `select pg_advisory_xact_lock(hashtextextended('stele:' || $1 || ':' || $2, 1))`,
    ),
    hasEvents: statement(
      'has-events',
      `select exists (
         select from ${schema}.events where category = any ($1::text[]) and type = any ($2::text[])
       )`,
    ),
    history: statement(
      'history',
      `select ${columns} from ${schema}.events where category = any ($1::text[]) ${page}`,
    ),
    // One category has an index of its own.
    historyOfCategory: statement(
      'history-of-category',
      `select ${columns} from ${schema}.events where category = $1 ${page}`,
    ),
  };
}
