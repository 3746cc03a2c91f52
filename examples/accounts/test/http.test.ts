import { setTimeout as pause } from 'node:timers/promises';
import { aggregate, event, openStore } from 'stele';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { useDatabase } from '../../../test/support/database.ts';
import { createApp } from '../src/http.ts';
import { openAccounts, type Accounts } from '../src/service.ts';
import { User } from '../src/user.ts';

const database = useDatabase();
let accounts: Accounts;

beforeAll(async () => {
  accounts = await openAccounts(database.connectionString);
});
afterAll(async () => {
  await accounts[Symbol.asyncDispose]();
});

interface Call {
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

async function call(method: string, path: string, { body, headers }: Call = {}) {
  const app = createApp(accounts);
  const response = await app.request(path, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const json = (await response.json()) as Record<string, unknown>;
  return { status: response.status, headers: response.headers, body: json };
}

const password = 'correct horse battery staple';
let count = 0;

/** Registers somebody whom no other test knows. */
async function register(headers: Record<string, string> = {}) {
  count += 1;
  const email = `user${count}@example.com`;
  const body = { email, username: `user ${count}`, password };
  const { body: created, status } = await call('POST', '/users', { body, headers });
  expect(status).toBe(201);
  return { id: String(created['id']), path: `/users/${String(created['id'])}`, email, body };
}

const emailOf = async (path: string) => (await call('GET', path)).body['email'];

describe('POST /users', () => {
  test('registers a user, who can be read at the address that it answers with', async () => {
    const body = { email: 'Ada@Example.com', username: 'ada', password };
    const created = await call('POST', '/users', { body });
    expect(created).toMatchObject({
      status: 201,
      body: { status: 'active', email: 'Ada@Example.com', username: 'ada' },
    });
    expect(created.headers.get('etag')).toBe('"1"');

    const read = await call('GET', created.headers.get('location') ?? '');
    expect(read).toMatchObject({ status: 200, body: created.body });
    expect(read.headers.get('etag')).toBe('"1"');
  });

  test('stores a hash of the password, and never the password', async () => {
    const { id } = await register();
    const [stored] = await database.query<{ data: Record<string, string> }>(
      'select data from stele.events where stream_id = $1',
      [`user-${id}`],
    );
    expect(stored?.data['hashedPassword']).toMatch(/^scrypt\$/u);
    expect(JSON.stringify(stored)).not.toContain(password);
  });

  test('answers 422 with the path of everything that is wrong', async () => {
    const body = { email: 'nobody', username: ' ', password };
    expect(await call('POST', '/users', { body })).toMatchObject({
      status: 422,
      body: { type: 'ValidationError', issues: [{ path: 'email' }, { path: 'username' }] },
    });
    expect(await call('POST', '/users', { body: { email: 'a@b.com' } })).toMatchObject({
      status: 422,
      body: { issues: [{ path: 'username' }, { path: 'password' }] },
    });
  });

  test('answers 400 for what is not JSON', async () => {
    const response = await createApp(accounts).request('/users', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"email',
    });
    expect(response.status).toBe(400);
    expect(response.headers.get('content-type')).toBe('application/problem+json');
  });

  test('gives an e-mail address to exactly one of 20 who want it at the same moment', async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => {
        const email = n % 2 === 0 ? 'wanted@example.com' : 'WANTED@example.com';
        return call('POST', '/users', { body: { email, username: `user ${n}`, password } });
      }),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    const refused = answers.filter(({ status }) => status === 409);
    expect(refused).toHaveLength(19);
    for (const { body } of refused) expect(body).toMatchObject({ type: 'EmailTaken' });

    const [stored] = await database.query(
      `select count(*)::int from stele.events where data->>'email' ilike 'wanted@example.com'`,
    );
    expect(stored).toEqual({ count: 1 });
  });

  test('sent again with its Idempotency-Key, leads to the same user', async () => {
    const headers = { 'idempotency-key': 'sign-up-1', 'x-user-id': 'web' };
    const body = { email: 'twice@example.com', username: 'twice', password };
    const send = () => call('POST', '/users', { body, headers });
    const answers = await Promise.all([send(), send(), send()]);
    answers.push(await send());
    for (const { status, body } of answers) {
      expect(status).toBe(201);
      expect(body).toEqual(answers[0]?.body);
    }
    const { body: history } = await call('GET', `${answers[0]?.headers.get('location')}/history`);
    expect(history).toHaveLength(1);
  });

