import { aggregate, event, openStore, projection } from 'stele';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { useDatabase } from './support/database.ts';
import { useStores } from './support/store.ts';
import { User } from './support/aggregates.ts';

/** What those see who do not compile their code, or compile it with a cast. */
const Careless = aggregate('careless', {
  events: { Happened: event(z.object({})) },
  initialState: () => 0,
  evolve: { Happened: (count) => count + 1 },
  errors: { No: z.object({}) },
  commands: {
    throwRejection: {
      input: z.object({}),
      decide: (_, _state, { reject }) => {
        // oxlint-disable-next-line only-throw-error -- the mistake that is meant
        throw reject.No();
      },
    },
    forgetToReturn: { input: z.object({}), decide: () => undefined as never },
    answerWithText: { input: z.object({}), decide: () => ['Happened'] as never },
  },
});

const database = useDatabase();
const open = useStores(database);

describe('a mistake is told in the words of the one who made it', () => {
  it.each([
    ['throwRejection', "Command throwRejection of 'careless' threw the rejection No. Return it"],
    ['forgetToReturn', 'answered with undefined. Return events, [] or a rejection.'],
    ['answerWithText', 'answered with a list of something else.'],
  ] as const)('%s', async (command, text) => {
    await using store = await openStore({
      connection: database.connectionString,
      aggregates: [Careless],
    });
    await expect(store.execute(Careless, '1', command, {})).rejects.toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining(text),
    });
  });

  it('an append of something else than a stream and a list', async () => {
    const store = await open();
    const created = User.emit.EmailChanged({ email: 'ada@example.com' });
    for (const append of [
      store.append(User.stream('1'), created as never),
      store.append('user-1' as never, [created] as never),
    ]) {
      await expect(append).rejects.toThrow('An append takes a stream, such as User.stream(id)');
    }
  });

  it('a time that is no Date', async () => {
    const store = await open();
    await expect(store.load(User, '1', { at: '2026-01-01' as never })).rejects.toThrow(
      'A time to load at is a valid Date, but got 2026-01-01.',
    );
  });

  it('a projection of an aggregate that the store does not have', async () => {
    const Counts = projection('counts', { aggregates: [Careless], on: { Happened: () => {} } });
    const store = openStore({
      connection: database.connectionString,
      aggregates: [User],
      projections: [Counts],
    });
    await expect(store).rejects.toMatchObject({ code: 'unknown-aggregate' });
  });

  it('an append of its own inside a handler, which would wait for itself', async () => {
    const Echo = projection('echo', {
      aggregates: [Careless],
      on: {
        Happened: async ({ streamId }) => {
          await store.append(Careless.stream(`${streamId} again`), [Careless.emit.Happened()]);
        },
      },
    });
    await using store = await openStore({
      connection: database.connectionString,
      aggregates: [Careless],
      projections: [Echo],
    });
    await expect(
      store.append(Careless.stream('echo'), [Careless.emit.Happened()]),
    ).rejects.toMatchObject({ code: 'projection-failed', cause: { code: 'invalid-argument' } });
  });

  it('a correlation that is too long for its index', async () => {
    const store = await open();
    const changed = User.emit.EmailChanged({ email: 'ada@example.com' });
    const metadata = { correlationId: 'x'.repeat(501) };
    await expect(store.append(User.stream('1'), [changed], { metadata })).rejects.toThrow(
      "Metadata 'correlationId' is text of at most 500 characters, but got 501 characters.",
    );
  });

  it('an event that no state can be made of is not stored', async () => {
    const Broken = aggregate('broken', {
      events: { Broke: event(z.object({})) },
      initialState: () => 0,
      evolve: {
        Broke: () => {
          throw new Error('cannot');
        },
      },
      commands: {
        break: { input: z.object({}), decide: (_, _state, { emit }) => emit.Broke() },
      },
    });
    await using store = await openStore({
      connection: database.connectionString,
      aggregates: [Broken],
    });
    await expect(store.execute(Broken, '1', 'break', {})).rejects.toMatchObject({
      code: 'evolve-failed',
    });
    const { value } = await store.readStream(Broken, '1').next();
    expect(value).toBeUndefined();
  });

  it('a login that may not use the schema', async () => {
    const login = `nobody_${process.pid}`;
    await database.query(`create role ${login} login password 'secret'`);
    const url = new URL(database.connectionString);
    url.username = login;
    url.password = 'secret';
    const store = openStore({ connection: url.href, aggregates: [User] });
    await expect(store).rejects.toThrow('Grant the role stele_writer to the login.');
    await database.query(`drop role ${login}`);
  });
});
