import { describe, expect, test } from 'vitest';

import { Counter, Note, User } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { collect, countStatements, rejectionOf, usePools, useStores } from './support/store.ts';

const database = useDatabase();
const open = useStores(database);
const pools = usePools(database);
const { Incremented } = Counter.emit;

const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);
const written = (count: number) => upTo(count).map((to) => Incremented({ to }));

describe('reading a stream', () => {
  test('that does not exist gives nothing, forwards and backwards', async () => {
    const store = await open();
    expect(await collect(store.readStream(Counter, 'absent'))).toEqual([]);
    expect(await collect(store.readStream(Counter, 'absent', { backwards: true }))).toEqual([]);
  });

  test('gives what appending has answered with', async () => {
    const store = await open();
    const { events } = await store.append(Counter.stream('answer'), written(3), {
      metadata: { userId: 'ann', correlationId: 'c' },
    });
    expect(await collect(store.readStream(Counter, 'answer'))).toEqual(events);
  });

  test.each([
    [{}, [1, 2, 3, 4, 5]],
    [{ from: 3 }, [3, 4, 5]],
    [{ from: 0 }, [1, 2, 3, 4, 5]],
    [{ to: 2 }, [1, 2]],
    [{ from: 2, to: 4 }, [2, 3, 4]],
    [{ from: 2, limit: 2 }, [2, 3]],
    [{ limit: 0 }, []],
    [{ from: 6 }, []],
    [{ from: 4, to: 3 }, []],
    [{ backwards: true }, [5, 4, 3, 2, 1]],
    [{ backwards: true, from: 3 }, [5, 4, 3]],
    [{ backwards: true, to: 3 }, [3, 2, 1]],
    [{ backwards: true, from: 2, to: 4 }, [4, 3, 2]],
    [{ backwards: true, limit: 1 }, [5]],
    [{ backwards: true, from: 2, to: 4, limit: 2 }, [4, 3]],
  ])('%j gives %j', async (range, versions) => {
    const store = await open();
    const stream = Counter.stream(`range-${JSON.stringify(range)}`);
    await store.append(stream, written(5));
    const events = store.readStream(Counter, stream.streamId.slice('counter-'.length), range);
    expect((await collect(events)).map(({ version }) => version)).toEqual(versions);
  });

  test('until a moment gives what was stored up to it, to the millisecond', async () => {
    const store = await open();
    const moments: Date[] = [];
    for (const event of written(3)) {
      const { events } = await store.append(Counter.stream('until'), [event]);
      moments.push(...events.map(({ metadata }) => metadata.timestamp));
      await database.query('select pg_sleep(0.002)');
    }
    const versions = async (until: Date, backwards = false): Promise<number[]> => {
      const events = store.readStream(Counter, 'until', { until, backwards });
      return (await collect(events)).map(({ version }) => version);
    };
    for (const [index, moment] of moments.entries()) {
      expect(await versions(moment)).toEqual(upTo(index + 1));
      expect(await versions(moment, true)).toEqual(upTo(index + 1).toReversed());
      expect(await versions(new Date(moment.getTime() - 1))).toEqual(upTo(index));
    }
  });

  test.each([0, 1, 999, 1_000, 1_001, 2_500])('of %i events gives each once', async (count) => {
    const store = await open();
    const id = `pages-${count}`;
    if (count > 0) await store.append(Counter.stream(id), written(count));
    const forwards = await collect(store.readStream(Counter, id));
    expect(forwards.map(({ data }) => data.to)).toEqual(upTo(count));
    const backwards = await collect(store.readStream(Counter, id, { backwards: true }));
    expect(backwards).toEqual(forwards.toReversed());
    const limited = await collect(store.readStream(Counter, id, { limit: 1_000 }));
    expect(limited).toEqual(forwards.slice(0, 1_000));
    expect(await store.load(Counter, id)).toEqual({ state: { count }, version: count });
  });

  test('may be stopped early, and then fetches no more and holds no connection', async () => {
    const pool = pools({ max: 1 });
    const { sent } = countStatements(pool);
    const store = await open({ pool });
    await store.append(Counter.stream('early'), written(3_500));
    sent.length = 0;
    for await (const { version } of store.readStream(Counter, 'early')) {
      // The one connection of the pool is free in between.
      if (version === 1) await pool.query('select 1');
      if (version === 3) break;
    }
    await pool.query('select 1');
    expect(sent.filter((text) => text.includes('stele'))).toHaveLength(2);
  });

  test('gives events by their names, whatever they are stored as', async () => {
    const store = await open();
    await store.append(Note.stream('name'), [Note.emit.Written({ body: 1 })]);
    const [event] = await collect(store.readStream(Note, 'name'));
    expect(event?.type).toBe('Written');
    expect(
      await database.query(`select type from stele.events where stream_id = 'note-name'`),
    ).toEqual([{ type: 'note.written.v0' }]);
  });

  test.each(['ü-ñ-漢', 'a b', "o'clock", '100%', '"quoted"', '{1,2}', '\\', '-', '🎉', 'NULL'])(
    'takes any id: %s',
    async (id) => {
      const store = await open();
      await store.appendAll([
        { stream: Counter.stream(id), events: written(1) },
        { stream: Counter.stream(`${id}${id}`), events: written(2) },
      ]);
      await store.append(Counter.stream(id), written(1));
      expect(await store.load(Counter, id)).toMatchObject({ version: 2 });
      const [event] = await collect(store.readStream(Counter, id));
      expect(event?.streamId).toBe(`counter-${id}`);
    },
  );

  test('of an aggregate that the store was not opened with is refused', async () => {
    const store = await open({ aggregates: [User] as never });
    const reading = async (): Promise<unknown> => collect(store.readStream(Counter, '1'));
    expect(await rejectionOf(reading())).toMatchObject({ code: 'unknown-aggregate' });
    const append = store.append(Counter.stream('1'), written(1));
    expect(await rejectionOf(append)).toMatchObject({ code: 'unknown-aggregate' });
  });

  test.each([{ from: 1.5 }, { to: Number.NaN }, { limit: -1 }, { until: new Date(Number.NaN) }])(
    '%j is refused',
    async (range) => {
      const store = await open();
      const reading = async (): Promise<unknown> => collect(store.readStream(Counter, '1', range));
      expect(await rejectionOf(reading())).toMatchObject({ code: 'invalid-argument' });
    },
  );
});
