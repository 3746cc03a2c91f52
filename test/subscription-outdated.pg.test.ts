import { beforeAll, expect, test } from 'vitest';

import { openRuntime, subscription } from 'stele';
import { ada, EarlyUser, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { useStores } from './support/store.ts';
import { createSeen, notices, see, seenBy, stored, untilStatus } from './support/subscriptions.ts';

const database = useDatabase();
const open = useStores(database);
beforeAll(() => createSeen(database));
const early = { aggregates: [EarlyUser] as never };

const leaseMs = 300;
const changed = EarlyUser.emit.EmailChanged({ email: 'b@example.com' });

test('a process whose code is older than an event leaves it to one that knows it', async () => {
  const [before, after] = [await open(early), await open()];
  const record = see('deployed');
  const on = { UserCreated: record, EmailChanged: record };
  const Old = subscription('deployed', { aggregates: [EarlyUser], on });
  const New = subscription('deployed', { aggregates: [User], on });

  const { all, onNotice, of } = notices();
  await using old = await openRuntime(before, { run: [Old], leaseMs, onNotice });
  const [one] = (await before.append(EarlyUser.stream('1'), [changed])).events;
  await after.append(User.stream('1'), [User.emit.UserCreated(ada())]);
  const { position } = await before.append(EarlyUser.stream('2'), [changed]);
  expect(await of('outdated')).toEqual({
    kind: 'outdated',
    subscription: 'deployed',
    partition: 0,
  });
  const row = await untilStatus(database, 'deployed', 'outdated');
  expect(row).toMatchObject({
    owner: null,
    checkpoint: one?.position,
    error: { code: 'unknown-schema-version', kind: 'newer', streamId: 'user-1', version: 2 },
  });
  // Nothing is skipped, and nobody has tried it more than once.
  expect(await seenBy(database, 'deployed')).toEqual([one?.position]);
  expect(all).toHaveLength(1);
  await expect(old.waitFor(Old, position, { timeoutMs: 1 })).rejects.toMatchObject({
    code: 'wait-timeout',
    message: expect.stringContaining('it is outdated') as string,
  });

  // The new code is deployed beside the old one, and goes on without being told.
  await using current = await openRuntime(after, { run: [New], leaseMs });
  await current.waitFor(New, position);
  await old.waitFor(Old, position);
  expect(await seenBy(database, 'deployed')).toEqual(await stored(database));
});

test('both share what both know, and what is newer goes to the one that knows it', async () => {
  const [before, after] = [await open(early), await open()];
  const record = see('rolling');
  const on = { UserCreated: record, EmailChanged: record };
  const options = { aggregates: [User], partitions: 4, from: 'now', on } as const;
  const Old = subscription('rolling', { ...options, aggregates: [EarlyUser] });
  const New = subscription('rolling', options);
  const quiet = { leaseMs, onNotice: () => undefined };
  const first = (await stored(database)).at(-1) ?? 0;
  await using _old = await openRuntime(before, { run: [Old], ...quiet });
  await using current = await openRuntime(after, { run: [New], ...quiet });
  for (let n = 0; n < 40; n += 1) {
    const id = `rolling-${n}`;
    if (n % 10 === 7) await after.append(User.stream(id), [User.emit.UserCreated(ada())]);
    else await before.append(EarlyUser.stream(id), [changed]);
  }
  await current.caughtUp();
  for (const partition of [0, 1, 2, 3]) {
    const part = { partitions: 4, partition };
    const expected = (await stored(database, 'user', part)).filter((position) => position > first);
    expect(await seenBy(database, 'rolling', part)).toEqual(expected);
  }
});

test('an event of a type that the code does not handle is none of its business', async () => {
  const [before, after] = [await open(early), await open()];
  const Old = subscription('narrow', {
    aggregates: [EarlyUser],
    from: 'now',
    on: { EmailChanged: see('narrow') },
  });
  await using runtime = await openRuntime(before, { run: [Old] });
  await after.append(User.stream('narrow'), [User.emit.Tagged({ tags: [] })]);
  await after.append(User.stream('narrow'), [User.emit.UserCreated(ada())]);
  const { position } = await before.append(EarlyUser.stream('narrow'), [changed]);
  await runtime.waitFor(Old, position);
  expect(await seenBy(database, 'narrow')).toEqual([position]);
});
