import { orders } from '../contestant.ts';
import { someLine } from '../order.ts';
import { compare } from '../result.ts';
import { rateOf, rounds } from '../rounds.ts';
import type { Row } from '../row.ts';
import { openStele } from '../stele.ts';

const callers = 64;

/** Everybody appends to the same stream, where each append must wait for the one before it. */
export const hotStream: Row = {
  numbers: ['5'],
  run: async (bench, row) => {
    await using stele = await openStele(await bench.createDatabase());
    let failures = 0;
    const hot = crypto.randomUUID();
    const next = Array.from({ length: callers }, orders);
    const figures = await rounds(bench.rounds, [
      {
        name: 'one stream',
        slice: () =>
          rateOf(callers, bench.sliceMs, async () => {
            await stele.append(hot, 0, someLine()).catch(() => (failures += 1));
          }),
      },
      {
        name: 'distinct streams',
        slice: () =>
          rateOf(callers, bench.sliceMs, async (caller) => {
            const step = next[caller]?.();
            if (step !== undefined) await stele.append(step.order, step.version, someLine());
          }),
      },
    ]);
    const result = compare(
      {
        row,
        work: `append, ${callers} callers, one hot stream: ${failures} failures`,
        unit: 'events/s',
        subject: 'one stream',
        base: 'distinct streams',
        atLeast: 0.5,
      },
      figures,
    );
    return [{ ...result, passed: result.passed === true && failures === 0 }];
  },
};
