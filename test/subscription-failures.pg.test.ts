import { afterAll, beforeAll, expect, test } from 'vitest';

import { openRuntime, openStore, SubscriptionStoppedError, subscription } from 'stele';
import type { EventOf, Store, Subscription, Transaction } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { rejectionOf } from './support/store.ts';
import {
  createSeen,
  notices,
  partitionsOf,
  see,
  seenBy,
  until,
  untilStatus,
} from './support/subscriptions.ts';

const database = useDatabase();
let store: Store;
beforeAll(async () => {
  await createSeen(database);
  await database.query(
    `create table strict (
       body text, n int primary key deferrable initially deferred)`,
  );
  store = await openStore({ connection: database.connectionString, aggregates: [Note] });
});
afterAll(() => store.close());

type Written = EventOf<typeof Note, 'Written'>;

/** Records every event and then does what the test wants, which may fail. */
function recording(
  name: string,
  then: (event: Written, sql: Transaction, attempt: number) => Promise<void>,
  attempts = 5,
): Subscription {
  const record = see(name);
  const tried = new Map<string, number>();
  return subscription(name, {
    aggregates: [Note],
    from: 'now',
    attempts,
    on: {
      Written: async (event, sql) => {
        const attempt = (tried.get(event.id) ?? 0) + 1;
        tried.set(event.id, attempt);
        await record(event, sql);
        await then(event, sql, attempt);
      },
    },
  });
}

async function append(id: string, ...bodies: unknown[]): Promise<number[]> {
  const events = bodies.map((body) => Note.emit.Written({ body }));
  const result = await store.append(Note.stream(id), events);
  return result.events.map(({ position }) => position);
}

const last = (positions: readonly number[]): number => positions.at(-1) ?? 0;

test('a handler that fails is tried again, and then goes on; what it had done is undone', async () => {
  const Recovering = recording('recovering', async ({ data }, _, attempt) => {
    if (data.body === 'fails twice' && attempt < 3) throw new Error(`attempt ${attempt}`);
  });
  const { onNotice, all } = notices();
  await using runtime = await openRuntime(store, { run: [Recovering], onNotice });
  const positions = await append('recovering', 1, 2, 'fails twice', 4);
  await runtime.waitFor(Recovering, last(positions));
  expect(await seenBy(database, 'recovering')).toEqual(positions);
  // In a batch first, and then twice by itself: only what it does by itself counts.
  expect(all.map(({ kind }) => kind)).toEqual(['retrying']);
  const [status] = await runtime.status();
  expect(status?.partitions).toMatchObject([
    { status: 'running', error: { message: 'attempt 2', attempt: 1, kind: 'handler' } },
  ]);
});

test('while it is tried again, this is to be seen', async () => {
  let broken = true;
  const Visible = recording(
    'visible',
    async () => {
      if (broken) throw new Error('still broken');
    },
    1_000,
  );
  await using runtime = await openRuntime(store, { run: [Visible], onNotice: () => undefined });
  const [position = 0] = await append('visible', 1);
  const found = await untilStatus(database, 'visible', 'retrying');
  expect(found).toMatchObject({
    error: { message: 'still broken', position },
    checkpoint: expect.any(Number) as number,
  });
  expect(found.owner).not.toBeNull();
  broken = false;
  await runtime.waitFor(Visible, position);
  expect(await partitionsOf(database, 'visible')).toMatchObject([{ status: 'running' }]);
});

test('after the last attempt it stops, says where and why, and stays so until it is retried', async () => {
  let broken = true;
  const Stopping = recording(
    'stopping',
    async ({ data }) => {
      if (broken && data.body === 'bad') throw new RangeError('no such thing');
    },
    2,
  );
  const { onNotice, of } = notices();
  const options = { run: [Stopping], onNotice };
  const [one, bad, three] = await (async () => {
    await using runtime = await openRuntime(store, options);
    const positions = await append('stopping', 'good', 'bad', 'good');
    expect(await of('stopped')).toEqual({
      kind: 'stopped',
      subscription: 'stopping',
      partition: 0,
      message: 'no such thing',
    });
    const error = await rejectionOf(runtime.waitFor(Stopping, last(positions)));
    expect(error).toBeInstanceOf(SubscriptionStoppedError);
    expect(error).toMatchObject({
      subscription: 'stopping',
      position: positions[2],
      checkpoint: positions[0],
      message: expect.stringContaining('no such thing') as string,
    });
    const status = (await runtime.status()).find(({ name }) => name === 'stopping');
    expect(status?.partitions).toMatchObject([
      {
        status: 'stopped',
        owner: undefined,
        checkpoint: positions[0],
        lag: { events: 2 },
        error: {
          name: 'RangeError',
          message: 'no such thing',
          streamId: 'note-stopping',
          version: 2,
          position: positions[1],
          type: 'note.written.v0',
          attempt: 2,
          kind: 'handler',
        },
      },
    ]);
    return positions;
  })();
  // Those before it were handled, and what it did itself was undone.
  expect(await seenBy(database, 'stopping')).toEqual([one]);

  broken = false;
  await using runtime = await openRuntime(store, options);
  const [later = 0] = await append('stopping', 'good');
  expect(await rejectionOf(runtime.waitFor(Stopping, later))).toMatchObject({
    code: 'subscription-stopped',
  });
  expect(await seenBy(database, 'stopping')).toEqual([one]);
  expect(await runtime.retry(Stopping)).toBe(1);
  await runtime.waitFor(Stopping, later);
  expect(await seenBy(database, 'stopping')).toEqual([one, bad, three, later]);
  expect(await runtime.retry('stopping')).toBe(0);
});

