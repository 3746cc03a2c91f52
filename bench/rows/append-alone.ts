import { orders } from '../contestant.ts';
import { openContestants, peersOf } from '../contestants.ts';
import { someLine } from '../order.ts';
import { compare } from '../result.ts';
import { rounds, timesOf } from '../rounds.ts';
import type { Row } from '../row.ts';
import { median } from '../statistics.ts';

/** One caller, who waits for each append before the next: what a single request feels. */
export const appendAlone: Row = {
  numbers: ['1'],
  run: async (bench, row) => {
    await using contestants = await openContestants(bench);
    const { all } = contestants;
    const figures = await rounds(
      bench.rounds,
      all.map(({ name, append }) => {
        const next = orders();
        const work = (): Promise<unknown> => {
          const { order, version } = next();
          return append(order, version, someLine());
        };
        return { name, slice: async () => median(await timesOf(bench.sliceMs / 4, work)) };
      }),
    );
    const line = { row, work: 'append, 1 caller, median', unit: 'µs', subject: 'Stele' } as const;
    return [
      compare({ ...line, base: 'plain SQL', atMost: 1.25 }, figures),
      ...peersOf(all).map((base) => compare({ ...line, base }, figures)),
    ];
  },
};
