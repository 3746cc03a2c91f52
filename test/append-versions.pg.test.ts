import { ConcurrencyError, isSteleError, SteleError, type ExpectedVersion } from 'stele';
import { describe, expect, test } from 'vitest';

import { Counter } from './support/aggregates.ts';
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
const { emit } = Counter;
const one = [emit.Incremented({ to: 1 })];

/** The facts of a conflict. */
function facts(error: unknown): object {
  if (!isSteleError(error, 'concurrency')) throw error;
  const { streamId, expectedVersion, actualVersion } = error;
  return { streamId, expectedVersion, actualVersion };
}

describe('an expected version', () => {
  const cases: [ExpectedVersion, { absent: boolean; present: boolean }][] = [
    ['any', { absent: true, present: true }],
    ['no-stream', { absent: true, present: false }],
    ['stream-exists', { absent: false, present: true }],
    [0, { absent: true, present: false }],
    [1, { absent: false, present: false }],
    [2, { absent: false, present: true }],
    [3, { absent: false, present: false }],
  ];
  const shapes = [
    { shape: 'one event', events: one },
    { shape: 'several events', events: [...one, ...one, ...one] },
  ];

  describe.each(shapes)('of an append of $shape', ({ shape, events }) => {
    test.each(cases)('%j holds as it says', async (expectedVersion, holds) => {
      const store = await open();
      const outcomes: unknown[] = [];
      // One after the other: together they would travel in one statement, which is another one.
      for (const [state, version] of [['absent', 0] as const, ['present', 2] as const]) {
        const stream = Counter.stream(`${shape}-${state}-${expectedVersion}`);
        if (version > 0) await store.append(stream, [...one, ...one]);
        const append = store.append(stream, events, { expectedVersion });
        outcomes.push(
          holds[state]
            ? (await append).version === version + events.length
            : facts(await rejectionOf(append)),
        );
      }
      const conflict = (state: string, actualVersion: number): object => ({
        streamId: `counter-${shape}-${state}-${expectedVersion}`,
        expectedVersion,
        actualVersion,
      });
      expect(outcomes).toEqual([
        holds.absent || conflict('absent', 0),
        holds.present || conflict('present', 2),
      ]);
    });
  });

  test('holds as it says in a group of appends too', async () => {
    const store = await open();
    await store.append(Counter.stream('group-present'), [...one, ...one]);
    const outcomes = await Promise.all(
      cases.flatMap(([expectedVersion, holds]) =>
        (['absent', 'present'] as const).map(async (state) => {
          const id = state === 'absent' ? `group-absent-${expectedVersion}` : 'group-present';
          if (state === 'present' && holds.present) return true;
          const append = store.append(Counter.stream(id), one, { expectedVersion });
          if (holds[state]) return (await append).version === 1;
          return isSteleError(await rejectionOf(append), 'concurrency');
        }),
      ),
    );
    expect(outcomes).toEqual(outcomes.map(() => true));
  });

  test('of a stream whose only append was rolled back is that of an absent stream', async () => {
    const store = await open();
    const absent = Counter.stream('withheld');
    const conflicting = { stream: Counter.stream('other'), events: one, expectedVersion: 7 };
    await rejectionOf(store.appendAll([{ stream: absent, events: one }, conflicting]));

    const exists = store.append(absent, one, { expectedVersion: 'stream-exists' });
    expect(await rejectionOf(exists)).toMatchObject({ code: 'concurrency', actualVersion: 0 });
    const made = await store.append(absent, one, { expectedVersion: 'no-stream' });
    expect(made.version).toBe(1);
  });

  test.each([-1, 1.5, Number.NaN, Infinity, 2 ** 53, 'none', null])(
    '%j is refused before anything is sent',
    async (wrong) => {
      const pool = pools();
      const { sent } = countStatements(pool);
      const store = await open({ pool });
      sent.length = 0;
      const expectedVersion = wrong as ExpectedVersion;
      const stream = Counter.stream('refused');
      const refused = { code: 'invalid-argument' };
      expect(await rejectionOf(store.append(stream, one, { expectedVersion }))).toMatchObject(
        refused,
      );
      const append = { stream, events: one, expectedVersion };
      expect(await rejectionOf(store.appendAll([append]))).toMatchObject(refused);
      const execution = store.execute(Counter, 'refused', 'increment', {}, { expectedVersion });
      expect(await rejectionOf(execution)).toMatchObject(refused);
      expect(sent).toEqual([]);
    },
  );
});

