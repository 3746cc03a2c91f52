import type pg from 'pg';
import { aggregate, event } from 'stele';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

import { Counter } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import {
  collect,
  rejectionOf,
  signal,
  times,
  untilWaiting,
  usePools,
  useStores,
} from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const pools = usePools(database);

/** Each increment was decided on the one before it, if the counts are 1, 2, 3 … */
async function countsOf(id: string): Promise<number[]> {
  const store = await open();
  return (await collect(store.readStream(Counter, id))).map(({ data }) => data.to);
}

const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

describe('commands on one stream', () => {
  test('all succeed, 64 at once in one process', async () => {
    const store = await open();
    const done = await times(64, () => store.execute(Counter, 'one-process', 'increment', {}));
    expect(done.every(({ ok }) => ok)).toBe(true);
    expect(await countsOf('one-process')).toEqual(upTo(64));
  });

  test('are not decided over and over: whoever has lost once goes in turn', async () => {
    let decisions = 0;
    const Counted = aggregate('counted', {
      events: { Incremented: event(z.object({ to: z.int() })) },
      initialState: () => ({ count: 0 }),
      evolve: { Incremented: (_, { data }) => ({ count: data.to }) },
      commands: {
        increment: {
          input: z.object({}),
          decide: (_, { count }, { emit }) => {
            decisions += 1;
            return emit.Incremented({ to: count + 1 });
          },
        },
      },
    });
    const store = await open({ aggregates: [Counted] as never });
    await times(64, () => store.execute(Counted, '1', 'increment', {}));
    expect(await store.load(Counted, '1')).toMatchObject({ version: 64 });
    // At best, all decide, one wins, and the others decide once more.
    expect(decisions).toBeLessThan(64 * 2.5);
  });

  test('all succeed, 64 at once on an old stream in three processes', async () => {
    const stores = await times(3, () => open());
    await stores[0]?.execute(Counter, 'three-processes', 'increment', {});
    const done = await times(64, async (caller) =>
      stores[caller % 3]?.execute(Counter, 'three-processes', 'increment', {}),
    );
    expect(done.every((result) => result?.ok)).toBe(true);
    expect(await countsOf('three-processes')).toEqual(upTo(65));
  });

  test('all succeed when each caller goes on at once with the next one', async () => {
    const store = await open();
    await times(16, async () => {
      for (let round = 0; round < 8; round += 1) {
        await store.execute(Counter, 'going-on', 'increment', {});
      }
    });
    expect(await countsOf('going-on')).toEqual(upTo(128));
  });

  test('all succeed beside appends that expect nothing', async () => {
    const store = await open();
    const appends = times(64, () =>
      store.append(Counter.stream('beside'), [Counter.emit.Incremented({ to: 0 })]),
    );
    const done = await times(64, () => store.execute(Counter, 'beside', 'increment', {}));
    await appends;
    expect(done.every(({ ok }) => ok)).toBe(true);
    expect(await store.load(Counter, 'beside')).toMatchObject({ version: 128 });
  });

  test('are given up after so many attempts', async () => {
    const [store, other] = [await open(), await open()];
    let decided = 0;
    const Overtaken = aggregate('counter', {
      events: { Incremented: event(z.object({ to: z.int() })) },
      initialState: () => ({ count: 0 }),
      evolve: { Incremented: (_, { data }) => ({ count: data.to }) },
      commands: {
        increment: {
          input: z.object({}),
          decide: async (_, { count }, { emit }) => {
            decided += 1;
            await other.append(Counter.stream('overtaken'), [emit.Incremented({ to: 0 })]);
            return emit.Incremented({ to: count + 1 });
          },
        },
      },
    });
    const overtaken = await open({ aggregates: [Overtaken] as never });
    const execution = overtaken.execute(Overtaken, 'overtaken', 'increment', {}, { attempts: 3 });
    expect(await rejectionOf(execution)).toMatchObject({
      code: 'retries-exhausted',
      cause: { code: 'concurrency', streamId: 'counter-overtaken' },
    });
    expect(decided).toBe(3);
    expect(await store.load(Counter, 'overtaken')).toMatchObject({ version: 3 });
  });

  test('that another decision has failed do not stand in the way of the next', async () => {
    let fails = true;
    const Flaky = aggregate('flaky', {
      events: { Incremented: event(z.object({ to: z.int() })) },
      initialState: () => ({ count: 0 }),
      evolve: { Incremented: (_, { data }) => ({ count: data.to }) },
      commands: {
        increment: {
          input: z.object({}),
          decide: (_, { count }, { emit }) => {
            if (count === 1 && fails) {
              fails = false;
              throw new Error('once');
            }
            return emit.Incremented({ to: count + 1 });
          },
        },
      },
    });
    const store = await open({ aggregates: [Flaky] as never });
    const settled = await Promise.allSettled(
      Array.from({ length: 8 }, () => store.execute(Flaky, '1', 'increment', {})),
    );
    expect(settled.filter(({ status }) => status === 'rejected')).toHaveLength(1);
    expect(await store.load(Flaky, '1')).toMatchObject({ state: { count: 7 } });
  });
});

