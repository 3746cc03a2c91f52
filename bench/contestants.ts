import type { Contestant } from './contestant.ts';
import { openPlain } from './plain.ts';
import type { Bench } from './row.ts';
import { openStele } from './stele.ts';

/** Everybody who takes part in a row, each with tables of its own in one database. */
export async function openContestants(
  bench: Bench,
): Promise<{ readonly all: readonly Contestant[] } & AsyncDisposable> {
  const database = await bench.createDatabase();
  const all = [
    await openStele(database),
    await openPlain(database),
    ...(await bench.openPeers(database)),
  ];
  return {
    all,
    [Symbol.asyncDispose]: async () => {
      for (const contestant of all) await contestant[Symbol.asyncDispose]();
    },
  };
}

/** A line of the table for each peer that took part; the design sets a target against one of them. */
export function peersOf(all: readonly Contestant[]): readonly string[] {
  return all.slice(2).map(({ name }) => name);
}
