import { expect, test } from 'vitest';

import { openRuntime, subscription } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { countStatements, usePools, useStores } from './support/store.ts';
import { createSeen, see, until } from './support/subscriptions.ts';

const database = useDatabase();
const open = useStores(database);
const openPool = usePools(database);

test('twenty subscriptions with nothing to do cost two cheap statements a second, all together', async () => {
  await createSeen(database);
  const pool = openPool();
  const { sent } = countStatements(pool);
  const store = await open({ pool });
  await store.append(Note.stream('1'), [Note.emit.Written({ body: 1 })]);
  const run = Array.from({ length: 20 }, (_, n) =>
    subscription(`idle-${n}`, { aggregates: [Note], on: { Written: see(`idle-${n}`) } }),
  );
  await using runtime = await openRuntime(store, { run });
  await runtime.caughtUp();
  // Heartbeats come at a steady pace, a third of a lease apart, so they are the clock.
  const heartbeats = (): number => sent.filter((text) => text.includes('heartbeat')).length;
  const untilHeartbeat = async (): Promise<number> => {
    const before = heartbeats();
    await until(heartbeats, (count) => count > before);
    return performance.now();
  };
  const from = await untilHeartbeat();
  sent.length = 0;
  const to = await untilHeartbeat();
  expect(sent.length).toBeLessThanOrEqual(((to - from) / 1_000) * 2);
  expect(new Set(sent.map((text) => /(\w+)\(/.exec(text)?.[1]))).toEqual(
    new Set(['watermark', 'heartbeat']),
  );
});
