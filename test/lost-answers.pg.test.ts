import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { openStore, projection } from 'stele';
import type { Store } from 'stele';
import { Counter, Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { startProxy } from './support/proxy.ts';
import type { Proxy } from './support/proxy.ts';

const database = useDatabase();
let proxy: Proxy;
let store: Store;
beforeAll(async () => {
  await database.query('create table counts (id text, count int)');
  const Counts = projection('counts', {
    aggregates: [Counter],
    on: {
      Incremented: async ({ streamId, data }, transaction) => {
        await transaction.query('insert into counts values ($1, $2)', [streamId, data.to]);
      },
    },
  });
  proxy = await startProxy(database.connectionString);
  store = await openStore({
    connection: proxy.connectionString,
    aggregates: [Note, Counter],
    projections: [Counts],
  });
});
afterAll(async () => {
  await store.close();
  await proxy[Symbol.asyncDispose]();
});

const written = (body: unknown): ReturnType<typeof Note.emit.Written> =>
  Note.emit.Written({ body });

async function bodies(id: string): Promise<unknown[]> {
  const rows = await database.query<{ body: unknown }>(
    `select data -> 'body' as body from stele.events where stream_id = $1 order by version`,
    [`note-${id}`],
  );
  return rows.map(({ body }) => body);
}

/** The command tag of a statement that returned one row; followed by "ready". */
const oneRow = 'SELECT 1\u0000Z';

describe('an append whose answer is lost after it was committed', () => {
  test('is acknowledged with what it has stored, and stored once', async () => {
    const lost = proxy.loseAnswer(oneRow);
    const result = await store.append(Note.stream('one'), [written('a'), written('b')]);
    await lost;
    expect(result).toMatchObject({ version: 2 });
    expect(await bodies('one')).toEqual(['a', 'b']);
  });

  test('keeps its place when others have appended to the stream since', async () => {
    await store.append(Note.stream('moved'), [written('a')]);
    const lost = proxy.loseAnswer(oneRow);
    const appending = store.append(Note.stream('moved'), [written('b')], { expectedVersion: 1 });
    const beside = lost.then(() =>
      database.query(
        `with head as (update stele.streams set version = 3 where stream_id = 'note-moved')
         insert into stele.events
         select nextval('stele.positions'), 3, now(), gen_random_uuid(), 1, stream_id, category,
           type, '{"body": "c"}', metadata
         from stele.events where stream_id = 'note-moved' and version = 1`,
      ),
    );
    await expect(appending).resolves.toMatchObject({ version: 2 });
    await beside;
    expect(await bodies('moved')).toEqual(['a', 'b', 'c']);
  });

  test('is stored once in a group with others', async () => {
    const lost = proxy.loseAnswer(oneRow);
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        store.append(Note.stream(`group-${n % 10}`), [written(n)]),
      ),
    );
    await lost;
    expect(results).toHaveLength(20);
    for (let n = 0; n < 10; n += 1) expect(await bodies(`group-${n}`)).toEqual([n, n + 10]);
  });

  test('is stored once over several streams', async () => {
    const lost = proxy.loseAnswer(oneRow);
    const results = await store.appendAll([
      { stream: Note.stream('left'), events: [written('l')], expectedVersion: 'no-stream' },
      { stream: Note.stream('right'), events: [written('r')] },
    ]);
    await lost;
    expect(results).toMatchObject([{ version: 1 }, { version: 1 }]);
    expect([await bodies('left'), await bodies('right')]).toEqual([['l'], ['r']]);
  });

  test('is projected once', async () => {
    const lost = proxy.loseAnswer('COMMIT');
    const result = await store.execute(Counter, '1', 'increment', {});
    await lost;
    expect(result).toMatchObject({ ok: true, version: 1, state: { count: 1 } });
    expect(await database.query('select count from counts')).toEqual([{ count: 1 }]);
  });
});
