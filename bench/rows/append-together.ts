import { orders } from '../contestant.ts';
import { openContestants, peersOf } from '../contestants.ts';
import { someLine } from '../order.ts';
import { compare } from '../result.ts';
import { rateOf, rounds } from '../rounds.ts';
import type { Row } from '../row.ts';

/** Many callers in one process, each with orders of its own: what a busy service stores. */
export const appendTogether: Row = {
  numbers: ['2', '3'],
  run: async (bench, row) => {
    const callers = row === '2' ? 64 : 1_024;
    await using contestants = await openContestants(bench);
    const { all } = contestants;
    const figures = await rounds(
      bench.rounds,
      all.map(({ name, append }) => {
        const next = Array.from({ length: callers }, orders);
        const work = async (caller: number): Promise<void> => {
          const step = next[caller]?.();
          if (step !== undefined) await append(step.order, step.version, someLine());
        };
        return { name, slice: () => rateOf(callers, bench.sliceMs, work) };
      }),
    );
    const line = {
      row,
      work: `append, ${callers.toLocaleString('en')} callers`,
      unit: 'events/s',
      subject: 'Stele',
    } as const;
    return [
      compare({ ...line, base: 'plain SQL', atLeast: row === '2' ? 2 : 3.5 }, figures),
      ...peersOf(all).map((base) =>
        compare(
          { ...line, base, ...(row === '2' && base.startsWith('Emmett') && { atLeast: 8 }) },
          figures,
        ),
      ),
    ];
  },
};
