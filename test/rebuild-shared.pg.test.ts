import {
  cancelRebuild,
  compare,
  openRuntime,
  openStore,
  projection,
  rebuild,
  rollback,
  type Projection,
  type Store,
} from 'stele';
import { beforeAll, describe, expect, it } from 'vitest';
import { aggregates, Counter } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { useStores } from './support/store.ts';
import { until } from './support/subscriptions.ts';
import { expected, shown, tally } from './support/tally.ts';

const database = useDatabase();
const open = useStores(database);
const add = (store: Store, id: string, to: number) =>
  store.append(Counter.stream(id), [Counter.emit.Incremented({ to })]);

beforeAll(async () => {
  const store = await openStore({ connection: database.connectionString, aggregates });
  const events = Array.from({ length: 50 }, (_, to) => Counter.emit.Incremented({ to }));
  for (let n = 0; n < 10; n += 1) await store.append(Counter.stream(`s${n}`), events);
  await store.close();
});

/** Runs a projection once, so that it has live tables. */
async function run(store: Store, of: Projection): Promise<void> {
  const runtime = await openRuntime(store, { run: [of] });
  await runtime.caughtUp();
  await runtime.close();
}

describe('two processes', () => {
  it('that rebuild the same, in several partitions and under load, both succeed', async () => {
    const [one, two, writer] = [await open(), await open(), await open()];
    await run(one, tally('both', { partitions: 4 }));
    const after = tally('both', { step: 3, partitions: 4 });
    const done = new AbortController();
    const writing = (async () => {
      for (let to = 100; !done.signal.aborted; to += 1) await add(writer, `s${to % 10}`, to);
    })();
    await Promise.all([rebuild(one, after), rebuild(two, after)]);
    done.abort();
    await writing;
    await run(one, after);
    expect(await shown(database, 'both')).toEqual(await expected(database, 3));
  });

  it('that rebuild by two definitions never mix them', async () => {
    const [one, two] = [await open(), await open()];
    await run(one, tally('mixed'));
    // It keeps both from knowing how far they may read, so that each has its shadow made meanwhile.
    const session = await database.connect();
    await session.query('begin');
    await one.append(Counter.stream('held'), [Counter.emit.Incremented({ to: 1 })], {
      transaction: session,
    });
    const first = rebuild(one, tally('mixed', { step: 10 })).catch(() => undefined);
    await until(
      () => database.query(`select from pg_namespace where nspname = 'stele_mixed__new'`),
      (rows) => rows.length > 0,
    );
    const second = rebuild(two, tally('mixed', { step: 100 })).catch(() => undefined);
    await until(
      () =>
        database.query<{ n: number }>(
          `select count(*)::int as n from stele.subscriptions where starts_with(name, 'mixed~')`,
        ),
      ([row]) => row?.n === 1,
    );
    await session.query('commit');
    const results = await Promise.all([first, second]);
    expect(results.filter((result) => result !== undefined).length).toBeGreaterThan(0);
    // All of it is made by one of them, or by the one before.
    const whole = await Promise.all([1, 10, 100].map((step) => expected(database, step)));
    expect(whole).toContainEqual(await shown(database, 'mixed'));
  });
});

it('cancelling ends a rebuild that is at work', async () => {
  const [store, other] = [await open(), await open()];
  await run(store, tally('cancelled'));
  for (let round = 0; round < 3; round += 1) {
    const after = tally('cancelled', { step: 2 + round });
    const rebuilding = rebuild(store, after).then(
      () => 'done',
      () => 'cancelled',
    );
    await cancelRebuild(other, after);
    expect(['done', 'cancelled']).toContain(await rebuilding);
  }
});

describe('the number of partitions', () => {
  it('may change between a comparison and the rebuild', async () => {
    const store = await open();
    await run(store, tally('changed', { partitions: 2 }));
    await compare(store, tally('changed', { step: 2, partitions: 2 }));
    const after = tally('changed', { step: 2, partitions: 4 });
    await rebuild(store, after);
    await run(store, after);
    expect(await shown(database, 'changed')).toEqual(await expected(database, 2));
  });

  it('and the mode may change by a rebuild, and both be taken back', async () => {
    const before = tally('mode');
    const inline = await open({ projections: [before], changedProjections: 'ignore' });
    await rebuild(inline, before);
    await inline.close();
    const store = await open();
    const after = tally('mode', { step: 7, partitions: 4 });
    await rebuild(store, after, { mode: 'async' });
    await run(store, after);
    expect(await shown(database, 'mode')).toEqual(await expected(database, 7));
    await rollback(store, before);
    await run(store, before);
    expect(await shown(database, 'mode')).toEqual(await expected(database));
  });
});

describe('what is not to be lost', () => {
  it('a rollback that was aborted can be called again', async () => {
    const store = await open();
    const [before, after] = [tally('aborted'), tally('aborted', { step: 2 })];
    await run(store, before);
    await rebuild(store, after);
    const cancel = new AbortController();
    const onProgress = (): void => {
      cancel.abort(new Error('enough'));
    };
    const first = rollback(store, before, { signal: cancel.signal, onProgress });
    await expect(first).rejects.toThrow('enough');
    await rollback(store, before);
    expect(await shown(database, 'aborted')).toEqual(await expected(database));
  });

  it('a first rebuild that was aborted is as if it had never been', async () => {
    const store = await open();
    const cancel = new AbortController();
    const first = rebuild(store, tally('first'), {
      signal: cancel.signal,
      onProgress: () => {
        cancel.abort(new Error('enough'));
      },
    });
    await expect(first).rejects.toThrow('enough');
    await run(store, tally('first'));
    expect(await shown(database, 'first')).toEqual(await expected(database));
  });

  it('events that were set aside keep one from going back to tables without them', async () => {
    const store = await open();
    const failing = projection('parked', {
      aggregates: [Counter],
      version: 'failing',
      attempts: 1,
      onFailure: 'park',
      tables: 'create table tally (id text primary key, events int not null, last int not null)',
      on: {
        Incremented: ({ streamId, version }) => {
          if (streamId === 'counter-s1' && version === 10) throw new Error('no');
        },
      },
    });
    const runtime = await openRuntime(store, { run: [failing], onNotice: () => undefined });
    await runtime.caughtUp();
    await runtime.close();
    await rebuild(store, tally('parked'));
    await expect(rollback(store, failing)).rejects.toThrow('No earlier tables');
  });

  it('a projection that gets tables begins at the beginning', async () => {
    const store = await open();
    await database.query('create table ticks (n int)');
    const without = projection('later', {
      aggregates: [Counter],
      on: { Incremented: async (_, sql) => void (await sql.query('insert into ticks values (1)')) },
    });
    await run(store, without);
    await run(store, tally('later'));
    expect(await shown(database, 'later')).toEqual(await expected(database));
  });
});
