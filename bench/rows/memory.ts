import { heardFrom, startChild } from '../children.ts';
import { createFilled } from '../filled.ts';
import type { Sample } from '../memory-process.ts';
import { compare, type Result } from '../result.ts';
import type { Row } from '../row.ts';

/** Whether memory stays flat, however many events there are. */
export const memory: Row = {
  numbers: ['memory'],
  run: async (bench, row) => {
    const events = bench.size(5_000_000);
    const connection = await createFilled(bench, events);
    const results: Result[] = [];
    for (const how of ['subscription', 'store.read()'] as const) {
      await using child = startChild('memory-process.ts', [connection, how]);
      const samples = await heardFrom<readonly Sample[]>(child);
      const work = `memory of ${how}, ${(events / 1e6).toLocaleString('en')} M events`;
      const line = { row, unit: 'MB', subject: 'last quarter', base: 'first quarter' } as const;
      for (const kind of ['heap', 'resident'] as const) {
        const peak = (from: number, to: number): readonly number[] => [
          Math.max(
            ...samples
              .filter(({ handled }) => handled > events * from && handled <= events * to)
              .map((sample) => sample[kind] / 2 ** 20),
          ),
        ];
        const figures = { 'first quarter': peak(0, 0.25), 'last quarter': peak(0.75, 1) };
        results.push(compare({ ...line, work: `${work}: ${kind}, peak`, atMost: 1.1 }, figures));
      }
    }
    return results;
  },
};
