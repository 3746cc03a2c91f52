import { openContestants } from '../contestants.ts';
import { someLines } from '../order.ts';
import { compare } from '../result.ts';
import { rounds, timesOf } from '../rounds.ts';
import type { Row } from '../row.ts';
import { median } from '../statistics.ts';

/** A thousand events of one new stream in one append, as an import makes them. */
export const appendBatch: Row = {
  numbers: ['4'],
  run: async (bench, row) => {
    await using contestants = await openContestants({ ...bench, openPeers: async () => [] });
    const figures = await rounds(
      bench.rounds,
      contestants.all.map(({ name, appendBatch }) => ({
        name,
        slice: async () => {
          const work = (): Promise<unknown> => appendBatch(crypto.randomUUID(), someLines(1_000));
          return 1e9 / median(await timesOf(bench.sliceMs / 80, work));
        },
      })),
    );
    return [
      compare(
        {
          row,
          work: 'append of 1,000 events at once',
          unit: 'events/s',
          subject: 'Stele',
          base: 'plain SQL',
          atLeast: 0.8,
        },
        figures,
      ),
    ];
  },
};
