import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type pg from 'pg';

import type { ExpectedVersion, Store } from 'stele';
import { addTo, appendTo, collect, Journal, Ledger, target } from './model-clients.ts';
import { streams } from './model-commands.ts';
import type { AppendCommand, Command } from './model-commands.ts';
import { fold, Model } from './model.ts';
import type { ModelAppend, ModelDraft, ModelEvent, ModelOutcome } from './model.ts';

let runs = 0;

/** Who takes part in a run. */
export interface Clients {
  readonly stores: readonly Store[];
  readonly sessions: readonly pg.Client[];
}

/** One run: the model beside the database, from where that stood when it began. */
export class Run {
  readonly #stores: readonly Store[];
  readonly #sessions: readonly pg.Client[];
  readonly #model = new Model();
  readonly #sent: ModelAppend[] = [];
  readonly #number = (runs += 1);
  readonly #start: number;

  constructor({ stores, sessions }: Clients, start: number) {
    this.#stores = stores;
    this.#sessions = sessions;
    this.#start = start;
  }

  async perform(command: Command): Promise<void> {
    switch (command.kind) {
      case 'append': {
        const wanted = this.#resolve(command.append, this.#model);
        this.#model.explain(wanted, await appendTo(this.#store(command.store), wanted));
        break;
      }
      case 'execute': {
        const streamId = this.#streamId(command.stream);
        const outcome = await addTo(this.#store(command.store), streamId);
        this.#model.explain(this.#addition(streamId), outcome);
        break;
      }
      case 'transaction':
        await this.#transaction(command);
        break;
      case 'at once':
        await this.#atOnce(command.tasks);
        break;
      default:
        await this.#look(command);
    }
  }

  /** Everything that can be read agrees with the model. */
  async compare(): Promise<void> {
    for (const item of this.#stores) {
      assert.deepEqual(await collect(item.read({ after: this.#start })), this.#model.events);
      for (let n = 0; n < streams; n += 1) {
        const streamId = this.#streamId(n);
        const [kind, id] = target(streamId);
        const events = this.#model.stream(streamId);
        assert.deepEqual(await collect(item.readStream(kind, id)), events);
        const loaded = { state: fold(events), version: events.length };
        assert.deepEqual(await item.load(kind, id), loaded);
      }
    }
  }

  async #transaction(command: Command & { kind: 'transaction' }): Promise<void> {
    const session = this.#session(0);
    const within = this.#store(command.store);
    const copy = this.#model.copy();
    await session.query('begin');
    try {
      await this.#appendInside(session, within, copy, command.appends);
      if (command.end === 'commit') {
        await session.query('commit');
        this.#model.become(copy);
      }
    } finally {
      await session.query('rollback');
    }
  }

  async #appendInside(
    session: pg.Client,
    within: Store,
    copy: Model,
    appends: readonly AppendCommand[],
  ): Promise<void> {
    for (const item of appends) {
      const wanted = this.#resolve(item, copy);
      copy.explain(wanted, await appendTo(within, wanted, session));
      for (const { streamId } of wanted.writes) {
        const [kind, id] = target(streamId);
        const inside = await within.load(kind, id, { transaction: session });
        assert.equal(inside.version, copy.version(streamId));
        const outside = await within.load(kind, id);
        assert.equal(outside.version, this.#model.version(streamId));
      }
    }
  }

  /** Several at the same moment: some order of those that stored something explains all answers. */
  async #atOnce(tasks: (Command & { kind: 'at once' })['tasks']): Promise<void> {
    const running = tasks.map(async (task, place) => {
      const on = this.#store(task.store);
      if ('execute' in task) {
        const streamId = this.#streamId(task.execute);
        return { streamId, outcome: await addTo(on, streamId) };
      }
      const wanted = this.#resolve(task.append, this.#model);
      if (task.end === null) return { wanted, outcome: await appendTo(on, wanted) };
      const session = this.#session(place);
      await session.query('begin');
      try {
        const outcome = await appendTo(on, wanted, session);
        if (task.end === 'commit') await session.query('commit');
        return { wanted, outcome: task.end === 'commit' ? outcome : undefined };
      } finally {
        await session.query('rollback');
      }
    });
    // All of them, since what one leaves behind would disturb the next run.
    const answers = (await Promise.allSettled(running)).map((settled) => {
      if (settled.status === 'rejected') throw settled.reason;
      return settled.value;
    });
    const heads = new Map<string, Set<number>>();
    const note = (): void => {
      for (let n = 0; n < streams; n += 1) {
        const streamId = this.#streamId(n);
        const seen = heads.get(streamId) ?? new Set();
        heads.set(streamId, seen.add(this.#model.version(streamId)));
      }
    };
    note();
    const stored = answers
      .filter(({ outcome }) => isNew(outcome))
      .toSorted((a, b) => firstPosition(a.outcome) - firstPosition(b.outcome));
    for (const { wanted, streamId, outcome } of stored) {
      if (outcome === undefined) continue;
      this.#model.explain(wanted ?? this.#addition(streamId), outcome);
      note();
    }
    for (const { wanted, outcome } of answers) {
      if (wanted === undefined || outcome === undefined || isNew(outcome)) continue;
      this.#model.explainUnstored(wanted, outcome, heads);
    }
  }

  async #look(command: Command & { kind: 'read stream' | 'read' | 'load' }): Promise<void> {
    const from = this.#store(command.store);
    const { events } = this.#model;
    if (command.kind === 'read') {
      const { limit, ledgers, additions } = command;
      const after = events[command.after]?.position ?? this.#start;
      const reading = from.read({
        after,
        limit,
        ...(ledgers ? { aggregates: [Ledger] } : { aggregates: [Ledger, Journal] }),
        ...(additions ? { types: ['Added'] as const } : {}),
      });
      const wanted = events
        .filter(({ position }) => position > after)
        .filter(({ streamId }) => !ledgers || streamId.startsWith('ledger'))
        .filter(({ type }) => !additions || type === 'Added');
      assert.deepEqual(await collect(reading), wanted.slice(0, limit));
      return;
    }
    const streamId = this.#streamId(command.stream);
    const [kind, id] = target(streamId);
    const own = this.#model.stream(streamId);
    if (command.kind === 'read stream') {
      const { from: first = 1, to: last = Infinity, limit, backwards } = command;
      const wanted = own.filter(({ version }) => version >= first && version <= last);
      if (backwards) wanted.reverse();
      const reading = from.readStream(kind, id, { ...command });
      assert.deepEqual(await collect(reading), wanted.slice(0, limit));
      return;
    }
    const then = command.moment === null ? undefined : own[command.moment.event];
    const isThen =
      command.moment?.by === 'version'
        ? ({ version }: ModelEvent) => version <= (then?.version ?? Infinity)
        : ({ time }: ModelEvent) => time <= (then?.time ?? Infinity);
    const moment =
      command.moment?.by === 'version'
        ? { version: then?.version }
        : { at: then && new Date(then.time) };
    const known = own.filter(isThen);
    assert.deepEqual(await from.load(kind, id, moment), {
      state: fold(known),
      version: known.length,
    });
  }

  #store(index: number): Store {
    const found = this.#stores[index];
    assert(found !== undefined, `There is no store ${index}.`);
    return found;
  }

  #session(index: number): pg.Client {
    const found = this.#sessions[index];
    assert(found !== undefined, `There is no session ${index}.`);
    return found;
  }

  #streamId(index: number): string {
    return `${index % 2 === 0 ? 'ledger' : 'journal'}-${this.#number}x${index}`;
  }

  /** What `add` stores on the stream as it is. */
  #addition(streamId: string): ModelAppend {
    const events: ModelDraft[] = [{ type: 'Added', n: fold(this.#model.stream(streamId)).length }];
    return { writes: [{ streamId, expected: this.#model.version(streamId), events }] };
  }

  /** The append that was drawn, as it is to be sent now. */
  #resolve({ writes, identity, repeat, isChanged }: AppendCommand, model: Model): ModelAppend {
    const again =
      repeat === null ? undefined : this.#sent.at(repeat % Math.max(1, this.#sent.length));
    if (again !== undefined) {
      if (!isChanged) return again;
      const change = (event: ModelDraft): ModelDraft => ({ ...event, n: event.n + 1 });
      return {
        ...again,
        writes: again.writes.map((write) => ({ ...write, events: write.events.map(change) })),
      };
    }
    const wanted: ModelAppend = {
      writes: writes.map((write) => {
        const streamId = this.#streamId(write.stream);
        return {
          streamId,
          expected: this.#expected(write.expectation, model.version(streamId)),
          events: write.events.map((event) =>
            identity === 'ids' ? { ...event, id: randomUUID() } : event,
          ),
        };
      }),
      key: identity === 'key' ? randomUUID() : undefined,
    };
    if (identity !== 'none') this.#sent.push(wanted);
    return wanted;
  }

  #expected(drawn: ExpectedVersion | { readonly off: number }, head: number): ExpectedVersion {
    return typeof drawn === 'object' ? Math.max(0, head + drawn.off) : drawn;
  }
}

const isNew = (outcome: ModelOutcome | undefined): boolean =>
  outcome?.kind === 'stored' && !outcome.deduplicated;

const firstPosition = (outcome: ModelOutcome | undefined): number =>
  outcome?.kind === 'stored' ? (outcome.events[0]?.position ?? 0) : 0;
