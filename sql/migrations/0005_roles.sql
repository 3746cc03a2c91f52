-- Two roles to grant to the logins of applications: one that appends and reads, one that reads.
-- Neither can change or delete an event. Roles belong to the whole server, so they may be there
-- already, or be made by another database's migration at this very moment; and the owner of a schema
-- may not be allowed to make roles, in which case an administrator grants the same by hand.
do $$
declare
  role_name text;
  home regnamespace := (select relnamespace from pg_catalog.pg_class where oid = '"stele".events'::regclass);
begin
  foreach role_name in array array['stele_writer', 'stele_reader'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = role_name) then
      begin
        execute format('create role %I nologin', role_name);
      exception
        when duplicate_object or unique_violation then null;
        when insufficient_privilege then
          raise warning 'role % was not made: the current role may not create roles', role_name;
          continue;
      end;
    end if;
    execute format('grant usage on schema %s to %I', home, role_name);
    execute format('grant select on all tables in schema %s to %I', home, role_name);
    execute format('grant select on sequence %s.positions to %I', home, role_name);
    execute format('grant execute on function %s.watermark to %I', home, role_name);
    if role_name = 'stele_writer' then
      execute format('grant insert on %s.events to %I', home, role_name);
      execute format('grant insert, update on %s.streams to %I', home, role_name);
      execute format('grant usage on sequence %s.positions to %I', home, role_name);
      execute format('grant execute on function %s.append to %I', home, role_name);
    end if;
  end loop;
end
$$;

revoke execute on function "stele".append, "stele".watermark from public;
