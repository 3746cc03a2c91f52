import fc from 'fast-check';

/** How many streams a run has. */
export const streams = 4;

/** How many clients may be at work at the same moment. */
export const mostAtOnce = 5;

const store = fc.nat(1);
const stream = fc.nat(streams - 1);
const draft = fc.record({
  type: fc.constantFrom('Added' as const, 'Added' as const, 'Cleared' as const),
  n: fc.nat(9),
});
/** An expected version, or how far it is from the one the stream is at. */
const expectation = fc.oneof(
  { weight: 3, arbitrary: fc.constant('any' as const) },
  fc.constantFrom('no-stream' as const, 'stream-exists' as const),
  { weight: 3, arbitrary: fc.record({ off: fc.constantFrom(0, 0, 0, -1, 1) }) },
);
const append = fc.record({
  writes: fc.uniqueArray(
    fc.record({ stream, expectation, events: fc.array(draft, { minLength: 1, maxLength: 3 }) }),
    { selector: (write) => write.stream, minLength: 1, maxLength: 3 },
  ),
  identity: fc.constantFrom('none', 'ids', 'key'),
  /** Which earlier append to send again instead; and whether to send it with other events. */
  repeat: fc.option(fc.nat(20), { freq: 2 }),
  isChanged: fc.boolean(),
});
const end = fc.constantFrom('commit' as const, 'rollback' as const);
/** What the clients of a run may do; numbers stand for streams, stores and earlier things. */
export const command = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('append' as const), store, append }) },
  fc.record({
    kind: fc.constant('transaction' as const),
    store,
    appends: fc.array(append, { minLength: 1, maxLength: 3 }),
    end,
  }),
  fc.record({ kind: fc.constant('execute' as const), store, stream }),
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('at once' as const),
      tasks: fc.array(
        fc.oneof(
          fc.record({ store, append, end: fc.option(end, { freq: 2 }) }),
          fc.record({ store, execute: stream }),
        ),
        { minLength: 2, maxLength: mostAtOnce },
      ),
    }),
  },
  fc.record({
    kind: fc.constant('read stream' as const),
    store,
    stream,
    from: fc.option(fc.integer({ min: 1, max: 8 }), { nil: undefined }),
    to: fc.option(fc.integer({ min: 1, max: 8 }), { nil: undefined }),
    limit: fc.option(fc.nat(4), { nil: undefined }),
    backwards: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant('read' as const),
    store,
    after: fc.nat(20),
    limit: fc.option(fc.nat(4), { nil: undefined }),
    ledgers: fc.boolean(),
    additions: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant('load' as const),
    store,
    stream,
    moment: fc.option(fc.record({ event: fc.nat(20), by: fc.constantFrom('version', 'time') })),
  }),
);
export type Command = typeof command extends fc.Arbitrary<infer C> ? C : never;
export type AppendCommand = typeof append extends fc.Arbitrary<infer A> ? A : never;
