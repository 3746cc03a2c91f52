-- How far the store may be read. Positions are taken in one order and committed in another, so the
-- highest position that is visible says nothing about those below it.
--
-- `position` is the last position taken. It is read first. `transactions` are then the transactions
-- that may hold a position up to it and have not ended: each holds its lock on the events table from
-- before it takes a position until after its rows are visible. Once all of these have ended, every
-- event up to `position` is visible, or will never be. `visible` is the highest position that is
-- visible when the transactions have been looked at.
--
-- In PL/pgSQL since its statements run in order, each with a new look at the world.
create function "stele".watermark(out "position" bigint, out visible bigint, out transactions text[])
language plpgsql as $$
begin
  if pg_is_in_recovery() then
    raise exception using
      errcode = 'ST001',
      message = 'events cannot be read in position order from a standby',
      detail = 'A standby does not show the locks of the primary, so it cannot tell which positions are still to come.',
      hint = 'Read from the primary.';
  end if;
  select case when s.is_called then s.last_value else 0 end into "position" from "stele".positions s;
  select coalesce(array_agg(distinct l.virtualtransaction), '{}') into transactions
  from pg_catalog.pg_locks l
  where l.locktype = 'relation'
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
    and l.relation = '"stele".events'::regclass
    and l.mode = 'RowExclusiveLock'
    and l.granted;
  select coalesce(max(e."position"), 0) into visible from "stele".events e;
end
$$;
