import { expect, test } from 'vitest';

import { migrate, openStore } from 'stele';
import { Counter, Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';

const database = useDatabase({ migrated: false });

const names = [
  'audit log',
  'a"b',
  `it's`,
  '100%',
  '%I %s %L',
  'a$$b',
  '$_$',
  'back\\slash',
  'select',
  'Upper',
  'é',
  'a.b',
  ';drop table x;--',
  '"stele"',
  `'stele_writer'`,
  '$&',
  'x'.repeat(56),
];

test.each(names)('a schema may be called %j', async (schema) => {
  const connection = database.connectionString;
  const store = await openStore({ connection, schema, aggregates: [Note, Counter] });
  try {
    await store.append(Note.stream('1'), [Note.emit.Written({ body: 1 })]);
    await store.appendAll([
      { stream: Note.stream('1'), events: [Note.emit.Written({ body: 2 })], expectedVersion: 1 },
      { stream: Note.stream('2'), events: [Note.emit.Written({ body: 3 })] },
    ]);
    await store.execute(Counter, '1', 'increment', {}, { idempotencyKey: 'k' });
    expect(await store.load(Note, '1')).toEqual({ state: { body: 2 }, version: 2 });
    const bodies: unknown[] = [];
    for await (const event of store.read({ aggregates: [Note] })) bodies.push(event.data.body);
    expect(bodies).toEqual([1, 2, 3]);
    expect(await migrate({ connection, schema })).toMatchObject({ schema, applied: [] });
    const roles = await database.query<{ rolname: string }>(
      'select rolname from pg_roles where rolname in ($1, $2) order by 1',
      [`${schema}_reader`, `${schema}_writer`],
    );
    expect(roles).toEqual([{ rolname: `${schema}_reader` }, { rolname: `${schema}_writer` }]);
  } finally {
    await store.close();
    // Roles belong to the whole server.
    for (const role of [`${schema}_reader`, `${schema}_writer`]) {
      await database.query(`do $f$ begin
        execute format('drop owned by %I', '${role.replaceAll("'", "''")}');
        execute format('drop role %I', '${role.replaceAll("'", "''")}'); end $f$`);
    }
  }
});

test('schemas in one database do not meet', async () => {
  const connection = database.connectionString;
  const [one, two] = await Promise.all([
    openStore({ connection, schema: 'one', aggregates: [Note] }),
    openStore({ connection, schema: 'two', aggregates: [Note] }),
  ]);
  try {
    const stored = await one.append(Note.stream('1'), [Note.emit.Written({ body: 1 })]);
    expect(stored).toMatchObject({ version: 1, position: 1 });
    expect(await two.load(Note, '1')).toMatchObject({ version: 0 });
  } finally {
    await Promise.all([one.close(), two.close()]);
  }
});

test.each(['', 'nul\u0000', 'x'.repeat(57), 'é'.repeat(29), '\ud800'])(
  'a schema may not be called %j',
  async (schema) => {
    const connection = database.connectionString;
    await expect(migrate({ connection, schema })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    await expect(openStore({ connection, schema, aggregates: [] })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
  },
);
