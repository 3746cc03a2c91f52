/** What a series of figures looks like. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  if (upper === undefined || lower === undefined) throw new Error('A median needs a value.');
  return (lower + upper) / 2;
}

export function spread(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/**
 * The ratio of each round, then their spread: what slows a machine down for a while slows both sides
 * of a round, so it leaves the ratio alone.
 */
export function ratios(subject: readonly number[], base: readonly number[]): Spread {
  return spread(subject.map((value, round) => value / (base[round] ?? Number.NaN)));
}

/** The value that so many in a hundred are no greater than. */
export function percentile(values: readonly number[], hundredth: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const found = sorted[Math.ceil((sorted.length * hundredth) / 100) - 1];
  if (found === undefined) throw new Error('A percentile needs a value.');
  return found;
}
