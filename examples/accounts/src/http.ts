import { Hono, type Context } from 'hono';
import { etag } from 'hono/etag';
import { HTTPException } from 'hono/http-exception';
import { requestId } from 'hono/request-id';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { validator } from 'hono/validator';
import {
  isSteleError,
  readModel,
  withMetadata,
  type Accepted,
  type ExecuteOptions,
  type HistoryEntry,
  type Rejected,
  type RejectionOf,
  type EventOf,
} from 'stele';
import { v5 as uuidOf, v7 as newUuid } from 'uuid';
import { z } from 'zod';
import { hashPassword } from './password.ts';
import type { Accounts } from './service.ts';
import { SignUps } from './sign-ups.ts';
import { User, type UserState } from './user.ts';
import { userByEmail } from './users.ts';

// The shape of what comes in. What it must satisfy is said once, by the commands' own schemas.
const registration = z.object({
  email: z.string(),
  username: z.string(),
  password: z.string().min(12).max(200),
});
const newEmail = z.object({ email: z.string() });
const newUsername = z.object({ username: z.string() });
const byEmail = z.object({ email: z.email() });
const moment = z.object({ at: z.iso.datetime({ offset: true }).optional() });

const user = '/users/:id{[0-9a-f-]{36}}';
const idNamespace = '8c1f4f0e-6d0b-4c0a-9d5e-2f6f3f1c7b52';

/** The HTTP API, as a function from a request to a response: `createApp(accounts).fetch`. */
export function createApp({ store, pool }: Pick<Accounts, 'store' | 'pool'>): Hono {
  const app = new Hono();

  // Who did it and in which request goes into every event that is stored further down. A gateway in
  // front has to set `x-user-id`: nothing here checks it.
  app.use(requestId(), (c, next) =>
    withMetadata({ userId: c.req.header('x-user-id'), correlationId: c.get('requestId') }, next),
  );

  app.post('/users', json(registration), async (c) => {
    const { password, ...input } = c.req.valid('json');
    const key = c.req.header('idempotency-key');
    // A key belongs to its sender. Sent again, it leads to the same user, who is there already.
    const id =
      key === undefined ? newUuid() : uuidOf(`${c.req.header('x-user-id')} ${key}`, idNamespace);
    const hashedPassword = await hashPassword(password);
    const done = await store.execute(
      User,
      id,
      'register',
      { ...input, hashedPassword },
      { idempotencyKey: key },
    );
    c.header('location', `/users/${id}`);
    return answer(c, id, done, 201);
  });

  app.put(`${user}/email`, json(newEmail), async (c) => {
    const id = c.req.param('id');
    const done = await store.execute(User, id, 'changeEmail', c.req.valid('json'), conditions(c));
    return answer(c, id, done);
  });

  app.put(`${user}/username`, json(newUsername), async (c) => {
    const id = c.req.param('id');
    const done = await store.execute(User, id, 'rename', c.req.valid('json'), conditions(c));
    return answer(c, id, done);
  });

  app.delete(user, async (c) => {
    const id = c.req.param('id');
    const done = await store.execute(User, id, 'deactivate', {}, conditions(c));
    return answer(c, id, done);
  });

  app.get(user, etag(), query(moment), async (c) => {
    const id = c.req.param('id');
    const { at } = c.req.valid('query');
    const { state, version } = await store.load(
      User,
      id,
      at === undefined ? {} : { at: new Date(at) },
    );
    if (state.status === 'absent') return problem(c, 404, 'NotFound');
    c.header('etag', `"${version}"`);
    return c.json(view(id, state));
  });

  app.get(`${user}/history`, async (c) => {
    const entries = [];
    for await (const entry of store.history(User, c.req.param('id')))
      entries.push(historyView(entry));
    return entries.length === 0 ? problem(c, 404, 'NotFound') : c.json(entries);
  });

  app.get('/users', query(byEmail), async (c) => {
    const found = await userByEmail(pool, c.req.valid('query').email);
    return c.json(found === undefined ? [] : [found]);
  });

  app.get('/sign-ups', query(moment), async (c) => {
    const { at } = c.req.valid('query');
    const days = await readModel(
      store,
      SignUps,
      (documents) => documents.find(),
      at === undefined ? undefined : { at: new Date(at) },
    );
    return c.json(days.map(({ key, document }) => ({ day: key, ...document })));
  });

  app.notFound((c) => problem(c, 404, 'NotFound'));

  app.onError((error, c) => {
    if (error instanceof HTTPException) {
      return problem(c, error.status, 'BadRequest', {
        detail: error.message,
      });
    }
    if (error instanceof z.ZodError || isSteleError(error, 'validation')) {
      const issues = error.issues.map(({ path, message }) => ({ path: path.join('.'), message }));
      return problem(c, 422, 'ValidationError', { issues });
    }
    if (isSteleError(error, 'unstorable-value')) {
      const issues = [{ path: error.path.join('.'), message: error.message }];
      return problem(c, 422, 'ValidationError', { issues });
    }
    if (isSteleError(error, 'concurrency')) {
      const { message: detail, expectedVersion, actualVersion } = error;
      c.header('etag', `"${actualVersion}"`);
      return problem(c, 412, 'ConcurrencyError', { detail, expectedVersion, actualVersion });
    }
    console.error(error);
    return problem(c, 500, 'InternalError');
  });

  return app;
}

function json<S extends z.ZodType>(schema: S) {
  return validator('json', (body): z.output<S> => schema.parse(body));
}

function query<S extends z.ZodType>(schema: S) {
  return validator('query', (parameters): z.output<S> => schema.parse(parameters));
}

/** What the request says about the state that it wants to change, and about being sent again. */
function conditions(c: Context): ExecuteOptions {
  return {
    expectedVersion: expectedVersion(c.req.header('if-match')),
    idempotencyKey: c.req.header('idempotency-key'),
  };
}

function expectedVersion(ifMatch: string | undefined): ExecuteOptions['expectedVersion'] {
  if (ifMatch === undefined) return undefined;
  if (ifMatch === '*') return 'stream-exists';
  const version = /^"(\d{1,15})"$/u.exec(ifMatch)?.[1];
  if (version !== undefined) return Number(version);
  throw new HTTPException(400, { message: 'If-Match takes * or one ETag of this user.' });
}

function answer(
  c: Context,
  id: string,
  done: Accepted<User> | Rejected<User>,
  status: 200 | 201 = 200,
): Response {
  if (!done.ok) return problem(c, statusOf(done.error), done.error.type, { data: done.error.data });
  c.header('etag', `"${done.version}"`);
  return c.json(view(id, done.state), status);
}

/** Every rejection says that the state is in the way, except that there is nobody. */
function statusOf({ type, data }: RejectionOf<User>): 404 | 409 {
  return type === 'NotActive' && data.status === 'absent' ? 404 : 409;
}

/** An error as RFC 9457 has it. `type` is a literal, so that a client can switch on it. */
function problem(
  c: Context,
  status: ContentfulStatusCode,
  type: string,
  facts: object = {},
): Response {
  return c.json({ type, status, ...facts }, status, { 'content-type': 'application/problem+json' });
}

function view(id: string, state: UserState): object {
  return { id, ...state };
}

function historyView({ event, changes }: HistoryEntry<EventOf<User>, UserState>): object {
  const { type, version, metadata } = event;
  return {
    version,
    type,
    at: metadata.timestamp,
    by: metadata.userId,
    request: metadata.correlationId,
    changes: changes.map(({ path, before, after }) => ({ path: path.join('.'), before, after })),
  };
}
