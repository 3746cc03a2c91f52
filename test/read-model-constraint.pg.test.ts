import { projection } from 'stele';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { rejectionOf, times, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);

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

const versionOf = async (id: string): Promise<number> =>
  (await (await open()).load(User, id)).version;

describe('the constraint of an inline read model', () => {
  test('turns into the rejection that the command has for it', async () => {
    const store = await open({ projections: [Users] });
    await store.execute(User, 'first', 'register', { email: 'a@example.com', username: 'a' });
    const taken = await store.execute(User, 'second', 'register', {
      email: 'a@example.com',
      username: 'b',
    });
    const error = { rejected: true, type: 'EmailTaken', data: { email: 'a@example.com' } };
    expect(taken).toEqual({ ok: false, error, state: { status: 'absent' }, version: 0 });
    expect(await versionOf('second')).toBe(0);
  });

  test('lets one of many take it, under concurrency', async () => {
    const stores = await times(2, () => open({ projections: [Users] }));
    const results = await times(20, async (id) =>
      stores[id % 2]?.execute(User, `racing-${id}`, 'register', {
        email: 'r@example.com',
        username: 'r',
      }),
    );
    expect(results.filter((result) => result?.ok)).toHaveLength(1);
    const rejections = results.flatMap((result) =>
      result?.ok === false ? [result.error.type] : [],
    );
    expect(rejections).toEqual(Array.from({ length: 19 }, () => 'EmailTaken'));
  });

  test('is told of the command whose event violated it', async () => {
    const store = await open({ projections: [Users] });
    await store.execute(User, 'holder', 'register', { email: 'taken@example.com', username: 'a' });
    const { command } = User;
    const done = await store.executeAll(User, 'several', [
      command.register({ email: 'free@example.com', username: 'b' }),
      command.changeEmail({ email: 'other@example.com' }),
      command.changeEmail({ email: 'taken@example.com' }),
    ]);
    expect(done).toMatchObject({ ok: false, error: { data: { email: 'taken@example.com' } } });
    expect(await versionOf('several')).toBe(0);
  });

  test('is a ProjectionError where the command has no rejection for it', async () => {
    await database.query('alter table users add constraint short check (length(email) < 20)');
    const store = await open({ projections: [Users] });
    const input = { email: 'much-too-long-for-this@example.com', username: 'a' };
    const error = await rejectionOf(store.execute(User, 'long', 'register', input));
    expect(error).toMatchObject({ code: 'projection-failed', cause: { constraint: 'short' } });
    await database.query('alter table users drop constraint short');
  });
});
