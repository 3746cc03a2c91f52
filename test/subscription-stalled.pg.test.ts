import { expect, test } from 'vitest';

import { openRuntime, subscription } from 'stele';
import type { Transaction } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { useStores } from './support/store.ts';
import { createSeen, notices, see, seenBy, stored } from './support/subscriptions.ts';

const database = useDatabase();
const open = useStores(database);

// It takes as long as a transaction has to be open for people to hear of it.
test('a transaction that has appended and stays open for long is named in a notice', async () => {
  await createSeen(database);
  const store = await open();
  const append = (transaction?: Transaction): Promise<unknown> =>
    store.append(Note.stream('1'), [Note.emit.Written({ body: 1 })], { transaction });
  const Seen = subscription('seen', { aggregates: [Note], on: { Written: see('seen') } });
  const { all, onNotice, of } = notices();
  await using runtime = await openRuntime(store, { run: [Seen], onNotice });
  const session = await database.connect();
  await session.query(`set application_name = 'nightly import'`);
  const { rows } = await session.query<{ pid: number }>('select pg_backend_pid() as pid');
  await session.query('begin');
  await append(session);
  const { blockers } = await of('stalled');
  expect(blockers).toMatchObject([{ pid: rows[0]?.pid, application: 'nightly import' }]);
  expect(blockers[0]?.ageMs).toBeGreaterThan(9_000);
  expect(await seenBy(database, 'seen')).toEqual([]);

  await session.query('commit');
  await append();
  await runtime.caughtUp();
  expect(await seenBy(database, 'seen')).toEqual(await stored(database));
  expect(all).toHaveLength(1);
});
