import { beforeAll, expect, test } from 'vitest';

import { openRuntime, subscription } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { useStores } from './support/store.ts';
import { createSeen, notices, partitionsOf, see, seenBy, until } from './support/subscriptions.ts';

const database = useDatabase();
const open = useStores(database);
beforeAll(() => createSeen(database));

const leaseMs = 300;

test('a handler whose transaction stands still for longer than a lease fails, for all to see', async () => {
  const store = await open();
  const record = see('slow');
  const Slow = subscription('slow', {
    aggregates: [Note],
    attempts: 2,
    on: {
      Written: async (event, sql) => {
        await record(event, sql);
        if (event.data.body !== 'slow') return;
        const { rows } = await sql.query<{ pid: number }>('select pg_backend_pid() as pid');
        await until(
          () => database.query('select from pg_stat_activity where pid = $1', [rows[0]?.pid]),
          ({ length }) => length === 0,
        );
      },
    },
  });
  const { onNotice, of } = notices();
  await using runtime = await openRuntime(store, { run: [Slow], leaseMs, onNotice });
  const { events } = await store.append(
    Note.stream('slow'),
    ['fast', 'slow', 'fast'].map((body) => Note.emit.Written({ body })),
  );
  const [first, second] = events.map(({ position }) => position);
  expect((await of('stopped')).message).toMatch(/longer than .* lease/);
  expect(await seenBy(database, 'slow')).toEqual([first]);
  expect(await partitionsOf(database, 'slow')).toMatchObject([
    { status: 'stopped', checkpoint: first, error: { attempt: 2, position: second } },
  ]);
  expect((await runtime.status())[0]?.partitions[0]?.lag.events).toBe(2);
});

test('a handler that works for longer than a lease keeps its partition', async () => {
  const store = await open();
  const record = see('working');
  const Working = subscription('working', {
    aggregates: [Note],
    from: 'now',
    on: {
      Written: async (event, sql) => {
        await record(event, sql);
        const started = performance.now();
        while (performance.now() - started < leaseMs * 3) await sql.query('select pg_sleep(0.05)');
      },
    },
  });
  const { onNotice, all } = notices();
  await using runtime = await openRuntime(store, { run: [Working], leaseMs, onNotice });
  const other = await open();
  await using _standby = await openRuntime(other, { run: [Working], leaseMs, onNotice });
  const { position } = await store.append(Note.stream('working'), [
    Note.emit.Written({ body: 1 }),
    Note.emit.Written({ body: 2 }),
  ]);
  await runtime.waitFor(Working, position);
  expect(await seenBy(database, 'working')).toHaveLength(2);
  expect(all).toEqual([]);
});
