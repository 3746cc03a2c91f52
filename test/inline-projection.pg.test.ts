import { isSteleError, ProjectionError, projection, type Projection } from 'stele';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { ada, Counter, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { rejectionOf, signal, times, untilWaiting, usePools, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const pools = usePools(database);
const { emit } = User;

const Users = projection('users', {
  aggregates: [User],
  others: 'ignore',
  on: {
    UserCreated: async ({ streamId, data }, transaction) => {
      await transaction.query('insert into users values ($1, $2)', [streamId, data.email]);
    },
    EmailChanged: async ({ streamId, data }, transaction) => {
      const values = [streamId, data.email];
      await transaction.query('update users set email = $2 where id = $1', values);
    },
  },
});

beforeAll(() =>
  database.query(
    'create table users (id text primary key, email text constraint users_email_key unique)',
  ),
);
beforeEach(() => database.query('truncate users'));

const rows = (): Promise<object[]> => database.query('select * from users order by id');
/** A projection of what `handle` does with each event of a counter. */
function counting(name: string, handle: Projection['apply']): Projection {
  return projection(name, { aggregates: [Counter], on: { Incremented: handle } });
}
const increment = [Counter.emit.Incremented({ to: 1 })];

describe('an inline projection', () => {
  test('is there when the append is', async () => {
    const store = await open({ projections: [Users] });
    const [first, second] = [ada('a@example.com'), ada('b@example.com')];
    await store.appendAll([
      {
        stream: User.stream('a'),
        events: [emit.UserCreated(first), emit.EmailChanged({ email: 'c@example.com' })],
      },
      {
        stream: User.stream('b'),
        events: [emit.UserCreated(second), emit.Tagged({ tags: ['x'] })],
      },
    ]);
    expect(await rows()).toEqual([
      { id: 'user-a', email: 'c@example.com' },
      { id: 'user-b', email: 'b@example.com' },
    ]);
  });

  test('is not there when another stream of the append has a conflict', async () => {
    const store = await open({ projections: [Users] });
    const append = store.appendAll([
      { stream: User.stream('half'), events: [emit.UserCreated(ada())] },
      { stream: Counter.stream('half'), events: increment, expectedVersion: 3 },
    ]);
    expect(await rejectionOf(append)).toMatchObject({
      code: 'concurrency',
      streamId: 'counter-half',
    });
    expect(await rows()).toEqual([]);
  });

  test('is updated once when the append is sent twice', async () => {
    const store = await open({ projections: [Users] });
    const append = () =>
      store.append(User.stream('twice'), [emit.UserCreated(ada())], { idempotencyKey: 'k' });
    const results = [await append(), await append()];
    expect(results.map(({ deduplicated }) => deduplicated)).toEqual([false, true]);
    expect(await rows()).toHaveLength(1);
  });

  test('that fails undoes the append, and is a ProjectionError with its cause', async () => {
    const failure = new Error('out of ink');
    const Failing = counting('failing', async (_, transaction) => {
      await transaction.query(`insert into users values ('gone', 'gone')`);
      throw failure;
    });
    const store = await open({ projections: [Failing] });
    const error = await rejectionOf(store.append(Counter.stream('failing'), increment));
    expect(error).toBeInstanceOf(ProjectionError);
    expect(error).toMatchObject({
      projection: 'failing',
      eventType: 'Incremented',
      streamId: 'counter-failing',
      version: 1,
      cause: failure,
    });
    expect(await store.load(Counter, 'failing')).toMatchObject({ version: 0 });
    expect(await rows()).toEqual([]);
  });

  test('that violates a unique constraint is no conflict, and is not tried again', async () => {
    let handled = 0;
    const Unique = counting('unique', async (_, transaction) => {
      handled += 1;
      await transaction.query(`insert into users values ('same', 'same')`);
    });
    const store = await open({ projections: [Unique] });
    await store.append(Counter.stream('unique'), increment);
    const { emit } = Counter;
    const again = store.append(Counter.stream('unique'), [emit.Incremented({ to: 2 })]);
    const cause = { code: '23505', constraint: 'users_pkey' };
    expect(await rejectionOf(again)).toMatchObject({ code: 'projection-failed', cause });
    const executed = store.execute(Counter, 'unique', 'increment', {});
    expect(await rejectionOf(executed)).toMatchObject({ code: 'projection-failed', cause });
    expect(handled).toBe(3);
  });

  test('that swallows an error of SQL is not a silent success', async () => {
    const Swallowing = counting('swallowing', async (_, transaction) => {
      await transaction.query('select 1 / 0').catch(() => undefined);
    });
    const store = await open({ projections: [Swallowing] });
    const append = store.append(Counter.stream('swallowing'), increment);
    expect(await rejectionOf(append)).toMatchObject({ code: 'transaction-lost' });
    const executed = store.execute(Counter, 'swallowing', 'increment', {});
    expect(await rejectionOf(executed)).toMatchObject({ code: 'transaction-lost' });
    expect(await store.load(Counter, 'swallowing')).toMatchObject({ version: 0 });
  });

  test('of several runs after the others, event by event, in the order given', async () => {
    const calls: string[] = [];
    const named = (name: string) =>
      counting(name, async ({ version }, transaction) => {
        await transaction.query('select pg_sleep(0.001)');
        calls.push(`${name} ${version}`);
      });
    const store = await open({ projections: [named('b'), named('a')] });
    await store.append(Counter.stream('calls'), [...increment, ...increment]);
    expect(calls).toEqual(['b 1', 'a 1', 'b 2', 'a 2']);
  });

  test('of two aggregates gets the events of both, and of no other', async () => {
    const seen: string[] = [];
    const Both = projection('both', {
      aggregates: [User, Counter],
      others: 'ignore',
      on: {
        EmailChanged: ({ type, data }) => void seen.push(`${type} ${data.email}`),
        Incremented: ({ type, data }) => void seen.push(`${type} ${data.to}`),
      },
    });
    const store = await open({ projections: [Both] });
    await store.appendAll([
      {
        stream: User.stream('both'),
        events: [emit.UserCreated(ada()), emit.EmailChanged({ email: 'c@example.com' })],
      },
      { stream: Counter.stream('both'), events: increment },
    ]);
    expect(seen).toEqual(['EmailChanged c@example.com', 'Incremented 1']);
  });

  test('sees the event as it will be read', async () => {
    let seen: unknown;
    const Seeing = counting('seeing', (event) => {
      seen = structuredClone(event);
      return Promise.resolve();
    });
    const store = await open({ projections: [Seeing] });
    const stream = Counter.stream('seeing');
    const { events } = await store.append(stream, increment, { metadata: { userId: 'ann' } });
    expect(seen).toEqual(await store.event(events[0]?.id ?? ''));
  });
});

describe('inline projections of concurrent appends', () => {
  test('that deadlock are run again', async () => {
    await database.query(`insert into users values ('x', 'x'), ('y', 'y')`);
    const [bothHold, handled] = [signal(), [] as string[]];
    const Crossing = counting('crossing', async ({ streamId }, transaction) => {
      handled.push(streamId);
      const order = streamId === 'counter-cross-1' ? ['x', 'y'] : ['y', 'x'];
      await transaction.query(`select from users where id = $1 for update`, [order[0]]);
      if (handled.length === 2) bothHold.give();
      await bothHold.given;
      await transaction.query(`select from users where id = $1 for update`, [order[1]]);
    });
    const store = await open({ projections: [Crossing], pool: pools() });
    await Promise.all([
      store.append(Counter.stream('cross-1'), increment),
      store.append(Counter.stream('cross-2'), increment),
    ]);
    expect(handled).toHaveLength(3);
    expect(await store.load(Counter, 'cross-1')).toMatchObject({ version: 1 });
    expect(await store.load(Counter, 'cross-2')).toMatchObject({ version: 1 });
  });

  test('may wait for a row that somebody has locked, longer than for a stream', async () => {
    await database.query(`insert into users values ('locked', 'locked')`);
    const client = await database.connect();
    await client.query(`begin; select from users where id = 'locked' for update`);
    const Locking = counting('locking', async (_, transaction) => {
      await transaction.query(`update users set email = 'free' where id = 'locked'`);
    });
    const store = await open({ projections: [Locking], pool: pools({ max: 4 }) });
    const appends = times(6, (id) => store.append(Counter.stream(`locking-${id}`), increment));
    await untilWaiting(database, 2);
    await client.query('select pg_sleep(0.2); commit');
    expect((await appends).every(({ version }) => version === 1)).toBe(true);
  });
});

describe('inside a handler', () => {
  test('what is appended has the event as its cause, and the metadata around the append', async () => {
    let store = await open();
    const Following = projection('following', {
      aggregates: [User],
      others: 'ignore',
      on: {
        UserCreated: async ({ streamId }, transaction) => {
          await store.append(Counter.stream(`of-${streamId}`), increment, { transaction });
        },
      },
    });
    store = await open({ projections: [Following] });
    const metadata = { correlationId: 'request-1', userId: 'ann' };
    const { events } = await store.append(User.stream('cause'), [emit.UserCreated(ada())], {
      metadata,
    });
    const [cause] = await store.correlation('request-1');
    expect(cause).toMatchObject({
      event: { id: events[0]?.id },
      caused: [{ event: { type: 'Incremented', metadata: { causationId: events[0]?.id } } }],
    });
  });

  test('the first append begins a correlation where there is none', async () => {
    let store = await open();
    const Following = counting('following', async ({ version }, transaction) => {
      if (version > 1) return;
      await store.append(User.stream('follows'), [emit.UserCreated(ada())], { transaction });
    });
    store = await open({ projections: [Following] });
    const { events } = await store.append(Counter.stream('begins'), increment);
    const id = events[0]?.id ?? '';
    expect(await store.correlation(id)).toMatchObject([
      {
        event: { id },
        caused: [{ event: { streamId: 'user-follows', metadata: { correlationId: id } } }],
      },
    ]);
  });

  test('a failed append of its own can be caught when it is a conflict', async () => {
    let store = await open();
    const Conflicting = counting('conflicting', async (_, transaction) => {
      const append = store.append(User.stream('absent'), [emit.UserCreated(ada())], {
        transaction,
        expectedVersion: 9,
      });
      await append.catch((error: unknown) => {
        if (!isSteleError(error, 'concurrency')) throw error;
      });
    });
    store = await open({ projections: [Conflicting] });
    expect(await store.append(Counter.stream('conflicting'), increment)).toMatchObject({
      version: 1,
    });
  });
});
