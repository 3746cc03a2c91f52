import type pg from 'pg';

/** How a table that was built anew differs from the live one. */
export interface TableDifference {
  readonly table: string;
  /** Rows that only the new table has. */
  readonly added: number;
  /** Rows that only the live table has. */
  readonly removed: number;
  /**
   * Rows of the same primary key with other values in the columns that both have; none where the table
   * has no primary key.
   */
  readonly changed: number;
  /** Columns that only the new table has, and that only the live table has. */
  readonly columns: { readonly added: readonly string[]; readonly removed: readonly string[] };
  readonly samples: readonly RowDifference[];
}

/** A row that differs, as JSON. */
export interface RowDifference {
  readonly kind: 'added' | 'removed' | 'changed';
  /** As the live table has it. */
  readonly before: Readonly<Record<string, unknown>> | undefined;
  /** As the new table has it. */
  readonly after: Readonly<Record<string, unknown>> | undefined;
}

interface Settings {
  readonly samples: number;
  readonly ignore: Readonly<Record<string, readonly string[]>>;
}

interface Table {
  readonly name: string;
  /** The columns of its primary key; empty where it has none. */
  readonly key: readonly string[];
  readonly columns: readonly string[];
}

/** Compares all tables of two schemas, in the transaction's snapshot. */
export async function differencesOf(
  client: pg.PoolClient,
  live: string,
  built: string,
  settings: Settings,
): Promise<readonly TableDifference[]> {
  const before = await tablesOf(client, live);
  const after = await tablesOf(client, built);
  const names = [...new Set([...before.keys(), ...after.keys()])].toSorted();
  const differences: TableDifference[] = [];
  for (const name of names) {
    const schemas = { live, built };
    const pair = { before: before.get(name), after: after.get(name) };
    differences.push(await differenceOf(client, schemas, pair, settings));
  }
  return differences;
}

async function tablesOf(client: pg.PoolClient, schema: string): Promise<Map<string, Table>> {
  const { rows } = await client.query<{ name: string; columns: string; key: string }>(
    `select c.relname as name,
       json_agg(a.attname order by a.attnum)::text as columns,
       coalesce(json_agg(a.attname order by a.attnum) filter (where a.attnum = any (i.indkey)), '[]')::text as key
     from pg_catalog.pg_class c
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     left join pg_catalog.pg_index i on i.indrelid = c.oid and i.indisprimary
     where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition
     group by c.relname`,
    [schema],
  );
  return new Map(
    rows.map(({ name, columns, key }) => [
      name,
      { name, columns: JSON.parse(columns) as string[], key: JSON.parse(key) as string[] },
    ]),
  );
}

/**
 * Rows are compared by the columns that both tables have. They are matched by the new table's primary
 * key; without one, by all they hold, and counted, since a row may be there several times.
 */
async function differenceOf(
  client: pg.PoolClient,
  schemas: { readonly live: string; readonly built: string },
  { before, after }: { readonly before: Table | undefined; readonly after: Table | undefined },
  { samples, ignore }: Settings,
): Promise<TableDifference> {
  const name = after?.name ?? before?.name ?? '';
  const table = client.escapeIdentifier(name);
  const columns = { added: onlyIn(after, before), removed: onlyIn(before, after) };
  const key = after?.key ?? [];
  const hasKey =
    key.length > 0 &&
    (before === undefined || key.every((column) => before.columns.includes(column)));
  const keyOf = hasKey
    ? `jsonb_build_array(${key.map((column) => `row -> ${client.escapeLiteral(column)}`).join(', ')})`
    : `common || jsonb_build_object('', row_number() over (partition by common))`;
  // $1 are the columns that do not count, $3 and $4 those that the other table does not have.
  const rowsOf = (schema: string, of: Table | undefined, own: '$3' | '$4'): string =>
    of === undefined
      ? `select null::jsonb as row, null::jsonb as common, null::jsonb as key where ${own}::text[] is null`
      : `select row, common, ${keyOf} as key from (
           select to_jsonb(t) as row, to_jsonb(t) - $1::text[] - ${own}::text[] as common
           from ${client.escapeIdentifier(schema)}.${table} t
         ) t`;
  interface Found {
    readonly kind: RowDifference['kind'];
    readonly total: string;
    readonly before: RowDifference['before'] | null;
    readonly after: RowDifference['after'] | null;
  }
  const { rows } = await client.query<Found>(
    `with live as (${rowsOf(schemas.live, before, '$3')}),
       built as (${rowsOf(schemas.built, after, '$4')}),
       different as (
         select live.row as before, built.row as after, coalesce(built.key, live.key) as key,
           case when live.key is null then 'added' when built.key is null then 'removed' else 'changed' end as kind
         from live full join built on built.key = live.key
         where live.common is distinct from built.common
       )
     select kind, total, before, after from (
       select *, row_number() over (partition by kind order by key) as place,
         count(*) over (partition by kind) as total
       from different
     ) d
     where place <= greatest($2::integer, 1) order by kind, place`,
    [[...(ignore[name] ?? [])], samples, columns.removed, columns.added],
  );
  const countOf = (kind: RowDifference['kind']): number =>
    Number(rows.find((row) => row.kind === kind)?.total ?? 0);
  return {
    table: name,
    added: countOf('added'),
    removed: countOf('removed'),
    changed: countOf('changed'),
    columns,
    samples:
      samples === 0
        ? []
        : rows.map(({ kind, before, after }) => ({
            kind,
            before: before ?? undefined,
            after: after ?? undefined,
          })),
  };
}

function onlyIn(table: Table | undefined, other: Table | undefined): readonly string[] {
  if (table === undefined || other === undefined) return [];
  return table.columns.filter((column) => !other.columns.includes(column));
}
