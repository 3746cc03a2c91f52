import type { Contestant } from './contestant.ts';
import type { Result } from './result.ts';

/** What a row works with. */
export interface Bench {
  /** Makes an empty database on the server that everything runs on. */
  readonly createDatabase: () => Promise<string>;
  /** Opens the peers that are installed, on an empty database. */
  readonly openPeers: (connectionString: string) => Promise<readonly Contestant[]>;
  readonly rounds: number;
  /** How many events a store gets whose size is this by default. */
  readonly size: (standard: number) => number;
  /** How long a slice takes, where it is not a number of pieces. */
  readonly sliceMs: number;
}

/** One or more lines of the table of targets. */
export interface Row {
  readonly numbers: readonly string[];
  readonly run: (bench: Bench, number: string) => Promise<readonly Result[]>;
}
