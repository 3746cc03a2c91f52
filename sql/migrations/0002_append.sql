-- Appends a group of appends, each with its own verdict.
--
-- A *head* is a stream that the group appends to. Heads and events are given as parallel arrays; each
-- event names its head, and its place among all that the group appends there. Appends that expect
-- nothing may share a head. An append with a condition, or to several streams, has its heads for
-- itself: each condition is judged against the head as it is found, and the heads of one append stand
-- or fall together.
--
--   wait      wait for streams that another transaction has locked, or answer 'busy' for them
--   resent    some of these ids may have been stored before
--   append    which heads stand or fall together
--   expected  n >= 1: exactly this version; 0: no stream; -1: any; -2: the stream exists
--   place     1 for the first event that the group appends to its head
--
-- One row comes back: for each head its outcome, the version it was found at, and the time its events
-- got in milliseconds since 1970; and the positions of all events that were stored, in order. Where
-- every head got its events, there are no outcomes.
--
--   appended   stored
--   conflict   not stored: the condition did not hold
--   busy       not stored: another transaction has locked the stream
--   present    not stored: the stream already holds an event with one of these ids
--   withheld   not stored: another head of the same append was not
create function "stele".append(
  wait boolean,
  resent boolean,
  head_append integer[],
  head_stream text[],
  head_category text[],
  head_expected bigint[],
  head_events integer[],
  event_head integer[],
  event_place integer[],
  event_id uuid[],
  event_type text[],
  event_schema_version integer[],
  event_data jsonb[],
  event_metadata jsonb[],
  out outcomes text[],
  out versions bigint[],
  out recorded_at bigint[],
  out positions bigint[]
) language plpgsql
-- One plan for all calls: planning takes longer than running. A plan made while the tables were small
-- must still be right when they are large, so tables are read through indexes by the keys that were
-- given (`= any`), and joined by hashing, not row by row.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_nestloop = off
as $$
#variable_conflict use_column
declare
  -- A stream that comes while others are waited for stays as it was found: missing.
  sought text[] := head_stream;
  bases bigint[];
  times timestamptz[];
  found integer;
  fitting boolean;
  missing text[];
  made text[];
  present integer[];
  busy text[];
  -- Milliseconds, so that a JavaScript Date holds it exactly.
  clock timestamptz := date_trunc('milliseconds', clock_timestamp());
  patience text := current_setting('lock_timeout');
