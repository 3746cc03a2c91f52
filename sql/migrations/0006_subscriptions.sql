-- Durable consumers of the store, split into partitions by a hash of the stream. A process that runs
-- them is a worker. A worker owns a partition by a lease: the partition's epoch goes up when its owner
-- changes, and a checkpoint is written only in the epoch that it was worked for.

-- What is consumed is kept here too (as stored names), so that anybody can tell how far behind it is.
create table "stele".subscriptions (
  name text collate "C" primary key,
  kind text not null check (kind in ('transactional', 'reaction', 'projection')),
  partitions integer not null check (partitions between 1 and 1024),
  status text not null default 'active' check (status in ('active', 'paused')),
  status_since timestamptz not null default clock_timestamp(),
  categories text[] not null,
  types text[] not null,
  metadata jsonb
);

-- Updated with every batch, so room is left for new versions on the same page (HOT updates), and
-- nothing that changes often is indexed.
create table "stele".partitions (
  subscription text collate "C" not null references "stele".subscriptions (name) on delete cascade,
  partition integer not null,
  checkpoint bigint not null check (checkpoint >= 0),
  status text not null default 'waiting'
    check (status in ('waiting', 'running', 'retrying', 'stopped', 'outdated')),
  status_since timestamptz not null default clock_timestamp(),
  epoch bigint not null default 0,
  owner uuid,
  leased_until timestamptz,
  handled_at timestamptz,
  error jsonb,
  primary key (subscription, partition)
) with (fillfactor = 20);

-- The processes that run subscriptions, and which of them they can run.
create table "stele".workers (
  id uuid primary key,
  label text not null,
  subscriptions text[] not null,
  started_at timestamptz not null default clock_timestamp(),
  alive_until timestamptz not null
) with (fillfactor = 50);

-- Events that a subscription could not handle, and those of the same stream that came after them.
-- `request` is what a person has asked for; the partition's owner does it.
create table "stele".parked_events (
  subscription text collate "C" not null references "stele".subscriptions (name) on delete cascade,
  partition integer not null,
  stream_id text collate "C" not null,
  version bigint not null,
  position bigint not null,
  type text not null,
  attempts integer not null,
  error jsonb,
  parked_at timestamptz not null default clock_timestamp(),
  request text check (request in ('replay', 'discard')),
  primary key (subscription, stream_id, version)
);
create index parked_events_partition on "stele".parked_events (subscription, partition, position);

-- The partition of a stream. The hash is the one that Postgres partitions tables by.
create function "stele".partition_of(stream_id text, partitions integer) returns integer
language sql immutable parallel safe
return ((pg_catalog.hashtextextended(stream_id collate "C", 0) & 2147483647) % partitions)::integer;

-- How many partitions of a subscription a worker is to have: they are shared out evenly over the
-- workers that live and can run it. Who gets one more than another is decided by a hash, so that not
-- the same worker gets it for every subscription. None while the subscription is paused.
create function "stele".share_of(subscription text, worker uuid) returns integer
language sql stable as $$
  select s.partitions / w.workers + (w.place <= s.partitions % w.workers)::integer
  from "stele".subscriptions s, (
    select w.id, count(*) over () as workers, row_number() over (
      order by pg_catalog.hashtextextended(share_of.subscription || w.id, 0), w.id
    ) as place
    from "stele".workers w
    where share_of.subscription = any (w.subscriptions) and w.alive_until > clock_timestamp()
  ) w
  where s.name = share_of.subscription and s.status = 'active' and w.id = share_of.worker
$$;

