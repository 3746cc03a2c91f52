import fc from 'fast-check';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { openRuntime, openStore, subscription } from 'stele';
import type { Runtime, Store, Subscription } from 'stele';
import { Note } from './support/aggregates.ts';
import { createTestDatabase, useDatabase } from './support/database.ts';
import {
  createSeen,
  notices,
  partitionsOf,
  see,
  seenBy,
  stored,
  terminate,
} from './support/subscriptions.ts';

const database = useDatabase();
let store: Store;
const sessions: pg.Client[] = [];
const writers = 4;
beforeAll(async () => {
  await createSeen(database);
  store = await openStore({ connection: database.connectionString, aggregates: [Note] });
  for (let n = 0; n < writers; n += 1) sessions.push(await database.connect());
});
afterAll(() => store.close());

let streams = 0;
async function append(count: number, transaction?: pg.Client): Promise<number> {
  const stream = Note.stream(`s${(streams += 1) % 50}-${streams}`);
  const events = Array.from({ length: count }, (_, body) => Note.emit.Written({ body }));
  return (await store.append(stream, events, { transaction })).position;
}

function recorder(name: string, partitions: number): Subscription {
  return subscription(name, { aggregates: [Note], partitions, on: { Written: see(name) } });
}

/** A writer goes from step to step: it begins and appends, appends once more, or ends. */
const step = fc.record({
  writer: fc.nat(writers - 1),
  events: fc.integer({ min: 1, max: 3 }),
  ending: fc.constantFrom('stay open', 'stay open', 'commit', 'commit', 'rollback'),
  /** Whether somebody without a transaction appends at the same time. */
  beside: fc.boolean(),
  /** What else happens: every session of the store is killed, or another opens or ends. */
  event: fc.constantFrom('none', 'none', 'none', 'none', 'kill', 'long'),
});

describe('whoever commits first, and whatever is killed', () => {
  let runtime: Runtime;
  const One = recorder('one', 1);
  const Three = recorder('three', 3);
  beforeAll(async () => {
    const { onNotice } = notices();
    runtime = await openRuntime(store, { run: [One, Three], leaseMs: 1_000, onNotice });
  });
  afterAll(() => runtime.close());

  test('each partition gets exactly the committed events of its streams, in order', async () => {
    let killed = 0;
    let handledWhileOpen = 0;
    let reached = 0;
    const property = fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: 25 }),
      async (steps) => {
        const long = await database.connect();
        let isLong = false;
        const open = new Set<pg.Client>();
        for (const { writer, events, ending, beside, event } of steps) {
          const session = sessions[writer];
          if (session === undefined) throw new Error('Every writer has a session.');
          if (event === 'kill') killed += await terminate(database);
          if (event === 'long') {
            await long.query(isLong ? 'rollback' : 'begin');
            isLong = !isLong;
            // It writes, but has not appended, so nobody has to wait for it.
            if (isLong) await long.query('create table if not exists unrelated (n int)');
          }
          const appending = beside ? append(1) : undefined;
          if (!open.has(session)) {
            await session.query('begin');
            open.add(session);
          }
          await append(events, session);
          await appending;
          const [row] = await partitionsOf(database, 'one');
          const checkpoint = row?.checkpoint ?? 0;
          if (checkpoint > reached) handledWhileOpen += 1;
          reached = checkpoint;
          if (ending === 'stay open') continue;
          await session.query(ending);
          open.delete(session);
        }
        for (const session of open) await session.query('commit');
        await runtime.caughtUp({ timeoutMs: 20_000 });
        await long.query('rollback');
        await long.end();
        expect(await seenBy(database, 'one')).toEqual(await stored(database));
        for (const partition of [0, 1, 2]) {
          const part = { partitions: 3, partition };
          expect(await seenBy(database, 'three', part)).toEqual(
            await stored(database, 'note', part),
          );
        }
      },
    );
    await fc.assert(property, { numRuns: fc.readConfigureGlobal().numRuns ?? 8 });
    expect(killed).toBeGreaterThan(0);
    // Had nothing been handled before everybody had ended, this would have shown nothing.
    expect(handledWhileOpen).toBeGreaterThan(0);
  });
});

describe('a transaction that stays open', () => {
  const Stalled = recorder('stalled', 1);

  test('here or in another database stalls nothing, unless it has appended', async () => {
    await using elsewhere = await createTestDatabase();
    await using other = await openStore({
      connection: elsewhere.connectionString,
      aggregates: [Note],
    });
    const far = await elsewhere.connect();
    await far.query('begin');
    await other.append(Note.stream('far'), [Note.emit.Written({ body: 1 })], { transaction: far });
    const near = await database.connect();
    await near.query('begin');
    await near.query('create table near (n int)');
    await near.query('select count(*) from stele.events');

    await using runtime = await openRuntime(store, { run: [Stalled] });
    const position = await append(2);
    await runtime.waitFor(Stalled, position);
    expect(await seenBy(database, 'stalled')).toEqual(await stored(database));
    await near.query('rollback');
    await far.query('rollback');
  });

  test('stalls what comes behind it when it has appended, and then comes first', async () => {
    await using runtime = await openRuntime(store, { run: [Stalled] });
    await runtime.caughtUp();
    const seen = await seenBy(database, 'stalled');
    const session = await database.connect();
    await session.query('begin');
    const early = await append(1, session);
    const late = await append(1);
    expect(late).toBeGreaterThan(early);
    // A look at the database that came after both appends has shown that the late one is not safe.
    await expect(runtime.waitFor(Stalled, late, { timeoutMs: 200 })).rejects.toMatchObject({
      code: 'wait-timeout',
      checkpoint: seen.at(-1),
    });
    expect(await seenBy(database, 'stalled')).toEqual(seen);
    await session.query('commit');
    await runtime.waitFor(Stalled, late);
    expect(await seenBy(database, 'stalled')).toEqual([...seen, early, late]);
  });
});
