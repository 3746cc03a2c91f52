-- Appends a group of appends, each with its own verdict.
--
-- A *write* is what one append does to one stream; an append to several streams has several writes
-- and is stored whole or not at all. Writes and events are given in order, as parallel arrays. An
-- append with a condition may only be in a group in which nothing before it touches its streams, so
-- that each condition is judged against the head as it is found.
--
--   expected   n >= 1: exactly this version; 0: no stream; -1: any; -2: the stream exists
--   resent     these ids may have been stored before
--   wait       wait for streams that another transaction has locked, or answer 'busy' for them
--
-- One row comes back: for each write its outcome, the version its stream is at now, and the time its
-- events got in milliseconds since 1970; and the positions of all events that were stored, in order.
--
--   appended   stored
--   conflict   not stored: the condition did not hold
--   busy       not stored: another transaction has locked the stream
--   present    not stored: the stream already holds an event with one of these ids
--   withheld   not stored: another write of the same append was not
create function "stele".append(
  wait boolean,
  write_append integer[],
  write_stream text[],
  write_category text[],
  write_expected bigint[],
  write_resent boolean[],
  write_metadata jsonb[],
  write_events integer[],
  event_write integer[],
  event_id uuid[],
  event_type text[],
  event_schema_version integer[],
  event_data jsonb[],
  out outcomes text[],
  out versions bigint[],
  out recorded_at bigint[],
  out positions bigint[]
) language plpgsql
-- One plan for all calls, which goes through indexes alone: planning takes longer than running, and a
-- plan made while the tables were small must still be right when they are large.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  made text[];
  sought text[];
  busy text[];
  locked text[];
  locked_version bigint[];
  locked_at timestamptz[];
  present integer[];
  bases bigint[];
  times timestamptz[];
  patience text := current_setting('lock_timeout');
  -- Milliseconds, so that a JavaScript Date holds it exactly.
  clock timestamptz := date_trunc('milliseconds', clock_timestamp());
begin
  -- A head that another transaction has made and not committed cannot be seen, let alone skipped.
  -- Whoever must not wait gives up on the whole group then (SQLSTATE 55P03), and sorts it out.
  if not wait then
    perform set_config('lock_timeout', '50ms', true);
  end if;

  -- First the heads that do not exist are made, in order, as if all their writes were accepted; then
  -- the others are locked, in order. Whoever waits in the first step holds only heads that nobody
  -- else can see yet; whoever waits in the second waits for a head that comes after all it has
  -- locked. So no cycle can form. Heads that can be seen are left out of the first step: to find its
  -- conflict with one, an insert would wait for whoever is changing it.
  with head as (
    insert into "stele".streams (stream_id, category, version, recorded_at)
    select w.stream, min(w.category), sum(w.events), clock
    from unnest(write_stream, write_category, write_expected, write_events)
      w (stream, category, expected, events)
    left join (
      select s.stream_id from "stele".streams s where s.stream_id = any (write_stream)
    ) known on known.stream_id = w.stream
    where known.stream_id is null
    group by w.stream
    having min(w.expected) in (0, -1)
    order by w.stream
    on conflict do nothing
    returning stream_id
  )
  select array_agg(stream_id) into made from head;
  if not wait then
    perform set_config('lock_timeout', patience, true);
  end if;
  select array_agg(stream) into sought
  from (select unnest(write_stream) as stream except select unnest(made)) s;

  if wait then
    select array_agg(h.stream_id), array_agg(h.version), array_agg(h.recorded_at)
    into locked, locked_version, locked_at
    from (
      select s.stream_id, s.version, s.recorded_at from "stele".streams s
      where s.stream_id = any (sought) order by s.stream_id for update
    ) h;
  else
    select array_agg(h.stream_id), array_agg(h.version), array_agg(h.recorded_at)
    into locked, locked_version, locked_at
    from (
      select s.stream_id, s.version, s.recorded_at from "stele".streams s
      where s.stream_id = any (sought) order by s.stream_id for update skip locked
    ) h;
    if cardinality(locked) is distinct from cardinality(sought) then
      select array_agg(s.stream_id) into busy from "stele".streams s
      where s.stream_id = any (sought) and s.stream_id <> all (coalesce(locked, '{}'));
    end if;
  end if;

  -- Looked for under the lock and before any condition is judged, since an append that is sent
  -- again finds its stream moved on by itself.
  if true = any (write_resent) then
    select array_agg(n.write) into present
    from unnest(event_write, event_id) n (write, id)
    join unnest(write_stream, write_resent) with ordinality w (stream, resent, write)
      on w.write = n.write and w.resent
    join "stele".events e on e.id = n.id and e.stream_id = w.stream
    where e.id = any (event_id);
  end if;

  -- Within a stream, time never goes back, whatever the clock does: the state at a time is then the
  -- state at a version.
  with write as (
    select w.append, w.stream, w.events, w.write,
      coalesce(h.version, 0) as head,
      greatest(h.recorded_at, clock) as time,
      case
        when w.write = any (present) then 'present'
        when h.stream is null and w.stream = any (busy) then 'busy'
        when w.expected = -1 or w.expected = coalesce(h.version, 0)
          or (w.expected = -2 and h.version > 0) then 'appended'
        else 'conflict'
      end as outcome
    from unnest(write_append, write_stream, write_expected, write_events) with ordinality
      w (append, stream, expected, events, write)
    left join unnest(locked, locked_version, locked_at) h (stream, version, recorded_at)
      on h.stream = w.stream
  ), judged as (
    select *, bool_and(outcome = 'appended') over (partition by append) as accepted from write
  ), placed as (
    select *, head + coalesce(sum(case when accepted then events end)
      over (partition by stream order by write), 0)::bigint as last
    from judged
  )
  select
    array_agg(case when outcome = 'appended' and not accepted then 'withheld' else outcome end order by write),
    array_agg(last order by write),
    array_agg((extract(epoch from time) * 1000)::bigint order by write),
    array_agg(time order by write),
    array_agg(case when accepted then last - events end order by write)
  into outcomes, versions, recorded_at, times, bases
  from placed;

  -- A head that was made has its version already, unless one of its writes was not accepted. Only heads
  -- that were made or locked here are touched: one that was found missing may have come since.
  update "stele".streams s set version = n.version, recorded_at = n.time
  from (
    select w.stream, max(w.version) as version, max(w.time) as time
    from unnest(write_stream, versions, times) w (stream, version, time)
    group by w.stream
  ) n
  where s.stream_id = n.stream and s.stream_id = any (made || locked) and s.version <> n.version;

  -- The insert holds its lock on the table before it takes the first position: readers rely on it.
  with stored as (
    insert into "stele".events
      (position, version, recorded_at, id, schema_version, stream_id, category, type, data, metadata)
    select nextval('"stele".positions'), n.version, n.time, n.id, n.schema_version, n.stream,
      n.category, n.type, n.data, n.metadata
    from (
      select
        w.base + row_number() over (partition by e.write order by e.event) as version,
        w.time, e.id, e.schema_version, w.stream, w.category, e.type, e.data, w.metadata
      from unnest(event_write, event_id, event_type, event_schema_version, event_data) with ordinality
        e (write, id, type, schema_version, data, event)
      join unnest(write_stream, write_category, write_metadata, times, bases) with ordinality
        w (stream, category, metadata, time, base, write) on w.write = e.write
      where w.base is not null
      order by e.event
    ) n
    returning position
  )
  select array_agg(position order by position) into positions from stored;
end
$$;