  test('does not mix up two senders who have chosen the same key', async () => {
    const one = await register({ 'idempotency-key': 'same', 'x-user-id': 'one' });
    const other = await register({ 'idempotency-key': 'same', 'x-user-id': 'other' });
    expect(other.id).not.toBe(one.id);
  });
});

describe('PUT, DELETE', () => {
  test('change what they name, and answer with the new state and version', async () => {
    const { path, id } = await register();
    const email = 'moved@example.com';
    const moved = await call('PUT', `${path}/email`, { body: { email } });
    expect(moved).toMatchObject({ status: 200, body: { id, email } });
    expect(moved.headers.get('etag')).toBe('"2"');

    const renamed = await call('PUT', `${path}/username`, { body: { username: 'new name' } });
    expect(renamed).toMatchObject({ status: 200, body: { username: 'new name' } });

    const gone = await call('DELETE', path);
    expect(gone).toMatchObject({ status: 200, body: { status: 'deactivated' } });
    expect(gone.headers.get('etag')).toBe('"4"');
  });

  test('what changes nothing is no event', async () => {
    const { path, email } = await register();
    const same = await call('PUT', `${path}/email`, { body: { email } });
    expect(same.status).toBe(200);
    expect(same.headers.get('etag')).toBe('"1"');
  });

  test('answer 409 NotActive once the user is deactivated', async () => {
    const { path } = await register();
    await call('DELETE', path);
    const answer = await call('PUT', `${path}/username`, { body: { username: 'ghost' } });
    expect(answer).toMatchObject({
      status: 409,
      body: { type: 'NotActive', data: { status: 'deactivated' } },
    });
  });

  test('answer 404 where there is nobody', async () => {
    const path = '/users/00000000-0000-4000-8000-000000000000';
    expect(await call('DELETE', path)).toMatchObject({ status: 404, body: { type: 'NotActive' } });
    expect(await call('GET', path)).toMatchObject({ status: 404, body: { type: 'NotFound' } });
    expect(await call('GET', '/users/nobody')).toMatchObject({ status: 404 });
  });

  test('answer 409 EmailTaken for the address of somebody else, whose it stays', async () => {
    const [ada, grace] = [await register(), await register()];
    const answer = await call('PUT', `${grace.path}/email`, {
      body: { email: ada.email.toUpperCase() },
    });
    expect(answer).toMatchObject({ status: 409, body: { type: 'EmailTaken' } });
    expect(await emailOf(grace.path)).toBe(grace.email);
  });

  test('with a key that was used before, change nothing and answer as then', async () => {
    const { path } = await register();
    const headers = { 'idempotency-key': 'first' };
    const email = (n: number) => ({ email: `again${n}@example.com` });
    const first = await call('PUT', `${path}/email`, { body: email(1), headers });
    await call('PUT', `${path}/email`, { body: email(2) });
    const again = await call('PUT', `${path}/email`, { body: email(1), headers });
    expect(again.body).toEqual(first.body);
    expect(await emailOf(path)).toBe('again2@example.com');
  });
});

describe('If-Match', () => {
  test('lets a change through when its version is the current one', async () => {
    const { path } = await register();
    const answer = await call('PUT', `${path}/username`, {
      body: { username: 'in time' },
      headers: { 'if-match': '"1"' },
    });
    expect(answer.status).toBe(200);
  });

  test('answers 412 with both versions when somebody else was faster', async () => {
    const { path } = await register();
    await call('PUT', `${path}/username`, { body: { username: 'faster' } });
    const late = await call('PUT', `${path}/username`, {
      body: { username: 'late' },
      headers: { 'if-match': '"1"' },
    });
    expect(late).toMatchObject({
      status: 412,
      body: { type: 'ConcurrencyError', expectedVersion: 1, actualVersion: 2 },
    });
    expect(late.headers.get('etag')).toBe('"2"');
    expect((await call('GET', path)).body).toMatchObject({ username: 'faster' });
  });

  test('lets exactly one of 10 through who have all read the same version', async () => {
    const { path } = await register();
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        call('PUT', `${path}/username`, {
          body: { username: `writer ${n}` },
          headers: { 'if-match': '"1"' },
        }),
      ),
    );
    const count = (wanted: number) => answers.filter(({ status }) => status === wanted).length;
    expect([count(200), count(412)]).toEqual([1, 9]);
  });

  test('answers 400 for an ETag that is none of ours', async () => {
    const { path } = await register();
    for (const etag of ['W/"1"', '"one"', '1', '"1", "2"']) {
      const answer = await call('DELETE', path, { headers: { 'if-match': etag } });
      expect(answer).toMatchObject({ status: 400, body: { type: 'BadRequest' } });
    }
    expect((await call('DELETE', path, { headers: { 'if-match': '*' } })).status).toBe(200);
  });

  test('If-None-Match saves sending what the client has', async () => {
    const { path } = await register();
    const response = await createApp(accounts).request(path, {
      headers: { 'if-none-match': '"1"' },
    });
    expect(response.status).toBe(304);
  });
});