describe('under concurrency', () => {
  test.each(['no-stream', 0] as const)(
    '%j lets exactly one of three creators open each of 50 streams',
    async (expectedVersion) => {
      const stores = [await open(), await open(), await open()];
      const outcomes = await times(50, async (index) => {
        const stream = Counter.stream(`opened-${expectedVersion}-${index}`);
        const attempts = stores.map((store) => store.append(stream, one, { expectedVersion }));
        return { stream, settled: await Promise.allSettled(attempts) };
      });
      for (const { stream, settled } of outcomes) {
        const lost = settled.filter(({ status }) => status === 'rejected');
        expect(lost).toHaveLength(2);
        for (const { reason } of lost as PromiseRejectedResult[]) {
          expect(reason).toBeInstanceOf(ConcurrencyError);
          const facts = { streamId: stream.streamId, expectedVersion, actualVersion: 1 };
          expect(reason).toMatchObject(facts);
        }
      }
      const [row] = await database.query(
        `select count(*)::int as events from stele.events where starts_with(stream_id, $1)`,
        [`counter-opened-${expectedVersion}-`],
      );
      expect(row).toEqual({ events: 50 });
    },
  );

  test("'no-stream' lets one of three creators in one process open each of 50 streams", async () => {
    const store = await open();
    const winners = await times(50, async (index) => {
      const stream = Counter.stream(`shared-${index}`);
      const creators = await Promise.allSettled(
        [1, 2, 3].map(() => store.append(stream, one, { expectedVersion: 'no-stream' })),
      );
      return creators.filter(({ status }) => status === 'fulfilled').length;
    });
    expect(winners).toEqual(Array.from({ length: 50 }, () => 1));
  });

  test.each([1, 3])(
    "'any' never fails: 64 callers on one stream, from %i stores",
    async (count) => {
      const stores = await times(count, () => open());
      const id = `hot-${count}`;
      const versions = await times(64, async (caller) => {
        const store = stores[caller % count];
        const first = await store?.append(Counter.stream(id), one);
        const second = await store?.append(Counter.stream(id), [...one, ...one]);
        return [first?.version, second?.version];
      });
      const lasts = new Set(versions.flat());
      expect(lasts.size).toBe(128);
      const stored = await collect((await open()).readStream(Counter, id));
      expect(stored.map(({ version }) => version)).toEqual(
        Array.from({ length: 192 }, (_, index) => index + 1),
      );
    },
  );

  test('an exact version lets one append through for each version', async () => {
    const stores = await times(3, () => open());
    const stream = Counter.stream('exact');
    const rounds = 20;
    const wins = await times(12, async (caller) => {
      let won = 0;
      for (let version = 0; version < rounds;) {
        try {
          const append = stores[caller % 3]?.append(stream, one, { expectedVersion: version });
          version = (await append)?.version ?? 0;
          won += 1;
        } catch (error) {
          if (!(error instanceof ConcurrencyError)) throw error;
          if (error.actualVersion === version) throw error;
          version = error.actualVersion;
        }
      }
      return won;
    });
    expect(wins.reduce((sum, won) => sum + won, 0)).toBe(rounds);
    expect(await stores[0]?.load(Counter, 'exact')).toMatchObject({ version: rounds });
  });

  test('a conflict is an error of Stele that says what to do', async () => {
    const store = await open();
    const append = store.append(Counter.stream('told'), one, { expectedVersion: 4 });
    const error = await rejectionOf(append);
    expect(error).toBeInstanceOf(SteleError);
    expect(error).toMatchObject({
      message:
        "Stream 'counter-told' was expected at version 4, but it does not exist. " +
        'Load it again, decide again, and append with the new version.',
    });
  });
});
