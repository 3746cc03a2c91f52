import fc from 'fast-check';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { openStore } from 'stele';
import type { Store } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';

const database = useDatabase();
let store: Store;
const sessions: pg.Client[] = [];
beforeAll(async () => {
  store = await openStore({ connection: database.connectionString, aggregates: [Note] });
  for (let n = 0; n < writers; n += 1) sessions.push(await database.connect());
});
afterAll(() => store.close());

const writers = 4;

/** A writer goes from step to step: it begins and appends, appends once more, or ends. */
const step = fc.record({
  writer: fc.nat(writers - 1),
  events: fc.integer({ min: 1, max: 3 }),
  ending: fc.constantFrom('stay open', 'stay open', 'commit', 'commit', 'rollback'),
  /** Whether somebody without a transaction appends at the same time. */
  beside: fc.boolean(),
});

let streams = 0;

async function append(count: number, transaction?: pg.Client): Promise<number[]> {
  const stream = Note.stream(`s${(streams += 1)}`);
  const events = Array.from({ length: count }, (_, body) => Note.emit.Written({ body }));
  const stored = await store.append(stream, events, { transaction });
  return stored.events.map(({ position }) => position);
}

test('a reader with a checkpoint sees every committed event once, in order, whoever commits first', async () => {
  let readWhileOpen = 0;
  const property = fc.asyncProperty(
    fc.array(step, { minLength: 5, maxLength: 30 }),
    async (steps) => {
      const start = await newest();
      const committed: number[] = [];
      const delivered: number[] = [];
      const open = new Map<pg.Client, number[]>();
      let checkpoint = start;
      const writing = new AbortController();
      const catchUp = async (): Promise<void> => {
        for await (const { position } of store.read({ after: checkpoint })) {
          checkpoint = position;
          delivered.push(position);
          if (open.size > 0) readWhileOpen += 1;
        }
      };
      const reading = (async () => {
        while (!writing.signal.aborted) await catchUp();
      })();

      for (const { writer, events, ending, beside } of steps) {
        const session = sessions[writer];
        if (session === undefined) throw new Error('Every writer has a session.');
        const appending = beside ? append(1) : [];
        if (!open.has(session)) {
          await session.query('begin');
          open.set(session, []);
        }
        const own = [...(open.get(session) ?? []), ...(await append(events, session))];
        open.set(session, own);
        committed.push(...(await appending));
        if (ending === 'stay open') continue;
        await session.query(ending);
        open.delete(session);
        if (ending === 'commit') committed.push(...own);
      }
      for (const [session, own] of open) {
        await session.query('commit');
        committed.push(...own);
      }
      open.clear();
      writing.abort();
      await reading;
      await catchUp();
      expect(delivered).toEqual(committed.toSorted((a, b) => a - b));
    },
  );
  await fc.assert(property, { numRuns: fc.readConfigureGlobal().numRuns ?? 30 });
  // A reader that only ever reads after everybody has finished would have shown nothing.
  expect(readWhileOpen).toBeGreaterThan(0);
});

async function newest(): Promise<number> {
  let position = 0;
  for await (const event of store.read({ after: 0 })) position = event.position;
  return position;
}
