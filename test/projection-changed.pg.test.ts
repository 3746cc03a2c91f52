import { openRuntime, openStore, rebuild } from 'stele';
import { describe, expect, it } from 'vitest';
import { aggregates, Counter } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { useStores } from './support/store.ts';
import { notices, until } from './support/subscriptions.ts';
import { expected, shown, tally } from './support/tally.ts';

const database = useDatabase();
const open = useStores(database);

describe('a projection whose definition has changed since its tables were built', () => {
  it('is refused unless the caller says otherwise', async () => {
    const store = await open();
    await (await openRuntime(store, { run: [tally('refused')] })).close();
    const opening = openRuntime(store, { run: [tally('refused', { step: 2 })] });
    await expect(opening).rejects.toMatchObject({ code: 'projection-changed' });
  });

  it('can be run on the tables as they are', async () => {
    const store = await open();
    await (await openRuntime(store, { run: [tally('warned')] })).close();
    const { all, onNotice } = notices();
    const run = [tally('warned', { step: 2 })];
    const runtime = await openRuntime(store, { run, changedProjections: 'warn', onNotice });
    await store.append(Counter.stream('w'), [Counter.emit.Incremented({ to: 1 })]);
    await runtime.caughtUp();
    expect(all).toContainEqual({ kind: 'projection-changed', projection: 'warned' });
    expect(await shown(database, 'warned')).toEqual(await expected(database, 2));
    await runtime.close();
  });

  it('can be rebuilt in the background, while the old code and its tables go on', async () => {
    const [store, other] = [await open(), await open()];
    const before = await openRuntime(store, { run: [tally('background')], leaseMs: 1_000 });
    await before.caughtUp();
    const heard = notices();
    const after = tally('background', { step: 2 });
    const runtime = await openRuntime(other, {
      run: [after],
      changedProjections: 'rebuild',
      onNotice: heard.onNotice,
    });
    await heard.of('rebuilt');
    // The old code has lost its tables, and leaves the new ones alone.
    await store.append(Counter.stream('b'), [Counter.emit.Incremented({ to: 1 })]);
    await runtime.caughtUp();
    expect(await shown(database, 'background')).toEqual(await expected(database, 2));
    await before.close();
    await store.append(Counter.stream('b'), [Counter.emit.Incremented({ to: 2 })]);
    await runtime.caughtUp();
    expect(await shown(database, 'background')).toEqual(await expected(database, 2));
    await runtime.close();
  });

  it('is rebuilt once when several processes start with the new one', async () => {
    const stores = [await open(), await open(), await open()];
    await (await openRuntime(stores[0]!, { run: [tally('together')] })).close();
    const heard = notices();
    const runtimes = await Promise.all(
      stores.map((store) =>
        openRuntime(store, {
          run: [tally('together', { step: 4 })],
          changedProjections: 'rebuild',
          onNotice: heard.onNotice,
        }),
      ),
    );
    await until(
      () => heard.all.filter(({ kind }) => kind === 'rebuilt' || kind === 'rebuild-failed'),
      (found) => found.length === stores.length,
    );
    expect(heard.all.filter(({ kind }) => kind === 'rebuild-failed')).toEqual([]);
    await runtimes[0]!.caughtUp();
    expect(await shown(database, 'together')).toEqual(await expected(database, 4));
    await Promise.all(runtimes.map((runtime) => runtime.close()));
  });

  it('is refused inline, too, and can be opened to be rebuilt', async () => {
    const before = tally('inline');
    const first = await open({ projections: [before], changedProjections: 'ignore' });
    await rebuild(first, before);
    const after = tally('inline', { step: 2 });
    const options = { connection: database.connectionString, aggregates, projections: [after] };
    await expect(openStore(options)).rejects.toMatchObject({ code: 'projection-changed' });
    const next = await open({ projections: [after], changedProjections: 'ignore' });
    await rebuild(next, after);
    await next.append(Counter.stream('i'), [Counter.emit.Incremented({ to: 1 })]);
    expect(await shown(database, 'inline')).toEqual(await expected(database, 2));
  });
});
