-- Events are never changed and never deleted, not even by their owner, unless a transaction says
-- that it is maintenance: set local stele.maintenance = 'on'.
create function "stele".refuse_change() returns trigger
language plpgsql as $$
begin
  if current_setting('stele.maintenance', true) = 'on' then
    return case when tg_op = 'DELETE' then old else new end;
  end if;
  raise exception using
    errcode = 'ST002',
    message = format('events are append-only: %s was refused', lower(tg_op)),
    hint = 'Append an event that corrects the earlier one.';
end
$$;

create trigger append_only before update or delete on "stele".events
  for each row execute function "stele".refuse_change();

create trigger append_only_truncate before truncate on "stele".events
  for each statement execute function "stele".refuse_change();
