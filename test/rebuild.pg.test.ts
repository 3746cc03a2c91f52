import { openRuntime, rebuild, rollback, type RebuildProgress, type Store } from 'stele';
import { describe, expect, it } from 'vitest';
import { Counter } from './support/aggregates.ts';
import { useDatabase, type TestDatabase } from './support/database.ts';
import { useStores } from './support/store.ts';
import { expected, shown, tally, tallyBatches } from './support/tally.ts';

const database = useDatabase();
const open = useStores(database);

const add = (store: Store, id: string, to: number) =>
  store.append(Counter.stream(id), [Counter.emit.Incremented({ to })]);

/** Appends to some streams until it is stopped. */
function write(store: Store, name: string): () => Promise<number> {
  const stop = new AbortController();
  let count = 0;
  const writer = async (stream: number): Promise<void> => {
    for (let to = 1; !stop.signal.aborted; to += 1) {
      await add(store, `${name}-${stream}`, to);
      count += 1;
    }
  };
  const writers = Promise.all([1, 2, 3].map(writer));
  return async () => {
    stop.abort();
    await writers;
    return count;
  };
}

/** Looks at a read model without a pause; what it has seen. */
function watch(of: TestDatabase, name: string): () => Promise<readonly number[]> {
  const stop = new AbortController();
  const sums: number[] = [];
  const watching = (async () => {
    while (!stop.signal.aborted) {
      const [row] = await of.query<{ sum: string | null }>(
        `select sum(events) as sum from "stele_${name}".tally`,
      );
      sums.push(Number(row?.sum ?? 0));
    }
  })();
  return async () => {
    stop.abort();
    await watching;
    return sums;
  };
}

describe('a rebuild under load', () => {
  it('is exact, and readers see the old or the new tables and nothing in between', async () => {
    const store = await open();
    const before = tally('loaded', { partitions: 2 });
    for (let n = 0; n < 300; n += 1) void add(store, `first-${n % 7}`, n);
    await add(store, 'first', 1);
    const runtime = await openRuntime(store, { run: [before] });
    await runtime.caughtUp();
    // A transaction that has nothing to do with it, but has looked at the live tables.
    const idle = await database.connect();
    await idle.query('begin');
    await idle.query('select count(*) from "stele_loaded".tally');

    const stop = write(store, 'during');
    const look = watch(database, 'loaded');
    // The new logic counts a thousand for each event: a sum says which tables it is of.
    const after = tally('loaded', { step: 1_000, partitions: 3 });
    const result = await rebuild(store, after);
    await stop();
    const sums = await look();
    await runtime.close();
    const next = await openRuntime(store, { run: [after] });
    await next.caughtUp();
    await idle.query('rollback');

    expect(await shown(database, 'loaded')).toEqual(await expected(database, 1_000));
    const firstNew = sums.findIndex((sum) => sum >= 1_000 * 301);
    const old = firstNew === -1 ? sums : sums.slice(0, firstNew);
    expect(old.every((sum) => sum >= 301 && sum < 301_000)).toBe(true);
    expect(sums).toEqual(sums.toSorted((a, b) => a - b));
    expect(result.position).toBeGreaterThan(300);
    await next.close();
  });

  it('reads no further than a transaction that has appended and stays open', async () => {
    const store = await open();
    const runtime = await openRuntime(store, { run: [tally('stalled')] });
    await add(store, 'a', 1);
    await runtime.caughtUp();
    const session = await database.connect();
    await session.query('begin');
    const transaction = session;
    await store.append(Counter.stream('held'), [Counter.emit.Incremented({ to: 1 })], {
      transaction,
    });
    await add(store, 'a', 2);
    const after = tally('stalled', { step: 10 });
    await rebuild(store, after);
    await session.query('commit');
    await runtime.close();
    const next = await openRuntime(store, { run: [after] });
    await next.caughtUp();
    expect(await shown(database, 'stalled')).toEqual(await expected(database, 10));
    await next.close();
  });
});

