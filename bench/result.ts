import type { Figures } from './rounds.ts';
import { ratios, spread, type Spread } from './statistics.ts';

/** What one comparison showed. */
export interface Result {
  readonly row: string;
  readonly work: string;
  readonly target: string;
  readonly unit: string;
  /** The subject's figures divided by the base's, round by round. */
  readonly ratio: Spread | undefined;
  readonly subject: Measured;
  readonly base: Measured | undefined;
  /** `undefined` where the design sets no target. */
  readonly passed: boolean | undefined;
}

export interface Measured {
  readonly name: string;
  readonly spread: Spread;
}

export type Unit =
  | 'events/s'
  | 'commands/s'
  | 'batches/s'
  | 'streams/s'
  | 'queries/s'
  | 'round trips'
  | 'MB'
  | 'ms'
  | 'µs';

/** What to compare, and how it should come out. */
export interface Comparison {
  readonly row: string;
  readonly work: string;
  readonly unit: Unit;
  readonly subject: string;
  readonly base: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}

export function compare(comparison: Comparison, figures: Figures): Result {
  const { row, work, unit, subject, base, atLeast, atMost } = comparison;
  const of = (name: string): readonly number[] => {
    const found = figures[name];
    if (found === undefined) throw new Error(`Nobody called '${name}' took part.`);
    return found;
  };
  const ratio = ratios(of(subject), of(base));
  const passed =
    (atLeast === undefined || ratio.median >= atLeast) &&
    (atMost === undefined || ratio.median <= atMost);
  return {
    row,
    work,
    target:
      atLeast === undefined
        ? atMost === undefined
          ? ''
          : `≤ ${atMost} × ${base}`
        : `≥ ${atLeast} × ${base}`,
    unit,
    ratio,
    subject: { name: subject, spread: spread(of(subject)) },
    base: { name: base, spread: spread(of(base)) },
    passed: atLeast === undefined && atMost === undefined ? undefined : passed,
  };
}

/** What to measure by itself, and how it should come out. */
export interface Measurement {
  readonly row: string;
  readonly work: string;
  readonly unit: Unit;
  readonly subject: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** For the few targets that are figures, not ratios: they hold on the machine that they were made on. */
export function measure(measurement: Measurement, figures: readonly number[]): Result {
  const { row, work, unit, subject, atLeast, atMost } = measurement;
  const found = spread(figures);
  const passed =
    (atLeast === undefined || found.median >= atLeast) &&
    (atMost === undefined || found.median <= atMost);
  return {
    row,
    work,
    target:
      atLeast === undefined
        ? atMost === undefined
          ? ''
          : `≤ ${atMost.toLocaleString('en')} ${unit}`
        : `≥ ${atLeast.toLocaleString('en')} ${unit}`,
    unit,
    ratio: undefined,
    subject: { name: subject, spread: found },
    base: undefined,
    passed: atLeast === undefined && atMost === undefined ? undefined : passed,
  };
}
