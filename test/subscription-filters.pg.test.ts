import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';

import { aggregate, event, openRuntime, subscription } from 'stele';
import type { Store } from 'stele';
import { ada, Counter, Note, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { useStores } from './support/store.ts';
import { createSeen, see, seenBy } from './support/subscriptions.ts';

const database = useDatabase();
const open = useStores(database);
beforeAll(() => createSeen(database));

test('only events that have a handler are delivered, by whatever name they are stored', async () => {
  const store = await open();
  const One = subscription('one-type', {
    aggregates: [User],
    on: { EmailChanged: see('one-type') },
  });
  const Several = subscription('several', {
    aggregates: [User, Note, Counter],
    on: { Written: see('several'), Tagged: see('several') },
  });
  const Renamed = subscription('renamed', {
    aggregates: [Note],
    partitions: 2,
    on: { Written: see('renamed') },
  });
  await using runtime = await openRuntime(store, { run: [One, Several, Renamed] });
  const { events } = await store.append(User.stream('1'), [
    User.emit.UserCreated(ada()),
    User.emit.EmailChanged({ email: 'b@example.com' }),
    User.emit.Tagged({ tags: [] }),
  ]);
  const note = await store.append(Note.stream('1'), [Note.emit.Written({ body: 1 })]);
  await store.execute(Counter, '1', 'increment', {});
  await runtime.caughtUp();
  expect(await seenBy(database, 'one-type')).toEqual([events[1]?.position]);
  expect(await seenBy(database, 'several')).toEqual([events[2]?.position, note.position]);
  expect(
    (
      await database.query<{ position: string }>(
        `select position from seen where subscription = 'renamed'`,
      )
    ).map(({ position }) => Number(position)),
  ).toEqual([note.position]);
});

test('an event of the same name in another aggregate is another event', async () => {
  const on = { initialState: () => 0, evolve: { Done: (n: number) => n + 1 } };
  const done = event<{ n: number }>();
  const Task = aggregate('task', { events: { Done: done }, ...on });
  const Chore = aggregate('chore', { events: { Done: done.storedAs('chore.done') }, ...on });
  const store = await open({ aggregates: [Task, Chore] as never });
  const Tasks = subscription('tasks', { aggregates: [Task], on: { Done: see('tasks') } });
  await using runtime = await openRuntime(store, { run: [Tasks] });
  const { position } = await store.append(Task.stream('1'), [Task.emit.Done({ n: 1 })]);
  await store.append(Chore.stream('1'), [Chore.emit.Done({ n: 1 })]);
  await runtime.caughtUp();
  expect(await seenBy(database, 'tasks')).toEqual([position]);
});

/** Something whose events say whose they are. */
const Order = aggregate('order', {
  events: { Placed: event<{ n: number }>() },
  metadata: z.object({
    tenant: z.string(),
    flags: z.object({ audited: z.boolean(), urgent: z.boolean() }).partial().optional(),
  }),
  initialState: () => 0,
  evolve: { Placed: (n) => n + 1 },
});
interface OrderMetadata {
  readonly tenant: string;
  readonly flags?: { readonly audited?: boolean; readonly urgent?: boolean };
}

async function place(store: Store, metadata: OrderMetadata): Promise<number> {
  const events = [Order.emit.Placed({ n: 1 })];
  return (await store.append(Order.stream('1'), events, { metadata })).position;
}

test('only events whose metadata contains what was asked for', async () => {
  const store = await open({ aggregates: [Order] as never });
  const Tenant = subscription('tenant', {
    aggregates: [Order],
    metadata: { tenant: 'a', flags: { audited: true } },
    on: { Placed: see('tenant') },
  });
  await using runtime = await openRuntime(store, { run: [Tenant] });
  const wanted = [
    await place(store, { tenant: 'a', flags: { audited: true, urgent: false } }),
    await place(store, { flags: { audited: true }, tenant: 'a' }),
  ];
  await place(store, { tenant: 'a' });
  await place(store, { tenant: 'a', flags: { urgent: true } });
  await place(store, { tenant: 'b', flags: { audited: true } });
  await runtime.caughtUp();
  expect(await seenBy(database, 'tenant')).toEqual(wanted);
});

test('the lag counts what is wanted and nothing else', async () => {
  const store = await open({ aggregates: [Order, User] as never });
  const Behind = subscription('behind', {
    aggregates: [Order],
    from: 'now',
    metadata: { tenant: 'a' },
    on: { Placed: see('behind') },
  });
  await using runtime = await openRuntime(store, { run: [Behind] });
  await runtime.pause(Behind);
  for (const tenant of ['a', 'b', 'a', 'c']) await place(store, { tenant });
  await store.append(User.stream('lag'), [User.emit.UserCreated(ada())]);
  const lag = async (): Promise<unknown> => {
    const status = (await runtime.status()).find(({ name }) => name === 'behind');
    return status?.partitions[0]?.lag;
  };
  expect(await lag()).toEqual({ events: 2, ms: expect.any(Number) as number });
  await runtime.resume(Behind);
  await runtime.caughtUp();
  expect(await lag()).toEqual({ events: 0, ms: 0 });
});

test('a handler of an event that no aggregate declares is refused, and so is none at all', () => {
  expect(() =>
    subscription('wrong', {
      aggregates: [Note],
      // @ts-expect-error: no such event
      on: { Wrtten: () => undefined },
    }),
  ).toThrow(/Wrtten/);
  expect(() => subscription('none', { aggregates: [Note], on: {} })).toThrow(/no handler/);
});
