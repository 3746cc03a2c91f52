import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { openRuntime, openStore, type Runtime, type Store } from 'stele';

import { heardFrom, startChild } from '../children.ts';
import { orders } from '../contestant.ts';
import { Lines } from '../lines.ts';
import { metadata, Order, someLine } from '../order.ts';
import { measure, type Result } from '../result.ts';
import type { Bench, Row } from '../row.ts';
import { median, percentile } from '../statistics.ts';

const appendsPerSecond = 500;

/**
 * How soon an append is in a read model that is made behind it. Appends come at fixed times, however
 * long the earlier ones take, and each is measured from the time that it was due; the timer that starts
 * it goes off up to a millisecond later.
 *
 * - "visible": another connection, which asks all the time, gets it from the read model's table. It
 *   looks once in a millisecond or two, so that what it says is late by half of that.
 * - "waitFor": Stele says so itself, to whoever has appended.
 */
export const visible: Row = {
  numbers: ['9'],
  run: async (bench, row) => {
    await using here = await openSetting(bench, 'here');
    await using elsewhere = await openSetting(bench, 'elsewhere');
    const settings = [
      { setting: here, where: 'same process' },
      { setting: elsewhere, where: 'another process' },
    ] as const;
    const trials = settings.flatMap(({ setting, where }) => [
      { where, how: 'visible', run: () => untilVisible(setting, bench.sliceMs) },
      { where, how: 'waitFor', run: () => untilWaitedFor(setting, bench.sliceMs) },
    ]);
    const results: Result[] = [];
    const figures = trials.map((): Delays[] => []);
    for (let round = 0; round <= bench.rounds; round += 1) {
      for (const [index, { run }] of trials.entries()) {
        globalThis.gc?.();
        const delays = await run();
        if (round > 0) figures[index]?.push(delays);
      }
    }
    for (const [index, { where, how }] of trials.entries()) {
      const found = figures[index] ?? [];
      const line = { row, unit: 'ms', subject: 'Stele' } as const;
      const isTarget = how === 'visible';
      const name = `append, ${appendsPerSecond}/s, to ${how}, ${where}`;
      results.push(
        measure(
          { ...line, work: `${name}: median`, ...(isTarget && { atMost: 5 }) },
          found.map(({ fromDue }) => median(fromDue)),
        ),
        measure(
          { ...line, work: `${name}: 99th percentile`, ...(isTarget && { atMost: 25 }) },
          found.map(({ fromDue }) => percentile(fromDue, 99)),
        ),
        measure(
          { ...line, work: `${name}: median since acknowledged` },
          found.map(({ fromAcknowledged }) => median(fromAcknowledged)),
        ),
      );
    }
    return results;
  },
};

/** In milliseconds, one for each append. */
interface Delays {
  readonly fromDue: readonly number[];
  readonly fromAcknowledged: readonly number[];
}

interface Setting extends AsyncDisposable {
  readonly store: Store;
  /** It runs the read model, or only waits for what another process runs. */
  readonly runtime: Runtime;
  /** How far the read model has come, for everybody to see. */
  readonly visible: () => Promise<number>;
}

async function openSetting(bench: Bench, where: 'here' | 'elsewhere'): Promise<Setting> {
  const connection = await bench.createDatabase();
  const store = await openStore({ connection, aggregates: [Order] });
  const child = where === 'here' ? undefined : startChild('runtime-process.ts', [connection]);
  if (child !== undefined) await heardFrom(child);
  const runtime = await openRuntime(store, { run: where === 'here' ? [Lines] : [] });
  const observer = new pg.Client({ connectionString: connection });
  await observer.connect();
  return {
    store,
    runtime,
    visible: async () => {
      const { rows } = await observer.query<{ position: string | null }>({
        name: 'visible',
        text: 'select max(position) as position from stele_lines.lines',
      });
      return Number(rows[0]?.position ?? 0);
    },
    [Symbol.asyncDispose]: async () => {
      await observer.end();
      await child?.[Symbol.asyncDispose]();
      await store.close();
    },
  };
}

async function untilVisible(setting: Setting, ms: number): Promise<Delays> {
  const waiting: { position: number; due: number; acknowledged: number }[] = [];
  const fromDue: number[] = [];
  const fromAcknowledged: number[] = [];
  const appending = { ended: false };
  const observe = async (): Promise<void> => {
    while (!appending.ended || waiting.length > 0) {
      const position = await setting.visible();
      const now = performance.now();
      const seen = waiting.filter((append) => append.position <= position);
      for (const { due, acknowledged } of seen) {
        fromDue.push(now - due);
        fromAcknowledged.push(now - acknowledged);
      }
      const left = waiting.filter((append) => append.position > position);
      waiting.splice(0, waiting.length, ...left);
      await delay(1);
    }
  };
  const observed = observe();
  await appendOnTime(setting, ms, async (position, due, acknowledged) => {
    waiting.push({ position, due, acknowledged });
  });
  appending.ended = true;
  await observed;
  return { fromDue, fromAcknowledged };
}

async function untilWaitedFor(setting: Setting, ms: number): Promise<Delays> {
  const fromDue: number[] = [];
  const fromAcknowledged: number[] = [];
  await appendOnTime(setting, ms, async (position, due, acknowledged) => {
    await setting.runtime.waitFor(Lines, position, { timeoutMs: 60_000 });
    fromDue.push(performance.now() - due);
    fromAcknowledged.push(performance.now() - acknowledged);
  });
  return { fromDue, fromAcknowledged };
}

/** Appends at fixed times, and resolves when all that follows from each has ended. */
async function appendOnTime(
  { store }: Setting,
  ms: number,
  then: (position: number, due: number, acknowledged: number) => Promise<void>,
): Promise<void> {
  const next = orders();
  const append = async (due: number): Promise<void> => {
    const events = [Order.emit.LineAdded(someLine())];
    const { position } = await store.append(Order.stream(next().order), events, { metadata });
    await then(position, due, performance.now());
  };
  const started = performance.now();
  const count = (ms * appendsPerSecond) / 1_000;
  const pieces: Promise<void>[] = [];
  for (let piece = 0; piece < count; piece += 1) {
    const due = started + (piece * 1_000) / appendsPerSecond;
    const early = due - performance.now();
    if (early > 0) await delay(early);
    pieces.push(append(due));
  }
  await Promise.all(pieces);
}
