import { openStore, rebuild, type Store } from 'stele';
import { describe, expect, it } from 'vitest';
import { aggregates, Counter } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { useStores } from './support/store.ts';
import { until } from './support/subscriptions.ts';
import { expected, shown, tally } from './support/tally.ts';

const database = useDatabase();
const open = useStores(database);

const add = (store: Store, id: string, to: number) =>
  store.append(Counter.stream(id), [Counter.emit.Incremented({ to })]);

describe('rebuilding an inline projection', () => {
  it('gives events their read model that were stored before it was declared', async () => {
    const store = await open();
    for (let to = 1; to <= 50; to += 1) await add(store, `old-${to % 3}`, to);
    const late = tally('late');
    const opening = openStore({
      connection: database.connectionString,
      aggregates,
      projections: [late],
    });
    await expect(opening).rejects.toMatchObject({ code: 'projection-not-built' });

    const next = await open({ projections: [late], changedProjections: 'ignore' });
    await expect(add(next, 'too-early', 1)).rejects.toMatchObject({ code: 'projection-not-built' });
    await rebuild(next, late);
    await add(next, 'in-time', 1);
    expect(await shown(database, 'late')).toEqual(await expected(database));
  });

  it('under load is exact, and appends of the old code are refused from the swap on', async () => {
    const [before, after] = [tally('inline'), tally('inline', { step: 100 })];
    const empty = await open();
    await rebuild(await open({ projections: [before], changedProjections: 'ignore' }), before);
    const old = await open({ projections: [before] });
    const refused: unknown[] = [];
    const done = new AbortController();
    const writers = [1, 2, 3, 4].map(async (stream) => {
      for (let to = 1; !done.signal.aborted; to += 1) {
        await add(old, `old-code-${stream}`, to).catch((error: unknown) => refused.push(error));
      }
    });
    const next = await open({ projections: [after], changedProjections: 'ignore' });
    await until(
      () => empty.load(Counter, 'old-code-1'),
      ({ version }) => version > 5,
    );
    await rebuild(next, after);
    await until(
      () => refused.length,
      (count) => count > 0,
    );
    done.abort();
    await Promise.all(writers);
    for (const error of refused) expect(error).toMatchObject({ code: 'projection-changed' });
    await add(next, 'new-code', 1);
    expect(await shown(database, 'inline')).toEqual(await expected(database, 100));
  });

  it('waits for a transaction that has appended, and appends go on behind it', async () => {
    const [before, after] = [tally('patient'), tally('patient', { step: 3 })];
    await rebuild(await open({ projections: [before], changedProjections: 'ignore' }), before);
    const store = await open({ projections: [before] });
    const session = await database.connect();
    await session.query('begin');
    await store.append(Counter.stream('held'), [Counter.emit.Incremented({ to: 1 })], {
      transaction: session,
    });
    const next = await open({ projections: [after], changedProjections: 'ignore' });
    const rebuilding = rebuild(next, after);
    // It has to wait, and nobody waits behind it for ever.
    await add(await open(), 'meanwhile', 1);
    await session.query('commit');
    await rebuilding;
    expect(await shown(database, 'patient')).toEqual(await expected(database, 3));
  });
});