test('a statement that can never succeed is not tried again', async () => {
  const Wrong = recording('wrong', async (_, sql) => {
    await sql.query('select no_such_column from seen');
  });
  const { onNotice, all, of } = notices();
  await using _runtime = await openRuntime(store, { run: [Wrong], onNotice });
  await append('wrong', 1);
  await of('stopped');
  expect(all).toHaveLength(1);
  expect(await partitionsOf(database, 'wrong')).toMatchObject([
    { status: 'stopped', error: { attempt: 1, code: '42703', kind: 'permanent' } },
  ]);
});

test('what an ORM has wrapped is told by its cause', async () => {
  const Wrapped = recording('wrapped', async (_, sql) => {
    await sql.query('select 1 / 0').catch((cause: unknown) => {
      throw new Error('Failed query: select 1 / 0', { cause });
    });
  });
  const { onNotice, of } = notices();
  await using _runtime = await openRuntime(store, { run: [Wrapped], onNotice });
  await append('wrapped', 1);
  expect((await of('stopped')).message).toBe('Failed query: select 1 / 0: division by zero');
  expect(await partitionsOf(database, 'wrapped')).toMatchObject([
    { error: { attempt: 1, code: '22012', kind: 'permanent' } },
  ]);
});

test('an error of SQL that a handler swallows is not committed over', async () => {
  const Swallowing = recording(
    'swallowing',
    async ({ data }, sql) => {
      if (data.body === 'swallow') await sql.query('select 1 / 0').catch(() => undefined);
    },
    2,
  );
  const { onNotice, of } = notices();
  await using _runtime = await openRuntime(store, { run: [Swallowing], onNotice });
  const [one, two] = await append('swallowing', 1, 'swallow', 3);
  await of('stopped');
  expect(await seenBy(database, 'swallowing')).toEqual([one]);
  expect(await partitionsOf(database, 'swallowing')).toMatchObject([
    { checkpoint: one, error: { position: two, attempt: 2 } },
  ]);
});

test('a constraint that is checked at the commit fails the event that breaks it, and no other', async () => {
  const Deferred = recording(
    'deferred',
    async ({ data }, sql) => {
      const { body } = data;
      await sql.query('insert into strict values ($1, $2)', [
        String(body),
        body === 'dup' ? 0 : Number(body),
      ]);
    },
    2,
  );
  const { onNotice, of } = notices();
  await using _runtime = await openRuntime(store, { run: [Deferred], onNotice });
  const bodies = Array.from({ length: 20 }, (_, n) => (n === 12 ? 'dup' : n));
  const positions = await append('deferred', ...bodies);
  await of('stopped');
  expect(await seenBy(database, 'deferred')).toEqual(positions.slice(0, 12));
  expect(await partitionsOf(database, 'deferred')).toMatchObject([
    { checkpoint: positions[11], error: { position: positions[12], code: '23505' } },
  ]);
});

test('a collision with another transaction is tried more often than a failure', async () => {
  const Colliding = recording(
    'colliding',
    async (_, sql, attempt) => {
      if (attempt > 4) return;
      await sql.query(`do $$ begin raise exception using errcode = '40001'; end $$`);
    },
    2,
  );
  await using runtime = await openRuntime(store, { run: [Colliding], onNotice: () => undefined });
  const positions = await append('colliding', 1);
  await runtime.waitFor(Colliding, last(positions));
  expect(await seenBy(database, 'colliding')).toEqual(positions);
});

test('one partition that has stopped does not keep the others from going on', async () => {
  const record = see('apart');
  const Apart = subscription('apart', {
    aggregates: [Note],
    from: 'now',
    partitions: 4,
    attempts: 1,
    on: {
      Written: async (event, sql) => {
        if (event.data.body === 'bad') throw new Error('bad');
        await record(event, sql);
      },
    },
  });
  const { onNotice, of } = notices();
  await using runtime = await openRuntime(store, { run: [Apart], onNotice });
  const [bad] = await append('apart-bad', 'bad');
  const { partition } = await of('stopped');
  for (let n = 0; n < 20; n += 1) await append(`apart-${n}`, n);
  const expected = await database.query<{ position: string }>(
    `select position from stele.events
     where position > $1 and stele.partition_of(stream_id, 4) <> $2 order by position`,
    [bad, partition],
  );
  expect(expected.length).toBeGreaterThan(0);
  await until(
    () => seenBy(database, 'apart'),
    ({ length }) => length === expected.length,
  );
  expect((await seenBy(database, 'apart')).toSorted((a, b) => a - b)).toEqual(
    expected.map(({ position }) => Number(position)),
  );
  const status = (await runtime.status()).find(({ name }) => name === 'apart');
  expect(status?.partitions.filter((found) => found.status === 'stopped')).toHaveLength(1);
});
