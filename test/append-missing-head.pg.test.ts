import { afterAll, beforeAll, expect, test } from 'vitest';

import { openStore } from 'stele';
import type { Store } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';

const database = useDatabase();
let store: Store;
/** Another process: in one, appends to the same stream go one after the other. */
let other: Store;
beforeAll(async () => {
  store = await openStore({ connection: database.connectionString, aggregates: [Note] });
  other = await openStore({ connection: database.connectionString, aggregates: [Note] });
});
afterAll(() => Promise.all([store.close(), other.close()]));

const events = [Note.emit.Written({ body: 1 })];

test.each([1, 'stream-exists'] as const)(
  'a stream that comes while an append expecting %s fails on it keeps its version',
  async (expectedVersion) => {
    const missing = Note.stream(`a-${expectedVersion}`);
    const held = Note.stream(`b-${expectedVersion}`);
    await store.append(held, events);
    const holder = await database.connect();
    await holder.query('begin');
    await store.append(held, events, { transaction: holder });

    // It has found the first stream missing by the time it waits for the second.
    const appending = store.appendAll([
      { stream: missing, events, expectedVersion },
      { stream: held, events },
    ]);
    const failure = appending.catch((error: unknown) => error);
    await expect
      .poll(() =>
        database.query(
          `select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`,
        ),
      )
      .toHaveLength(1);
    await other.append(missing, events);
    await holder.query('commit');
    await holder.end();

    expect(await failure).toMatchObject({ code: 'concurrency', streamId: missing.streamId });
    await expect(store.append(missing, events)).resolves.toMatchObject({ version: 2 });
    await expect(store.append(held, events)).resolves.toMatchObject({ version: 3 });
  },
);
