import { aggregate, event, UnknownEventTypeError, UnknownSchemaVersionError } from 'stele';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

import { ada, EarlyUser, noPassword, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { collect, rejectionOf, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const early = { aggregates: [EarlyUser] as never };
const emailOf = z.object({ email: z.email() });

describe('an event that older code has stored', () => {
  const v1 = { email: 'ada@example.com', username: 'ada' };

  test('is read in the newest version, wherever it is read', async () => {
    const before = await open(early);
    const { events } = await before.append(EarlyUser.stream('old'), [
      EarlyUser.emit.UserCreated(v1),
    ]);
    const store = await open();
    const data = { ...v1, hashedPassword: noPassword };
    const upcast = { ...events[0], data };
    expect(await collect(store.readStream(User, 'old'))).toEqual([upcast]);
    expect(await collect(store.read({ aggregates: [User] }))).toEqual([upcast]);
    expect(await store.event(events[0]?.id ?? '')).toEqual(upcast);
    const { state } = await store.load(User, 'old');
    expect(state).toEqual({ status: 'active', tags: [], ...data });
    const [entry] = await collect(store.history(User, 'old'));
    expect(entry?.event).toEqual(upcast);
  });

  test('keeps what was stored, with the version it was stored in', async () => {
    await (await open(early)).append(EarlyUser.stream('kept'), [EarlyUser.emit.UserCreated(v1)]);
    const store = await open();
    await store.execute(User, 'kept', 'changeEmail', { email: 'b@example.com' });
    await store.append(User.stream('kept'), [User.emit.UserCreated(ada())]);
    const rows = await database.query(
      `select type, schema_version, data from stele.events where stream_id = 'user-kept' order by version`,
    );
    expect(rows).toEqual([
      { type: 'UserCreated', schema_version: 1, data: v1 },
      { type: 'EmailChanged', schema_version: 1, data: { email: 'b@example.com' } },
      { type: 'UserCreated', schema_version: 2, data: ada() },
    ]);
  });

  test('goes through every upcaster in between, once', async () => {
    const first = event(z.object({ a: z.int() }));
    const second = first.version(z.object({ b: z.int() }), ({ a }) => ({ b: a * 10 }));
    const third = second.version(z.object({ c: z.int() }), ({ b }) => ({ c: b + 1 }));
    const versions = [first, second, third].map((definition) =>
      aggregate('stepped', {
        events: { Stepped: definition },
        initialState: () => 0,
        evolve: { Stepped: (sum: number) => sum },
      }),
    );
    for (const [index, Version] of versions.entries()) {
      const store = await open({ aggregates: [Version] as never });
      const payload = [{ a: 1 }, { b: 2 }, { c: 3 }][index];
      await store.append(Version.stream('1'), [Version.emit.Stepped(payload as never)]);
    }
    const Newest = versions[2] ?? versions[0];
    if (Newest === undefined) throw new Error('There are three versions.');
    const events = await collect(
      (await open({ aggregates: [Newest] as never })).readStream(Newest, '1'),
    );
    expect(events.map(({ data }) => data)).toEqual([{ c: 11 }, { c: 3 }, { c: 3 }]);
  });

  test('that its upcaster cannot take is an error that names the event', async () => {
    const cause = new Error('no idea');
    const Stuck = aggregate('user', {
      events: {
        UserCreated: event(z.object({ email: z.email(), username: z.string() })).version(
          emailOf,
          () => {
            throw cause;
          },
        ),
      },
      initialState: () => 0,
      evolve: { UserCreated: () => 1 },
    });
    await (await open(early)).append(EarlyUser.stream('stuck'), [EarlyUser.emit.UserCreated(v1)]);
    const store = await open({ aggregates: [Stuck] as never });
    const error = await rejectionOf(store.load(Stuck, 'stuck'));
    expect(error).toMatchObject({ code: 'upcast-failed', cause });
    expect(error).toHaveProperty(
      'message',
      expect.stringContaining("Event 1 of stream 'user-stuck'"),
    );
  });
});

describe('an event that newer code has stored', () => {
  test('in a later schema version is an UnknownSchemaVersionError, never a guess', async () => {
    const [before, after] = [await open(early), await open()];
    const changed = EarlyUser.emit.EmailChanged({ email: 'b@example.com' });
    await before.append(EarlyUser.stream('newer'), [changed]);
    await after.append(User.stream('newer'), [User.emit.UserCreated(ada())]);
    const facts = { streamId: 'user-newer', version: 2, schemaVersion: 2, knownVersion: 1 };
    const error = await rejectionOf(before.load(EarlyUser, 'newer'));
    expect(error).toBeInstanceOf(UnknownSchemaVersionError);
    expect(error).toMatchObject({ ...facts, eventType: 'UserCreated' });
    const given: number[] = [];
    const reading = (async () => {
      for await (const { version } of before.readStream(EarlyUser, 'newer')) given.push(version);
    })();
    expect(await rejectionOf(reading)).toMatchObject(facts);
    // What stands before it is given out all the same.
    expect(given).toEqual([1]);
    expect(await before.load(EarlyUser, 'newer', { version: 1 })).toMatchObject({ version: 1 });
  });

  test('of a new type is an UnknownEventTypeError', async () => {
    const [before, after] = [await open(early), await open()];
    await after.append(User.stream('type'), [User.emit.Tagged({ tags: [] })]);
    const error = await rejectionOf(before.load(EarlyUser, 'type'));
    expect(error).toBeInstanceOf(UnknownEventTypeError);
    expect(error).toMatchObject({ streamId: 'user-type', version: 1, eventType: 'Tagged' });
  });
});

describe('a codec', () => {
  const Meeting = aggregate('meeting', {
    events: {
      Planned: event(z.object({ at: z.date(), guests: z.set(z.string()) }), {
        encode: ({ at, guests }) => ({ at: at.toISOString(), guests: [...guests] }),
        decode: ({ at, guests }) => ({ at: new Date(at), guests: new Set(guests) }),
      }).version(z.object({ from: z.date() }), ({ at }) => ({ from: at }), {
        encode: ({ from }) => ({ from: from.getTime() }),
        decode: ({ from }) => ({ from: new Date(from) }),
      }),
    },
    initialState: (): { from: Date | undefined } => ({ from: undefined }),
    evolve: { Planned: (_, { data }) => data },
    commands: {
      plan: {
        input: z.object({ from: z.date() }),
        decide: (input, _, { emit }) => emit.Planned(input),
      },
    },
  });
  const from = new Date('2026-02-28T12:34:56.789Z');

  test('brings a payload there and back, with and without memory', async () => {
    const store = await open({ aggregates: [Meeting] as never });
    const done = await store.execute(Meeting, '1', 'plan', { from });
    expect(done).toMatchObject({ ok: true, state: { from }, events: [{ data: { from } }] });
    const { events } = await store.append(Meeting.stream('1'), [Meeting.emit.Planned({ from })]);
    expect(events[0]?.data).toEqual({ from });
    const fresh = await open({ aggregates: [Meeting] as never });
    expect(await fresh.load(Meeting, '1')).toEqual({ state: { from }, version: 2 });
    const [row] = await database.query(
      `select data from stele.events where stream_id = 'meeting-1'`,
    );
    expect(row).toEqual({ data: { from: from.getTime() } });
  });

  test('of an older version decodes before the upcaster runs', async () => {
    await database.query(
      `insert into stele.events (position, version, recorded_at, id, schema_version, stream_id, category, type, data, metadata)
       values (nextval('stele.positions'), 1, now(), gen_random_uuid(), 1, 'meeting-2', 'meeting', 'Planned', $1, '{}')`,
      [{ at: from.toISOString(), guests: ['ann'] }],
    );
    const store = await open({ aggregates: [Meeting] as never });
    const [event] = await collect(store.readStream(Meeting, '2'));
    expect(event?.data).toEqual({ from });
  });
});
