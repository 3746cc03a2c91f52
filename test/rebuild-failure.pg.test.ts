import { cancelRebuild, openRuntime, projection, rebuild, type Projection } from 'stele';
import { beforeAll, describe, expect, it } from 'vitest';
import { aggregates, Counter, Note } from './support/aggregates.ts';
import { useDatabase } from './support/database.ts';
import { useStores } from './support/store.ts';
import { until } from './support/subscriptions.ts';
import { expected, shown, tally } from './support/tally.ts';
import { startWorkerProcess } from './support/worker-process.ts';

const database = useDatabase();
const open = useStores(database);
const count = 400;

beforeAll(async () => {
  const { openStore } = await import('stele');
  const store = await openStore({ connection: database.connectionString, aggregates });
  for (let n = 1; n < count; n += 1) {
    void store.append(Counter.stream(`c${n % 9}`), [Counter.emit.Incremented({ to: n })]);
  }
  await store.append(Counter.stream('last'), [Counter.emit.Incremented({ to: count })]);
  await store.close();
});

/** Whether there is a schema of this name. */
async function hasSchema(name: string): Promise<boolean> {
  const rows = await database.query('select from pg_namespace where nspname = $1', [name]);
  return rows.length > 0;
}

/** A tally whose handler fails at one number until it is told otherwise. */
function failing(name: string, at: number, isMended: () => boolean): Projection {
  return projection(name, {
    aggregates: [Counter],
    version: 'failing',
    tables: 'create table tally (id text primary key, events int not null, last int not null)',
    attempts: 1,
    on: {
      Incremented: async ({ streamId, data }, transaction) => {
        if (data.to === at && !isMended()) throw new Error(`cannot count to ${at}`);
        await transaction.query(
          `insert into tally values ($1, 1, $2)
           on conflict (id) do update set events = tally.events + 1, last = excluded.last`,
          [streamId, data.to],
        );
      },
    },
  });
}

describe('a rebuild whose handler fails', () => {
  it('leaves the live tables as they are, says which event it was, and goes on when it is mended', async () => {
    const store = await open();
    const runtime = await openRuntime(store, { run: [tally('mended', { step: 3 })] });
    await runtime.caughtUp();
    let isMended = false;
    const after = failing('mended', 250, () => isMended);
    await expect(rebuild(store, after)).rejects.toMatchObject({
      code: 'rebuild-failed',
      message: expect.stringContaining('cannot count to 250') as string,
    });
    expect(await shown(database, 'mended')).toEqual(await expected(database, 3));
    // The live tables go on.
    await store.append(Counter.stream('more'), [Counter.emit.Incremented({ to: 1_000 })]);
    await runtime.caughtUp();
    expect(await shown(database, 'mended')).toEqual(await expected(database, 3));

    isMended = true;
    const { events } = await rebuild(store, after);
    expect(events).toBeLessThan(count); // it went on where it was
    expect(await shown(database, 'mended')).toEqual(await expected(database));
    await runtime.close();
  });

  it('begins anew with another definition', async () => {
    const store = await open();
    const runtime = await openRuntime(store, { run: [tally('anew')] });
    await runtime.caughtUp();
    await expect(
      rebuild(
        store,
        failing('anew', 250, () => false),
      ),
    ).rejects.toThrow('count to 250');
    await rebuild(store, tally('anew', { step: 7 }));
    expect(await shown(database, 'anew')).toEqual(await expected(database, 7));
    await runtime.close();
  });
});