describe('a rebuild', () => {
  it('tells how far it is, and how many events it has handled', async () => {
    const store = await open();
    const runtime = await openRuntime(store, { run: [tallyBatches('told')] });
    await runtime.caughtUp();
    const progress: RebuildProgress[] = [];
    const result = await rebuild(store, tallyBatches('told', 2), {
      onProgress: (step) => progress.push(step),
    });
    const total = (await expected(database)).reduce((sum, { events }) => sum + events, 0);
    expect(result.events).toBe(total);
    expect(progress.at(-1)).toMatchObject({ phase: 'done', handled: total, total });
    expect(progress[0]).toMatchObject({ phase: 'building', total });
    expect(await shown(database, 'told')).toEqual(await expected(database, 2));
    await runtime.close();
  });

  it('of the same definition mends tables that somebody has damaged', async () => {
    const store = await open();
    const same = tally('damaged');
    const runtime = await openRuntime(store, { run: [same] });
    await runtime.caughtUp();
    await database.query('update "stele_damaged".tally set events = 0');
    await rebuild(store, same);
    await add(store, 'after', 1);
    await runtime.caughtUp();
    expect(await shown(database, 'damaged')).toEqual(await expected(database));
    await runtime.close();
  });

  it('keeps the rights that were granted on the tables', async () => {
    const store = await open();
    const runtime = await openRuntime(store, { run: [tally('granted')] });
    await runtime.caughtUp();
    const role = `stele_test_reader_${process.pid}`;
    await database.query(`create role ${role}`);
    await database.query(`grant usage on schema "stele_granted" to ${role}`);
    await database.query(`grant select on "stele_granted".tally to ${role}`);
    await rebuild(store, tally('granted', { step: 2 }));
    const [can] = await database.query<{ use: boolean; read: boolean; write: boolean }>(
      `select has_schema_privilege($1, 'stele_granted', 'usage') as use,
         has_table_privilege($1, 'stele_granted.tally', 'select') as read,
         has_table_privilege($1, 'stele_granted.tally', 'insert') as write`,
      [role],
    );
    expect(can).toEqual({ use: true, read: true, write: false });
    await database.query(`drop owned by ${role}`);
    await database.query(`drop role ${role}`);
    await runtime.close();
  });

  it('can be taken back for a while, with what has come since', async () => {
    const store = await open();
    const [before, after] = [tally('back', { partitions: 2 }), tally('back', { step: 5 })];
    const runtime = await openRuntime(store, { run: [before] });
    await runtime.caughtUp();
    await rebuild(store, after);
    await runtime.close();
    await add(store, 'since', 1);
    await rollback(store, before);
    expect(await shown(database, 'back')).toEqual(await expected(database));
    // And forth again.
    await add(store, 'since', 2);
    await rollback(store, after);
    expect(await shown(database, 'back')).toEqual(await expected(database, 5));
    await expect(rollback(store, tally('back', { step: 9 }))).rejects.toMatchObject({
      code: 'invalid-argument',
    });
  });

  it('keeps the earlier tables for as long as it was told', async () => {
    const store = await open();
    const runtime = await openRuntime(store, { run: [tally('kept')] });
    await runtime.caughtUp();
    await rebuild(store, tally('kept', { step: 2 }), { keepMs: 0 });
    await rebuild(store, tally('kept', { step: 3 }));
    const schemas = await database.query<{ kept: string | null }>(
      `select kept_fingerprint as kept from stele.projections where name = 'kept'`,
    );
    expect(schemas[0]?.kept).not.toBeNull();
    await expect(rollback(store, tally('kept'))).rejects.toThrow('another definition');
    await rollback(store, tally('kept', { step: 2 }));
    expect(await shown(database, 'kept')).toEqual(await expected(database, 2));
    await runtime.close();
  });
});
