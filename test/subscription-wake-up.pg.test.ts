import type pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';

import { openRuntime, subscription } from 'stele';
import { Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { countStatements, usePools, useStores } from './support/store.ts';
import { createSeen, see, seenBy, until } from './support/subscriptions.ts';

const database = useDatabase();
const open = useStores(database);
const openPool = usePools(database);
beforeAll(() => createSeen(database));

/** When the database was asked how far it may be read, and by how much the questions were apart. */
function looksOf(pool: pg.Pool): { readonly lastGap: () => number } {
  const { sent } = countStatements(pool);
  const times: number[] = [];
  const push = sent.push.bind(sent);
  sent.push = (...texts) => {
    if (texts.some((text) => text.includes('watermark'))) times.push(performance.now());
    return push(...texts);
  };
  return { lastGap: () => (times.at(-1) ?? 0) - (times.at(-2) ?? 0) };
}

/** How long a reader that asks for itself once in a second takes to see an append of another. */
describe('a reader that has nothing to do, and so rarely asks', () => {
  const restingMs = 900;
  const soonMs = 400;

  test('sees at once what another process appends, since it is told', async () => {
    const pool = openPool();
    const [writer, reader] = [await open(), await open({ pool })];
    const looks = looksOf(pool);
    const Told = subscription('told', { aggregates: [Note], on: { Written: see('told') } });
    await using _runtime = await openRuntime(reader, { run: [Told] });
    for (let n = 1; n <= 2; n += 1) {
      await until(looks.lastGap, (gap) => gap > restingMs);
      const appendedAt = performance.now();
      await writer.append(Note.stream('told'), [Note.emit.Written({ body: n })]);
      await until(
        () => seenBy(database, 'told'),
        ({ length }) => length === n,
      );
      expect(performance.now() - appendedAt).toBeLessThan(soonMs);
    }
  });

  test('is told again after the connection on which it listens was lost', async () => {
    const pool = openPool();
    const [writer, reader] = [await open(), await open({ pool })];
    const looks = looksOf(pool);
    const Lost = subscription('lost', {
      aggregates: [Note],
      from: 'now',
      on: { Written: see('lost') },
    });
    await using _runtime = await openRuntime(reader, { run: [Lost] });
    const listening = (): Promise<{ pid: number }[]> =>
      database.query<{ pid: number }>(
        `select pid from pg_stat_activity
         where datname = current_database() and query like 'listen%'`,
      );
    const [before] = await until(listening, ({ length }) => length === 1);
    await database.query('select pg_terminate_backend($1, 5000)', [before?.pid]);
    // What is appended while nobody listens is found, too.
    await writer.append(Note.stream('lost'), [Note.emit.Written({ body: 1 })]);
    await until(
      () => seenBy(database, 'lost'),
      ({ length }) => length === 1,
    );
    const [after] = await until(listening, ([found]) => found !== undefined);
    expect(after?.pid).not.toBe(before?.pid);
    await until(looks.lastGap, (gap) => gap > restingMs);
    const appendedAt = performance.now();
    await writer.append(Note.stream('lost'), [Note.emit.Written({ body: 2 })]);
    await until(
      () => seenBy(database, 'lost'),
      ({ length }) => length === 2,
    );
    expect(performance.now() - appendedAt).toBeLessThan(soonMs);
  });
});
