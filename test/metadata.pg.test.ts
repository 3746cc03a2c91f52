import { aggregate, causedBy, event, projection, withMetadata, type Metadata } from 'stele';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

import { Counter, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import {
  collect,
  countStatements,
  rejectionOf,
  times,
  usePools,
  useStores,
} from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const pools = usePools(database);
const one = [Counter.emit.Incremented({ to: 1 })];

/** The metadata of the last event, without its time. */
async function storedIn(id: string): Promise<Metadata> {
  const store = await open();
  const [event] = await collect(store.readStream(Counter, id, { backwards: true, limit: 1 }));
  const { timestamp, ...metadata } = event?.metadata ?? { timestamp: undefined };
  expect(timestamp).toBeInstanceOf(Date);
  return metadata;
}

describe('metadata', () => {
  test('that is given is stored with each event, beside the time', async () => {
    const store = await open();
    const metadata = {
      userId: 'ann',
      correlationId: 'c',
      causationId: 'x',
      traceparent: '00-1',
      tracestate: 's',
    };
    const started = Date.now();
    const { events } = await store.append(Counter.stream('given'), [...one, ...one], { metadata });
    for (const event of events) {
      expect(event.metadata).toEqual({ ...metadata, timestamp: event.metadata.timestamp });
      expect(Math.abs(event.metadata.timestamp.getTime() - started)).toBeLessThan(60_000);
    }
    expect(await storedIn('given')).toEqual(metadata);
  });

  test('of each stream of an append is its own', async () => {
    const store = await open();
    await store.appendAll([
      { stream: Counter.stream('own-1'), events: one, metadata: { userId: 'ann' } },
      { stream: Counter.stream('own-2'), events: one },
    ]);
    expect([await storedIn('own-1'), await storedIn('own-2')]).toEqual([{ userId: 'ann' }, {}]);
  });

  test.each(['timestamp', 'idempotencyKey'])('%s is set by the store alone', async (key) => {
    const store = await open();
    const metadata = { [key]: 'mine' } as Metadata;
    const append = store.append(Counter.stream('reserved'), one, { metadata });
    expect(await rejectionOf(append)).toMatchObject({ code: 'invalid-argument' });
  });
});

describe('metadata around a call', () => {
  test('reaches every append inside, through awaits and what runs at the same time', async () => {
    const store = await open();
    const append = (id: string): Promise<unknown> => store.append(Counter.stream(id), one);
    await times(5, (user) =>
      withMetadata({ userId: `${user}` }, async () => {
        await append(`around-${user}-first`);
        await Promise.all([append(`around-${user}-left`), append(`around-${user}-right`)]);
        await new Promise((resolve) => setImmediate(resolve));
        await store.execute(Counter, `around-${user}-last`, 'increment', {});
      }),
    );
    await append('around-outside');
    for (const user of [0, 1, 2, 3, 4]) {
      for (const place of ['first', 'left', 'right', 'last']) {
        expect(await storedIn(`around-${user}-${place}`)).toEqual({ userId: `${user}` });
      }
    }
    expect(await storedIn('around-outside')).toEqual({});
  });

  test('is joined by what is nearer, which wins; what is undefined takes nothing away', async () => {
    const store = await open();
    await withMetadata({ userId: 'far', correlationId: 'far', traceparent: 'far' }, () =>
      withMetadata({ userId: undefined, correlationId: 'near', traceparent: 'near' }, () =>
        store.append(Counter.stream('nested'), one, {
          metadata: { traceparent: 'own', correlationId: undefined },
        }),
      ),
    );
    expect(await storedIn('nested')).toEqual({
      userId: 'far',
      correlationId: 'near',
      traceparent: 'own',
    });
  });

  test('names the cause, and carries its correlation', async () => {
    const store = await open();
    const [first] = (await store.append(Counter.stream('cause'), one)).events;
    if (first === undefined) throw new Error('It was stored.');
    const [second] = (await causedBy(first, () => store.append(Counter.stream('effect'), one)))
      .events;
    if (second === undefined) throw new Error('It was stored.');
    await causedBy(second, () => store.execute(Counter, 'effect-2', 'increment', {}));
    expect(await storedIn('effect')).toEqual({ causationId: first.id, correlationId: first.id });
    expect(await storedIn('effect-2')).toEqual({ causationId: second.id, correlationId: first.id });
  });

  test('is that of the caller inside the handlers of its append, however many append at once', async () => {
    let store = await open();
    const Following = projection('following', {
      aggregates: [User],
      others: 'ignore',
      on: {
        EmailChanged: async ({ streamId }, transaction) => {
          await store.append(Counter.stream(`of-${streamId}`), one, { transaction });
        },
      },
    });
    store = await open({ projections: [Following] });
    await times(20, (user) =>
      withMetadata({ userId: `${user}` }, () =>
        store.append(User.stream(`${user}`), [User.emit.EmailChanged({ email: 'a@example.com' })]),
      ),
    );
    for (let user = 0; user < 20; user += 1) {
      expect(await storedIn(`of-user-${user}`)).toMatchObject({ userId: `${user}` });
    }
  });
});

describe('metadata that an aggregate declares', () => {
  const Order = aggregate('order', {
    metadata: z.object({ tenant: z.string().min(1), source: z.string().default('web') }),
    events: { Placed: event(z.object({ total: z.number() })) },
    initialState: () => ({ total: 0 }),
    evolve: { Placed: (_, { data }) => data },
    commands: {
      place: {
        input: z.object({ total: z.number() }),
        decide: (input, _, { emit }) => emit.Placed(input),
      },
    },
  });
  const placed = [Order.emit.Placed({ total: 1 })];
  const aggregates = [Order] as never;

  test('is checked, completed, and stored beside the known keys', async () => {
    const store = await open({ aggregates });
    const { events } = await store.append(Order.stream('1'), placed, {
      metadata: { tenant: 'acme', userId: 'ann' },
    });
    const [read] = await collect(store.readStream(Order, '1'));
    expect(read?.metadata).toMatchObject({ tenant: 'acme', source: 'web', userId: 'ann' });
    expect(read).toEqual(events[0]);
  });

  test('may come from around the call', async () => {
    const store = await open({ aggregates });
    const done = await withMetadata({ tenant: 'acme' } as Metadata, () =>
      store.execute(Order, '2', 'place', { total: 1 }, {} as never),
    );
    expect(done).toMatchObject({ ok: true, events: [{ metadata: { tenant: 'acme' } }] });
  });

  test.each([[{}], [{ tenant: '' }], [{ tenant: 7 }]])(
    'is refused before anything is sent when it is %j',
    async (metadata) => {
      const pool = pools();
      const { sent } = countStatements(pool);
      const store = await open({ pool, aggregates });
      sent.length = 0;
      const append = store.append(Order.stream('3'), placed, { metadata } as never);
      const error = await rejectionOf(append);
      expect(error).toMatchObject({ code: 'validation', issues: [{ path: ['tenant'] }] });
      expect(error).toHaveProperty('message', expect.stringContaining("stream 'order-3'"));
      expect(sent).toEqual([]);
    },
  );
});
