import assert from 'node:assert/strict';

import type { ExpectedVersion } from 'stele';

/** An event to append; with an id when the append is to be repeatable by ids. */
export interface ModelDraft {
  readonly type: 'Added' | 'Cleared';
  readonly n: number;
  readonly id?: string | undefined;
}

/** What an append does to one stream. */
export interface ModelWrite {
  readonly streamId: string;
  readonly expected: ExpectedVersion;
  readonly events: readonly ModelDraft[];
}

/** An append to one stream or several. */
export interface ModelAppend {
  readonly writes: readonly ModelWrite[];
  readonly key?: string | undefined;
}

/** An event as it is stored. */
export interface ModelEvent {
  readonly id: string;
  readonly type: string;
  readonly n: number;
  readonly streamId: string;
  readonly version: number;
  readonly position: number;
  readonly time: number;
  readonly key: string | undefined;
}

/** What became of an append, in the model and in the store. */
export type ModelOutcome =
  | {
      readonly kind: 'stored';
      readonly deduplicated: boolean;
      readonly events: readonly ModelEvent[];
    }
  | { readonly kind: 'conflict'; readonly streamId: string; readonly actual: number }
  | { readonly kind: 'duplicate' };

/** The store as it should be: a list of events, and nothing more. */
export class Model {
  #events: readonly ModelEvent[] = [];

  /** The events in the order of their positions. */
  get events(): readonly ModelEvent[] {
    return this.#events;
  }

  stream(streamId: string): readonly ModelEvent[] {
    return this.#events.filter((event) => event.streamId === streamId);
  }

  version(streamId: string): number {
    return this.stream(streamId).length;
  }

  /** A model that can be changed and thrown away, as a transaction. */
  copy(): Model {
    const copy = new Model();
    copy.#events = this.#events;
    return copy;
  }

  /** Takes over what a copy has become. */
  become(copy: Model): void {
    this.#events = copy.#events;
  }

  /** Checks what the store answered against what the model says, and then stores it here too. */
  explain(append: ModelAppend, outcome: ModelOutcome): void {
    const earlier = this.#earlier(append);
    if (earlier !== undefined) {
      assert.deepEqual(outcome, earlier);
      return;
    }
    const failed = append.writes.find(
      ({ streamId, expected }) => !holds(expected, this.version(streamId)),
    );
    if (failed !== undefined) {
      const { streamId } = failed;
      assert.deepEqual(outcome, { kind: 'conflict', streamId, actual: this.version(streamId) });
      return;
    }
    assert(outcome.kind === 'stored', `should be stored, but: ${JSON.stringify(outcome)}`);
    assert.equal(outcome.deduplicated, false);
    this.#store(append, outcome.events);
  }

  /** Checks an answer that was given while others were appending: `heads` were seen meanwhile. */
  explainUnstored(
    append: ModelAppend,
    outcome: ModelOutcome,
    heads: ReadonlyMap<string, ReadonlySet<number>>,
  ): void {
    if (outcome.kind === 'conflict') {
      const { streamId, actual } = outcome;
      const write = append.writes.find((candidate) => candidate.streamId === streamId);
      assert(write !== undefined && !holds(write.expected, actual), JSON.stringify(outcome));
      assert(heads.get(streamId)?.has(actual), JSON.stringify(outcome));
      return;
    }
    assert.deepEqual(outcome, this.#earlier(append));
  }

  /** What is said to an append of which something is stored already. */
  #earlier({ writes, key }: ModelAppend): ModelOutcome | undefined {
    const found = writes.map(({ streamId, events }) =>
      this.stream(streamId).filter((stored) =>
        key === undefined ? events.some(({ id }) => id === stored.id) : stored.key === key,
      ),
    );
    if (found.every((events) => events.length === 0)) return undefined;
    const isSame = writes.every(({ events }, index) => {
      const stored = found[index] ?? [];
      if (key !== undefined) return stored.length > 0;
      return (
        stored.length === events.length &&
        events.every(
          ({ id, type, n }, place) =>
            stored[place]?.id === id && stored[place]?.type === type && stored[place]?.n === n,
        )
      );
    });
    if (!isSame) return { kind: 'duplicate' };
    return { kind: 'stored', deduplicated: true, events: found.flat() };
  }

  #store({ writes, key }: ModelAppend, stored: readonly ModelEvent[]): void {
    const wanted = writes.flatMap(({ streamId, events }) => {
      const head = this.version(streamId);
      return events.map((event, index) => ({ ...event, streamId, version: head + index + 1 }));
    });
    assert.deepEqual(
      stored.map(({ type, n, streamId, version }) => ({ type, n, streamId, version })),
      wanted.map(({ type, n, streamId, version }) => ({ type, n, streamId, version })),
    );
    for (const [place, event] of stored.entries()) {
      const id = wanted[place]?.id;
      assert(id === undefined || id === event.id, 'An event keeps its id.');
      assert.equal(event.key, key);
      assert(event.position > (stored[place - 1]?.position ?? 0), 'Positions grow.');
      const before = this.stream(event.streamId).at(-1);
      assert(event.position > (before?.position ?? 0), 'Positions agree with versions.');
      assert(event.time >= (before?.time ?? 0), 'Time never goes back.');
    }
    // Appends that share no stream may have taken their positions in turns.
    this.#events = [...this.#events, ...stored].toSorted((a, b) => a.position - b.position);
  }
}

/** What a stream's events amount to. */
export function fold(events: readonly Pick<ModelEvent, 'type' | 'n'>[]): readonly number[] {
  let state: readonly number[] = [];
  for (const { type, n } of events) state = type === 'Cleared' ? [] : [...state, n];
  return state;
}

function holds(expected: ExpectedVersion, actual: number): boolean {
  if (typeof expected === 'number') return expected === actual;
  return { any: true, 'no-stream': actual === 0, 'stream-exists': actual > 0 }[expected];
}