-- Says that a worker is alive, extends its leases, and gives it what is missing of its share. What comes
-- back is all that it owns. `keep` is false where it should let go: what is more than its share.
-- A partition that is free and locked is being worked on by an owner that was thought dead: it is left
-- until the server has ended that session.
create function "stele".heartbeat(worker uuid, label text, able text[], lease interval)
returns table (
  subscription text, partition integer, partitions integer, epoch bigint, checkpoint bigint,
  requests boolean, keep boolean
)
language plpgsql as $$
#variable_conflict use_column
begin
  insert into "stele".workers (id, label, subscriptions, alive_until)
  values (worker, label, able, clock_timestamp() + lease)
  on conflict (id) do update set subscriptions = able, alive_until = clock_timestamp() + lease;
  delete from "stele".workers w where w.id in (
    select id from "stele".workers where alive_until < clock_timestamp() - interval '1 hour'
    order by id for update skip locked
  );
  update "stele".partitions p set leased_until = clock_timestamp() + lease where p.owner = worker;
  with free as (
    select f.* from unnest(able) n (name), lateral (
      select p.subscription, p.partition from "stele".partitions p
      where p.subscription = n.name and p.status <> 'stopped'
        and (p.owner is null or p.leased_until < clock_timestamp())
      order by p.partition
      limit greatest(0, coalesce("stele".share_of(n.name, worker), 0) - (
        select count(*) from "stele".partitions o where o.subscription = n.name and o.owner = worker
      ))
      for update skip locked
    ) f
  )
  update "stele".partitions p
  set owner = worker, leased_until = clock_timestamp() + lease, epoch = p.epoch + 1,
    status = 'running', status_since = clock_timestamp()
  from free
  where p.subscription = free.subscription and p.partition = free.partition;
  return query
    select o.subscription, o.partition, s.partitions, o.epoch, o.checkpoint,
      exists (
        select from "stele".parked_events e
        where e.subscription = o.subscription and e.partition = o.partition and e.request is not null
      ),
      o.place <= coalesce("stele".share_of(o.subscription, worker), 0)
    from (
      select p.*, row_number() over (partition by p.subscription order by p.partition) as place
      from "stele".partitions p where p.owner = worker
    ) o
    join "stele".subscriptions s on s.name = o.subscription
    order by 1, 2;
end
$$;

-- Moves a checkpoint on. It is an error (ST003), which takes the whole transaction with it, unless the
-- caller still owns the partition and knows where it was.
create function "stele".advance(
  subscription text, partition integer, epoch bigint, known bigint, checkpoint bigint
) returns void
language plpgsql as $$
#variable_conflict use_variable
begin
  update "stele".partitions p
  set checkpoint = advance.checkpoint, handled_at = clock_timestamp(), status = 'running',
    status_since = case p.status when 'running' then p.status_since else clock_timestamp() end
  where p.subscription = advance.subscription and p.partition = advance.partition
    and p.epoch = advance.epoch and p.checkpoint = known and advance.checkpoint >= known;
  if not found then
    raise exception using
      errcode = 'ST003',
      message = format('partition %s of subscription %s is no longer owned in epoch %s at position %s',
        partition, quote_literal(subscription), epoch, known);
  end if;
end
$$;

do $$
declare
  home regnamespace := (select relnamespace from pg_catalog.pg_class where oid = '"stele".events'::regclass);
  role_name text;
begin
  foreach role_name in array array['stele_writer', 'stele_reader'] loop
    continue when not exists (select from pg_catalog.pg_roles where rolname = role_name);
    execute format('grant select on %1$s.subscriptions, %1$s.partitions, %1$s.workers, %1$s.parked_events to %2$I', home, role_name);
    execute format('grant execute on function %s.partition_of to %I', home, role_name);
    if role_name = 'stele_writer' then
      execute format('grant insert, update, delete on %1$s.subscriptions, %1$s.partitions, %1$s.workers, %1$s.parked_events to %2$I', home, role_name);
      execute format('grant execute on function %1$s.heartbeat, %1$s.share_of, %1$s.advance to %2$I', home, role_name);
    end if;
  end loop;
end
$$;

revoke execute on function "stele".heartbeat, "stele".share_of, "stele".advance, "stele".partition_of from public;