begin
  -- Whoever waits makes the heads that do not exist, in order, and then locks the others, in order. In
  -- the first step it holds only heads that nobody else can see yet; in the second it waits for a head
  -- that comes after all it has locked. So no cycle can form among those who wait.
  if wait then
    insert into "stele".streams (stream_id, category, version, recorded_at)
    select h.stream, h.category, 0, clock
    from unnest(head_stream, head_category, head_expected) h (stream, category, expected)
    where h.expected in (0, -1) and not exists (
      select from "stele".streams s where s.stream_id = h.stream and s.stream_id = any (head_stream)
    )
    order by h.stream
    on conflict do nothing;
    select array_agg(s.stream_id) into sought from (
      select s.stream_id from "stele".streams s
      where s.stream_id = any (head_stream) order by s.stream_id for update
    ) s;
  end if;

  -- Read again, since the locks may have taken long: whoever reads from a time on relies on positions
  -- being taken soon after.
  clock := date_trunc('milliseconds', clock_timestamp());

  -- Within a stream, time never goes back, whatever the clock does: the state at a time is then the
  -- state at a version.
  with locked as materialized (
    select s.stream_id, s.version, s.recorded_at from "stele".streams s
    where s.stream_id = any (sought) order by s.stream_id for update skip locked
  )
  select array_agg(h.version), array_agg(coalesce(h.version, 0)), array_agg(h.time),
    array_agg((date_part('epoch', h.time) * 1000)::bigint),
    count(h.version), array_agg(h.stream) filter (where h.version is null),
    bool_and(h.version is null or h.expected in (-1, h.version) or (h.expected = -2 and h.version > 0))
  into bases, versions, times, recorded_at, found, missing, fitting
  from (
    select h.stream, h.expected, l.version, greatest(l.recorded_at, clock) as time
    from unnest(head_stream, head_expected) with ordinality h (stream, expected, head)
    left join locked l on l.stream_id = h.stream
    order by h.head
  ) h;

  -- A head that can be seen but not locked is left alone: to find its conflict with one, an insert
  -- would wait for whoever is changing it. A head that another transaction has made and not committed
  -- cannot be seen. Whoever must not wait gives up on the whole group then (SQLSTATE 55P03), and sorts
  -- it out; so a cycle with those who wait ends, too.
  if missing is not null and not wait then
    perform set_config('lock_timeout', '50ms', true);
    with head as (
      insert into "stele".streams (stream_id, category, version, recorded_at)
      select h.stream, h.category, h.events, clock
      from unnest(head_stream, head_category, head_expected, head_events, bases)
        h (stream, category, expected, events, base)
      where h.base is null and h.expected in (0, -1) and not exists (
        select from "stele".streams s where s.stream_id = h.stream and s.stream_id = any (missing)
      )
      order by h.stream
      on conflict do nothing
      returning stream_id
    )
    select array_agg(stream_id), found + count(*) into made, found from head;
    perform set_config('lock_timeout', patience, true);
  end if;

  -- Looked for under the lock, since an append that is sent again finds its stream moved on by itself.
  if resent then
    select array_agg(e.head) into present
    from unnest(event_head, event_id) e (head, id)
    join unnest(head_stream) with ordinality h (stream, head) on h.head = e.head
    join "stele".events stored on stored.id = e.id and stored.stream_id = h.stream
    where stored.id = any (event_id);
  end if;

  if not fitting or found < cardinality(head_stream) or present is not null then
    if not wait then
      select array_agg(s.stream_id) into busy from "stele".streams s where s.stream_id = any (missing);
    end if;
    with judged as (
      select h.head, h.append,
        case
          when h.head = any (present) then 'present'
          when h.base is null and h.stream = any (made) then 'appended'
          when h.base is null and not wait and (h.expected in (0, -1) or h.stream = any (busy)) then 'busy'
          when h.base is not null and h.expected in (-1, h.base) or (h.expected = -2 and h.base > 0) then 'appended'
          else 'conflict'
        end as outcome
      from unnest(head_stream, head_append, head_expected, bases) with ordinality
        h (stream, append, expected, base, head)
    )
    select array_agg(
      case when j.outcome = 'appended' and not j.accepted then 'withheld' else j.outcome end order by j.head)
    into outcomes
    from (
      select *, bool_and(outcome = 'appended') over (partition by append) as accepted from judged
    ) j;
    -- Those that were made had been given their version already.
    update "stele".streams s set version = 0
    from unnest(head_stream, outcomes) h (stream, outcome)
    where h.outcome <> 'appended' and s.stream_id = h.stream and s.stream_id = any (made);
  end if;

  update "stele".streams s set version = s.version + h.events, recorded_at = h.time
  from unnest(head_stream, head_events, bases, times, outcomes) h (stream, events, base, time, outcome)
  where h.base is not null and coalesce(h.outcome, 'appended') = 'appended'
    and s.stream_id = h.stream and s.stream_id = any (head_stream);

  -- The insert holds its lock on the table before it takes the first position: readers rely on it.
  with stored as (
    insert into "stele".events
      (position, version, recorded_at, id, schema_version, stream_id, category, type, data, metadata)
    select nextval('"stele".positions'), e.version, e.time, e.id, e.schema_version, e.stream,
      e.category, e.type, e.data, e.metadata
    from (
      select h.version + e.place as version, h.time, e.id, e.schema_version, h.stream, h.category,
        e.type, e.data, e.metadata
      from unnest(event_head, event_place, event_id, event_type, event_schema_version, event_data,
        event_metadata) with ordinality e (head, place, id, type, schema_version, data, metadata, event)
      join unnest(head_stream, head_category, versions, times, outcomes) with ordinality
        h (stream, category, version, time, outcome, head) on h.head = e.head
      where coalesce(h.outcome, 'appended') = 'appended'
      order by e.event
    ) e
    returning position
  )
  select array_agg(position order by position) into positions from stored;
end
$$;
