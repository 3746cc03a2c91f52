-- Read models whose tables live in a schema of their own, by the definition that they were built by.
-- A rebuild makes a shadow beside the live tables; the swap keeps the earlier ones for a while.
create table "stele".projections (
  name text collate "C" primary key,
  mode text not null check (mode in ('inline', 'async')),
  fingerprint text not null,
  built_at timestamptz not null default clock_timestamp(),
  shadow_fingerprint text,
  shadow_started_at timestamptz,
  kept_fingerprint text,
  kept_until timestamptz,
  -- Where each partition of the kept tables had come to: [[partition, partitions, checkpoint], …]
  kept_checkpoints jsonb
);

do $$
declare
  home regnamespace := (select relnamespace from pg_catalog.pg_class where oid = '"stele".events'::regclass);
  role_name text;
begin
  foreach role_name in array array['stele_writer', 'stele_reader'] loop
    continue when not exists (select from pg_catalog.pg_roles where rolname = role_name);
    execute format('grant select on %s.projections to %I', home, role_name);
    if role_name = 'stele_writer' then
      execute format('grant insert, update, delete on %s.projections to %I', home, role_name);
    end if;
  end loop;
end
$$;