describe('a rebuild that is cancelled', () => {
  it('by a signal, leaves nothing behind', async () => {
    const store = await open();
    const runtime = await openRuntime(store, { run: [tally('cancelled')] });
    await runtime.caughtUp();
    const cancel = new AbortController();
    const rebuilding = rebuild(store, tally('cancelled', { step: 2 }), {
      signal: cancel.signal,
      onProgress: ({ phase }) => {
        if (phase === 'building') cancel.abort(new Error('enough'));
      },
    });
    await expect(rebuilding).rejects.toThrow('enough');
    expect(await hasSchema('stele_cancelled__new')).toBe(false);
    expect(await shown(database, 'cancelled')).toEqual(await expected(database));
    const names = (await runtime.status()).map(({ name }) => name);
    expect(names).not.toContain(expect.stringContaining('cancelled~'));
    await runtime.close();
  });

  it('from elsewhere, ends with an error', async () => {
    const [store, elsewhere] = [await open(), await open()];
    const runtime = await openRuntime(store, { run: [tally('elsewhere')] });
    await runtime.caughtUp();
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    let isInside = false;
    const slow = projection('elsewhere', {
      aggregates: [Counter],
      tables: 'create table tally (id text primary key, events int not null, last int not null)',
      on: {
        Incremented: async () => {
          isInside = true;
          await gate;
        },
      },
    });
    const rebuilding = rebuild(store, slow).catch((error: unknown) => error);
    await until(
      () => isInside,
      (inside) => inside,
    );
    const cancelling = cancelRebuild(elsewhere, slow);
    release();
    await cancelling;
    expect(await rebuilding).toMatchObject({ code: 'rebuild-failed' });
    expect(await hasSchema('stele_elsewhere__new')).toBe(false);
    await runtime.close();
  });
});

it('a rebuild emits nothing: a handler that appends is refused, and nothing is stored twice', async () => {
  const store = await open();
  const appending = (version: number): Projection =>
    projection('appending', {
      aggregates: [Counter],
      version,
      attempts: 1,
      tables: 'create table seen (id text)',
      on: {
        Incremented: async ({ streamId, data }, transaction) => {
          if (streamId !== 'counter-echoed') return;
          const echo = [Note.emit.Written({ body: data.to })];
          await store.append(Note.stream('echo'), echo, { transaction });
        },
      },
    });
  const runtime = await openRuntime(store, { run: [appending(1)] });
  await store.append(Counter.stream('echoed'), [Counter.emit.Incremented({ to: 1 })]);
  await runtime.caughtUp();
  const stored = async (): Promise<number> => (await store.load(Note, 'echo')).version;
  expect(await stored()).toBe(1);
  await expect(rebuild(store, appending(2))).rejects.toMatchObject({ code: 'rebuild-failed' });
  expect(await stored()).toBe(1);
  await runtime.close();
});

it('a rebuild whose process is killed goes on in another one, exactly', async () => {
  const store = await open();
  const runtime = await openRuntime(store, { run: [tally('killed')] });
  await runtime.caughtUp();
  const script = `
    import { openStore, rebuild, projection } from 'stele';
    import { aggregates, Counter } from './test/support/aggregates.ts';
    import { tally } from './test/support/tally.ts';
    const store = await openStore({ connection: process.env.CONNECTION, aggregates });
    await store.append(Counter.stream('by-child'), [Counter.emit.Incremented({ to: 1 })]);
    console.log('ready');
    const slow = tally('killed', { step: 11 });
    await rebuild(store, slow, { leaseMs: 500 });`;
  // Each event takes a moment, so that there is a middle to be killed in.
  await database.query(
    `create function slowly() returns trigger language plpgsql as 'begin perform pg_sleep(0.002); return new; end'`,
  );
  await database.query(`
    create function slow_tables() returns event_trigger language plpgsql as $$
    begin
      if exists (select from pg_event_trigger_ddl_commands() where object_identity like 'stele_killed\\_\\_new.tally') then
        create trigger slowly before insert or update on stele_killed__new.tally for each row execute function public.slowly();
      end if;
    end $$`);
  await database.query(
    `create event trigger slow_tables on ddl_command_end when tag in ('CREATE TABLE') execute function slow_tables()`,
  );
  await using child = await startWorkerProcess(script, database.connectionString);
  await until(
    () =>
      database.query<{ checkpoint: string }>(
        `select checkpoint from stele.partitions where subscription like 'killed~%'`,
      ),
    ([row]) => Number(row?.checkpoint ?? 0) > 0,
  );
  child.signal('SIGKILL');
  await child.exited;
  await database.query('drop event trigger slow_tables');
  expect(await shown(database, 'killed')).toEqual(await expectedWithout(1));

  const { events } = await rebuild(store, tally('killed', { step: 11 }), { leaseMs: 500 });
  expect(events).toBeLessThan(count + 1);
  expect(await shown(database, 'killed')).toEqual(await expected(database, 11));
  await runtime.close();

  async function expectedWithout(step: number) {
    await runtime.caughtUp();
    return expected(database, step);
  }
});