describe('the past', () => {
  test('GET …/history tells what changed, who changed it, and in which request', async () => {
    const { path, email } = await register({ 'x-user-id': 'web', 'x-request-id': 'request-1' });
    await call('PUT', `${path}/email`, {
      body: { email: 'history@example.com' },
      headers: { 'x-user-id': 'grace', 'x-request-id': 'request-2' },
    });
    const { body } = await call('GET', `${path}/history`);
    expect(body).toMatchObject([
      { version: 1, type: 'UserCreated', by: 'web', request: 'request-1' },
      {
        version: 2,
        type: 'EmailChanged',
        by: 'grace',
        request: 'request-2',
        changes: [{ path: 'email', before: email, after: 'history@example.com' }],
      },
    ]);
    expect(JSON.stringify(body)).not.toContain('scrypt');
  });

  test('GET ?at= answers with the state at that time', async () => {
    const { path, email } = await register();
    await pause(5);
    const before = new Date(await clock()).toISOString();
    await pause(5);
    await call('PUT', `${path}/email`, { body: { email: 'today@example.com' } });

    const yesterday = await call('GET', `${path}?at=${before}`);
    expect(yesterday).toMatchObject({ status: 200, body: { email } });
    expect(yesterday.headers.get('etag')).toBe('"1"');
    expect(await emailOf(path)).toBe('today@example.com');
    expect(await call('GET', `${path}?at=2020-01-01T00:00:00Z`)).toMatchObject({ status: 404 });
    expect(await call('GET', `${path}?at=yesterday`)).toMatchObject({ status: 422 });
  });

  async function clock(): Promise<string> {
    const [row] = await database.query<{ now: string }>('select now()::text');
    return row?.now ?? '';
  }

  test('a user whom the first release has stored is read as one of today', async () => {
    const id = '00000000-0000-4000-8000-000000000001';
    await using firstRelease = await openStore({
      connection: database.connectionString,
      aggregates: [UserOfFirstRelease],
    });
    const created = { email: 'first@example.com', username: 'first' };
    await firstRelease.append(UserOfFirstRelease.stream(id), [
      UserOfFirstRelease.emit.UserCreated(created),
    ]);

    expect((await call('GET', `/users/${id}`)).body).toMatchObject({
      status: 'active',
      ...created,
    });
    for await (const event of accounts.store.readStream(User, id)) {
      expect(event.data).toEqual({ ...created, hashedPassword: '' });
    }
    const renamed = await call('PUT', `/users/${id}/username`, { body: { username: 'second' } });
    expect(renamed.status).toBe(200);
  });
});

const UserOfFirstRelease = aggregate('user', {
  events: { UserCreated: event<{ email: string; username: string }>() },
  initialState: () => null,
  evolve: { UserCreated: () => null },
});

describe('GET /users?email=', () => {
  test('finds a user by the address in any case, as soon as it is theirs', async () => {
    const { path, id, email } = await register();
    expect((await call('GET', `/users?email=${email.toUpperCase()}`)).body).toMatchObject([
      { id, email },
    ]);
    await call('PUT', `${path}/email`, { body: { email: 'found@example.com' } });
    expect((await call('GET', '/users?email=found@example.com')).body).toMatchObject([{ id }]);
    expect((await call('GET', `/users?email=${email}`)).body).toEqual([]);
  });
});
