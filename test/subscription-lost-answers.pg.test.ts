import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

import { openRuntime, openStore, subscription } from 'stele';
import type { Store } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { startProxy, type Proxy } from './support/proxy.ts';
import { useStores } from './support/store.ts';
import {
  createSeen,
  notices,
  parkAfter,
  partitionsOf,
  see,
  seenBy,
  until,
} from './support/subscriptions.ts';

const database = useDatabase();
const open = useStores(database);
beforeAll(() => createSeen(database));

let proxy: Proxy;
let through: Store;
beforeEach(async () => {
  proxy = await startProxy(database.connectionString);
  through = await openStore({ connection: proxy.connectionString, aggregates: [Note] });
});
afterEach(async () => {
  await through.close();
  await proxy[Symbol.asyncDispose]();
});

async function append(...bodies: unknown[]): Promise<number[]> {
  const store = await open();
  const events = bodies.map((body) => Note.emit.Written({ body }));
  const stored = await store.append(Note.stream('1'), events);
  return stored.events.map(({ position }) => position);
}

const last = (positions: readonly number[]): number => positions.at(-1) ?? 0;

test('what was committed is not handled again when the answer to COMMIT got lost', async () => {
  const Committed = subscription('committed', {
    aggregates: [Note],
    from: 'now',
    on: { Written: see('committed') },
  });
  const { onNotice, all } = notices();
  await using runtime = await openRuntime(through, { run: [Committed], onNotice });
  const lost = proxy.loseAnswer('COMMIT');
  const before = await append(1, 2, 3);
  await lost;
  const after = await append(4);
  await runtime.waitFor(Committed, last(after));
  expect(await seenBy(database, 'committed')).toEqual([...before, ...after]);
  expect(all).toEqual([]);
});

test('an event was set aside once when the answer to that got lost', async () => {
  let losing: Promise<void> | undefined;
  const record = see('aside');
  const Aside = subscription('aside', {
    aggregates: [Note],
    from: 'now',
    ...parkAfter(1),
    on: {
      Written: async (event, sql) => {
        if (event.data.body !== 'bad') return record(event, sql);
        losing ??= proxy.loseAnswer('COMMIT');
        throw new Error('bad');
      },
    },
  });
  await using runtime = await openRuntime(through, { run: [Aside], onNotice: () => undefined });
  const positions = await append('bad', 'behind');
  await runtime.waitFor(Aside, last(positions));
  await losing;
  expect((await runtime.parked(Aside)).map(({ position }) => position)).toEqual(positions);
  expect(await seenBy(database, 'aside')).toEqual([]);
  await until(
    () => partitionsOf(database, 'aside'),
    ([row]) => row?.checkpoint === last(positions),
  );
});
