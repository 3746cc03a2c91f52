import type pg from 'pg';
import { projection, type Store } from 'stele';
import { describe, expect, test } from 'vitest';

import { Counter } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { times, untilWaiting, usePools, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const pools = usePools(database);
const { Incremented } = Counter.emit;

/** An append inside a transaction that stays open: it has locked its stream. */
async function holding(store: Store, id: string): Promise<pg.Client> {
  const transaction = await database.connect();
  await transaction.query('begin');
  await store.append(Counter.stream(id), [Incremented({ to: 0 })], { transaction });
  return transaction;
}

const append = (store: Store, id: string, to: number): Promise<number> =>
  store.append(Counter.stream(id), [Incremented({ to })]).then(({ version }) => version);

const Nothing = projection('nothing', {
  aggregates: [Counter],
  on: { Incremented: () => undefined },
});

describe.each([
  ['appends', {}],
  ['appends with an inline projection', { projections: [Nothing] }],
])('%s to a stream that an open transaction has locked', (kind, options) => {
  const name = kind.replaceAll(' ', '-');

  test.each(['old', 'new'])('wait, in order, and hold up no others: %s stream', async (age) => {
    const store = await open({ pool: pools({ max: 4 }), ...options });
    const id = `${name}-${age}`;
    if (age === 'old') await append(store, id, 1);
    const before = age === 'old' ? 1 : 0;
    const transaction = await holding(store, id);
    let settled = 0;
    const waiting: Promise<number>[] = [];
    for (let to = 0; to < 30; to += 1) {
      const appending = append(store, id, to);
      void appending.then(() => (settled += 1));
      waiting.push(appending);
      // Some are called at the same moment, others while the first are on their way.
      if (to % 3 === 2) await database.query('select 1');
    }
    // The others were called later.
    await times(100, (index) => append(store, `${id}-other-${index}`, 1));
    expect(settled).toBe(0);
    await untilWaiting(database);
    await times(100, (index) => append(store, `${id}-other-${index}`, 2));
    await store.load(Counter, `${id}-other-1`);
    expect(settled).toBe(0);

    await transaction.query('commit');
    const versions = await Promise.all(waiting);
    expect(versions).toEqual(Array.from({ length: 30 }, (_, to) => before + 2 + to));
    const { state } = await store.load(Counter, id);
    expect(state.count).toBe(29);
  });

  test('may be more than the pool has connections: the others still go on', async () => {
    const store = await open({ pool: pools({ max: 4 }), ...options });
    const ids = Array.from({ length: 20 }, (_, index) => `${name}-many-${index}`);
    // Every other one is a stream that only the open transaction can see.
    for (const id of ids.slice(10)) await append(store, id, 1);
    const transaction = await database.connect();
    await transaction.query('begin');
    await store.appendAll(
      ids.map((id) => ({ stream: Counter.stream(id), events: [Incremented({ to: 2 })] })),
      { transaction },
    );
    let settled = 0;
    const waiting = Promise.all(
      [...ids, ...ids].map(async (id) => {
        await append(store, id, 3);
        settled += 1;
      }),
    );
    await times(100, (index) => append(store, `${name}-free-${index}`, 1));
    await untilWaiting(database);
    await times(100, (index) => append(store, `${name}-free-${index}`, 2));
    expect(settled).toBe(0);

    await transaction.query('commit');
    await waiting;
    const versions = await Promise.all(
      ids.map(async (id) => (await store.load(Counter, id)).version),
    );
    expect(versions).toEqual([...Array(10).fill(3), ...Array(10).fill(4)]);
  });

  test('go on after a rollback as if it had never been', async () => {
    const store = await open({ pool: pools({ max: 4 }), ...options });
    const transaction = await holding(store, `${name}-back`);
    const waiting = times(3, (to) => append(store, `${name}-back`, to));
    await untilWaiting(database);
    await transaction.query('rollback');
    expect(await waiting).toEqual([1, 2, 3]);
  });

  test('to several streams, of which one is locked, wait and are stored whole', async () => {
    const store = await open({ pool: pools({ max: 4 }), ...options });
    const [locked, free] = [`${name}-locked`, `${name}-unlocked`];
    const transaction = await holding(store, locked);
    const both = store.appendAll(
      [free, locked].map((id) => ({
        stream: Counter.stream(id),
        events: [Incremented({ to: 1 })],
      })),
    );
    await untilWaiting(database);
    expect(
      await database.query('select from stele.streams where stream_id = $1', [`counter-${free}`]),
    ).toEqual([]);
    await transaction.query('commit');
    expect((await both).map(({ version }) => version)).toEqual([1, 2]);
  });
});
