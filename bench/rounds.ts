/** One side of a comparison. */
export interface Side {
  readonly name: string;
  /** Works for a short while and returns the figure: a rate, or a time. */
  readonly slice: () => Promise<number>;
}

/** The figures of each side, by name, one for each round. */
export type Figures = Readonly<Record<string, readonly number[]>>;

/**
 * Lets the sides work in turn, round after round, each round beginning with another side. A first
 * round, in which code and caches become warm, is not counted.
 */
export async function rounds(count: number, sides: readonly Side[]): Promise<Figures> {
  const figures = new Map(sides.map(({ name }) => [name, [] as number[]]));
  for (let round = 0; round <= count; round += 1) {
    for (const place of sides.keys()) {
      const side = sides[(place + round) % sides.length];
      if (side === undefined) continue;
      // The garbage of one side is not to be collected in the time of the next.
      globalThis.gc?.();
      const figure = await side.slice();
      if (round > 0) figures.get(side.name)?.push(figure);
    }
  }
  return Object.fromEntries(figures);
}

/**
 * Has callers work side by side, each doing one piece after another until the time is over.
 *
 * @returns pieces per second
 */
export async function rateOf(
  callers: number,
  milliseconds: number,
  work: (caller: number) => Promise<unknown>,
): Promise<number> {
  const started = performance.now();
  let done = 0;
  const call = async (caller: number): Promise<void> => {
    while (performance.now() - started < milliseconds) {
      await work(caller);
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, caller) => call(caller)));
  return (done * 1_000) / (performance.now() - started);
}

/** How long each of some pieces takes, one after the other, in microseconds. */
export async function timesOf(count: number, work: () => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  for (let piece = 0; piece < count; piece += 1) {
    const started = performance.now();
    await work();
    times.push((performance.now() - started) * 1_000);
  }
  return times;
}
