/** Writes down what a schema consists of, from Postgres's catalog: the same text for the same schema. */
import type pg from 'pg';

interface Entry {
  readonly text: string;
}

/** Every object of a schema as SQL, in a fixed order, without what depends on the server. */
export async function describeSchema(client: pg.ClientBase, schema: string): Promise<string> {
  const parts: string[] = [];
  for (const sql of [sequences, tables, indexes, functions, triggers, grants]) {
    const { rows } = await client.query<Entry>(sql, [schema]);
    parts.push(...rows.map(({ text }) => text.trimEnd()));
  }
  return `${parts.join('\n\n')}\n`;
}

const sequences = `
  select format(E'create sequence %I.%I as %s\\n  increment %s minvalue %s maxvalue %s start %s cache %s%s;',
    n.nspname, c.relname, format_type(s.seqtypid, null), s.seqincrement, s.seqmin, s.seqmax,
    s.seqstart, s.seqcache, case when s.seqcycle then ' cycle' else '' end) as text
  from pg_catalog.pg_sequence s
  join pg_catalog.pg_class c on c.oid = s.seqrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = $1
  order by c.relname collate "C"`;

// Not-null constraints are on the columns here: only from release 18 on are they constraints too.
const tables = `
  select format(E'create table %I.%I (\\n  %s\\n)%s;', n.nspname, c.relname,
    concat_ws(E',\\n  ', parts.columns, parts.constraints),
    ' with (' || array_to_string(c.reloptions, ', ') || ')') as text
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  cross join lateral (
    select
      (select string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
          case when a.attcollation <> t.typcollation then 'collate ' || quote_ident(l.collname) end,
          case when a.attnotnull then 'not null' end,
          'default ' || pg_get_expr(d.adbin, d.adrelid)), E',\\n  ' order by a.attnum)
        from pg_catalog.pg_attribute a
        join pg_catalog.pg_type t on t.oid = a.atttypid
        left join pg_catalog.pg_collation l on l.oid = a.attcollation
        left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
      (select string_agg(format('constraint %I %s', o.conname, pg_get_constraintdef(o.oid)),
          E',\\n  ' order by o.conname collate "C")
        from pg_catalog.pg_constraint o
        where o.conrelid = c.oid and o.contype in ('p', 'u', 'c', 'f', 'x')) as constraints
  ) parts
  where n.nspname = $1 and c.relkind in ('r', 'p')
  order by c.relname collate "C"`;

// Those of constraints are with their tables.
const indexes = `
  select pg_get_indexdef(i.indexrelid) || ';' as text
  from pg_catalog.pg_index i
  join pg_catalog.pg_class c on c.oid = i.indexrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = $1
    and not exists (select from pg_catalog.pg_constraint o where o.conindid = i.indexrelid)
  order by c.relname collate "C"`;

const functions = `
  select rtrim(pg_get_functiondef(p.oid), E'\\n') || ';' as text
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  where n.nspname = $1
  order by p.proname collate "C", pg_get_function_identity_arguments(p.oid) collate "C"`;

const triggers = `
  select pg_get_triggerdef(t.oid) || ';' as text
  from pg_catalog.pg_trigger t
  join pg_catalog.pg_class c on c.oid = t.tgrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = $1 and not t.tgisinternal
  order by c.relname collate "C", t.tgname collate "C"`;

// What others than the owner may do. Nothing is said of the owner, who may do everything.
const grants = `
  with object as (
    select 1 as place, 'schema' as kind, quote_ident(n.nspname) as name, n.nspowner as owner,
      coalesce(n.nspacl, acldefault('n', n.nspowner)) as acl
    from pg_catalog.pg_namespace n where n.nspname = $1
    union all
    select 2, case c.relkind when 'S' then 'sequence' else 'table' end,
      format('%I.%I', n.nspname, c.relname), c.relowner,
      coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner))
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relkind in ('r', 'p', 'S')
    union all
    select 3, 'function', format('%I.%I', n.nspname, p.proname), p.proowner,
      coalesce(p.proacl, acldefault('f', p.proowner))
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = $1
  ), granted as (
    select o.place, o.kind, o.name, case a.grantee when 0 then 'public' else r.rolname end as grantee,
      string_agg(lower(a.privilege_type), ', ' order by a.privilege_type) as privileges
    from object o
    cross join lateral aclexplode(o.acl) a
    left join pg_catalog.pg_roles r on r.oid = a.grantee
    where a.grantee <> o.owner
    group by o.place, o.kind, o.name, a.grantee, r.rolname
  )
  select string_agg(format('grant %s on %s %s to %I;', privileges, kind, name, grantee), E'\\n'
    order by place, name collate "C", grantee collate "C") as text
  from granted
  having count(*) > 0`;
