import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { openStore } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { createTestRole } from './support/role.ts';
import type { TestRole } from './support/role.ts';

const database = useDatabase();
let writer: TestRole;
let reader: TestRole;
let store: Awaited<ReturnType<typeof openStore>>;
beforeAll(async () => {
  writer = await createTestRole(database, 'in role stele_writer');
  reader = await createTestRole(database, 'in role stele_reader');
  store = await openStore({ connection: database.connectionString, aggregates: [Note] });
});
afterAll(async () => {
  await store.close();
  await reader[Symbol.asyncDispose]();
  await writer[Symbol.asyncDispose]();
});
let stream: ReturnType<typeof Note.stream>;
let streams = 0;
beforeEach(async () => {
  stream = Note.stream(`${(streams += 1)}`);
  await store.append(stream, [Note.emit.Written({ body: 'as it was' })]);
});

const changes = [
  ['update', `update stele.events set data = '{}'`],
  ['delete', 'delete from stele.events'],
  ['truncate', 'truncate stele.events'],
  [
    'upsert',
    `insert into stele.events select * from stele.events
     on conflict (stream_id, version) do update set data = '{}'`,
  ],
  [
    'merge',
    `merge into stele.events e using stele.streams s on e.stream_id = s.stream_id
     when matched then delete`,
  ],
] as const;

async function run(connectionString: string, statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

const stored = (): Promise<unknown[]> =>
  database.query(`select version, data ->> 'body' as body from stele.events where stream_id = $1`, [
    stream.streamId,
  ]);
const untouched = [{ version: '1', body: 'as it was' }];

describe.each(changes)('%s of events', (_, change) => {
  test.each(['stele_writer', 'stele_reader'])('is not allowed to %s', async (role) => {
    const { connectionString } = role === 'stele_writer' ? writer : reader;
    const maintenance = `set stele.maintenance = 'on'`;
    await expect(run(connectionString, [change])).rejects.toMatchObject({ code: '42501' });
    await expect(run(connectionString, [maintenance, change])).rejects.toMatchObject({
      code: '42501',
    });
    expect(await stored()).toEqual(untouched);
  });

  test('is refused to the owner', async () => {
    await expect(run(database.connectionString, [change])).rejects.toMatchObject({
      code: 'ST002',
      message: expect.stringMatching(
        /^events are append-only: (update|delete|truncate) was refused$/,
      ) as string,
    });
    expect(await stored()).toEqual(untouched);
  });

  test('is left to the owner in a transaction that is maintenance, and only there', async () => {
    await run(database.connectionString, [
      'begin',
      `set local stele.maintenance = 'on'`,
      change,
      'commit',
    ]);
    expect(await stored()).not.toEqual(untouched);
    await store.append(Note.stream('after'), [Note.emit.Written({ body: 1 })]);
    await expect(
      run(database.connectionString, [
        'begin',
        `set local stele.maintenance = 'on'`,
        'commit',
        change,
      ]),
    ).rejects.toMatchObject({ code: 'ST002' });
  });
});

test('events are not emptied with the tables that refer to them', async () => {
  await expect(
    run(database.connectionString, ['truncate stele.streams, stele.events cascade']),
  ).rejects.toMatchObject({ code: 'ST002' });
});
