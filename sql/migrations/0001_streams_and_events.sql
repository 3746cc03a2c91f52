-- The event store: streams, their events, and the one function that writes them.
--
-- "stele" stands for the schema that the store is told to use; it is replaced, quoted, before this
-- runs. Text is compared by bytes (collate "C"): it is faster, and the order in which streams are
-- locked must not depend on a locale.

create table "stele".migrations (
  number integer primary key,
  name text not null,
  applied_at timestamptz not null default clock_timestamp()
);

-- The head of each stream. An append locks it first, so that whoever waits for the row waits for
-- nothing else. Room is left in each page so that a new version stays on it (a HOT update).
create table "stele".streams (
  stream_id text collate "C" primary key,
  category text collate "C" not null,
  version bigint not null check (version >= 0),
  recorded_at timestamptz not null
) with (fillfactor = 80);

-- Positions are taken one by one (cache 1): with a cache, the order of two sessions' positions
-- would no longer agree with cause and effect.
create sequence "stele".positions as bigint cache 1;

create table "stele".events (
  position bigint not null,
  version bigint not null check (version > 0),
  recorded_at timestamptz not null,
  id uuid not null,
  schema_version integer not null check (schema_version > 0),
  stream_id text collate "C" not null,
  category text collate "C" not null,
  type text collate "C" not null,
  data jsonb not null,
  metadata jsonb not null,
  primary key (stream_id, version),
  -- The id comes first so that an event is found by its id alone. Ids are made in time order, so
  -- this index grows at its end.
  unique (id, stream_id)
);

create index events_position on "stele".events (position);
create index events_category on "stele".events (category, position);
create index events_correlation on "stele".events ((metadata ->> 'correlationId'), position)
  where metadata ? 'correlationId';