describe('a command that executes another inside its decision', () => {
  // The two streams execute on each other, and every one of them is contended: those who wait for
  // their turn must not wait for each other.
  test('never waits for one that waits for it', async () => {
    const pool = pools({ max: 4 });
    const Mutual = aggregate('mutual', {
      events: { Met: event(z.object({ other: z.string() })), Touched: event(z.object({})) },
      initialState: () => ({ met: 0, touched: 0 }),
      evolve: {
        Met: (state) => ({ ...state, met: state.met + 1 }),
        Touched: (state) => ({ ...state, touched: state.touched + 1 }),
      },
      commands: {
        meet: {
          input: z.object({ other: z.string() }),
          decide: async ({ other }, _, { emit }) => {
            await touch(other);
            return emit.Met({ other });
          },
        },
        touch: { input: z.object({}), decide: (_, __, { emit }) => emit.Touched({}) },
      },
    });
    const store = await open({ pool, aggregates: [Mutual] as never });
    const touch = (id: string): Promise<unknown> => store.execute(Mutual, id, 'touch', {});
    const started = performance.now();
    const meetings = await times(8, (index) => {
      const [id, other] = index % 2 === 0 ? (['a', 'b'] as const) : (['b', 'a'] as const);
      return store.execute(Mutual, id, 'meet', { other }, { attempts: 1_000 });
    });
    expect(meetings.every(({ ok }) => ok)).toBe(true);
    // Losing patience would take ten seconds.
    expect(performance.now() - started).toBeLessThan(9_000);
    const states = [await store.load(Mutual, 'a'), await store.load(Mutual, 'b')];
    expect(states).toMatchObject([{ state: { met: 4 } }, { state: { met: 4 } }]);
  });
});

test('a command in a transaction does not wait for the turn of one that waits for its lock', async () => {
  let decisions = 0;
  const [secondDecides, thirdDecides, thirdMayGoOn] = [signal(), signal(), signal()];
  const Gated = aggregate('gated', {
    events: { Incremented: event(z.object({ to: z.int() })) },
    initialState: () => ({ count: 0 }),
    evolve: { Incremented: (_, { data }) => ({ count: data.to }) },
    commands: {
      increment: {
        input: z.object({}),
        decide: async (_, { count }, { emit }) => {
          decisions += 1;
          if (decisions === 1) await secondDecides.given;
          if (decisions === 2) secondDecides.give();
          if (decisions === 3) {
            thirdDecides.give();
            await thirdMayGoOn.given;
          }
          return emit.Incremented({ to: count + 1 });
        },
      },
    },
  });
  const store = await open({ aggregates: [Gated] as never });
  const increment = (transaction?: pg.Client): Promise<unknown> =>
    store.execute(Gated, '1', 'increment', {}, { transaction });
  // Two decide, one of them loses, has the turn, and decides again: that is the third decision.
  const two = Promise.all([increment(), increment()]);
  await thirdDecides.given;
  const transaction = await database.connect();
  await transaction.query('begin');
  expect(await increment(transaction)).toMatchObject({ ok: true, state: { count: 2 } });
  thirdMayGoOn.give();
  await untilWaiting(database);
  const started = performance.now();
  expect(await increment(transaction)).toMatchObject({ ok: true, state: { count: 3 } });
  // Losing patience would take ten seconds.
  expect(performance.now() - started).toBeLessThan(9_000);
  await transaction.query('commit');
  await two;
  expect(await store.load(Gated, '1')).toEqual({ state: { count: 4 }, version: 4 });
});
