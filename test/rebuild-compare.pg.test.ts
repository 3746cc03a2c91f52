import { compare, openRuntime, projection, rebuild, type Projection } from 'stele';
import { beforeAll, describe, expect, it } from 'vitest';
import { aggregates, Counter } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { useStores } from './support/store.ts';
import { expected, shown, tally } from './support/tally.ts';

const database = useDatabase();
const open = useStores(database);

beforeAll(async () => {
  const { openStore } = await import('stele');
  const store = await openStore({ connection: database.connectionString, aggregates });
  for (let to = 1; to <= 30; to += 1) {
    await store.append(Counter.stream(`c${to % 3}`), [Counter.emit.Incremented({ to })]);
  }
  await store.close();
});

/** A tally by another logic: leaves one stream out, makes one up, and counts one otherwise. */
function otherLogic(name: string): Projection {
  return projection(name, {
    aggregates: [Counter],
    tables: `
      create table tally (id text primary key, events int not null, last int not null, note text);
      create table extra (what text)`,
    on: {
      Incremented: async ({ streamId, data }, transaction) => {
        if (streamId === 'counter-c0') return;
        const bonus = streamId === 'counter-c1' && data.to === 28 ? 5 : 0;
        await transaction.query(
          `insert into tally values ($1, 1, $2)
           on conflict (id) do update set events = tally.events + 1 + $3, last = excluded.last`,
          [streamId, data.to, bonus],
        );
        if (data.to === 26) await transaction.query(`insert into extra values ('x'), ('x')`);
        if (data.to === 29) {
          await transaction.query(`insert into tally values ('made-up', 0, 0)`);
        }
      },
    },
  });
}

describe('compare', () => {
  it('finds no difference where there is none, with several partitions at different places', async () => {
    const store = await open();
    const same = tally('same', { partitions: 3 });
    const runtime = await openRuntime(store, { run: [same] });
    await runtime.caughtUp();
    expect(await compare(store, same)).toMatchObject({
      same: true,
      tables: [{ table: 'tally', added: 0, removed: 0, changed: 0, samples: [] }],
    });
    await runtime.close();
  });

  it('shows rows that were added, removed and changed, with samples, and changes nothing', async () => {
    const store = await open();
    const runtime = await openRuntime(store, { run: [tally('other')] });
    await runtime.caughtUp();
    const { same, tables } = await compare(store, otherLogic('other'));
    expect(same).toBe(false);
    // A table that only the new definition has is all added; its equal rows count each.
    expect(tables[0]).toMatchObject({ table: 'extra', added: 2, removed: 0, changed: 0 });
    const tallies = tables.find(({ table }) => table === 'tally');
    expect(tallies).toMatchObject({ added: 1, removed: 1, changed: 1 });
    expect(tallies?.columns).toEqual({ added: ['note'], removed: [] });
    expect(tallies?.samples).toContainEqual({
      kind: 'removed',
      before: { id: 'counter-c0', events: 10, last: 30 },
      after: undefined,
    });
    expect(tallies?.samples).toContainEqual({
      kind: 'added',
      before: undefined,
      after: { id: 'made-up', events: 0, last: 0, note: null },
    });
    expect(tallies?.samples).toContainEqual({
      kind: 'changed',
      before: { id: 'counter-c1', events: 10, last: 28 },
      after: { id: 'counter-c1', events: 15, last: 28, note: null },
    });
    expect(await shown(database, 'other')).toEqual(await expected(database));
    await runtime.close();
  });

  it('leaves columns out that are not to count', async () => {
    const store = await open();
    const runtime = await openRuntime(store, { run: [tally('ignored')] });
    await runtime.caughtUp();
    const other = tally('ignored', { step: 2 });
    expect(await compare(store, other)).toMatchObject({ same: false });
    const ignore = { tally: ['events'] };
    expect(await compare(store, other, { ignore })).toMatchObject({ same: true });
    await runtime.close();
  });

  it('has built what the rebuild then exchanges at once', async () => {
    const store = await open();
    const runtime = await openRuntime(store, { run: [tally('built')] });
    await runtime.caughtUp();
    const after = tally('built', { step: 2 });
    await compare(store, after);
    const { events } = await rebuild(store, after);
    expect(events).toBe(0);
    expect(await shown(database, 'built')).toEqual(await expected(database, 2));
    await runtime.close();
  });

  it('says so where there is nothing to compare with', async () => {
    const store = await open();
    await expect(compare(store, tally('nothing'))).rejects.toMatchObject({
      code: 'projection-not-built',
    });
  });
});
