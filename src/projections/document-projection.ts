import { FailedEvent } from '../store/inline.ts';
import type { AnyEventOf, AnyEventTypeOf, EventNamed } from '../store/store.ts';
import type { AnyAggregate, AnyState } from '../types/aggregate.ts';
import { SteleError } from '../types/errors.ts';
import type { Jsonable, Refusals, SteleTypeError } from '../types/json.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import {
  buildProjection,
  handledTypes,
  type Projection,
  type ProjectionOptions,
} from './definition.ts';
import { documentsTable, projectDocuments } from './documents.ts';
import type { OptionalTypes, RequiredTypes } from './projection.ts';

/**
 * Makes the new document of the old one and an event; `null` for none. Pure: neither may be changed in
 * place.
 */
export type DocumentHandler<Document, Event> = (
  document: Document,
  event: Event,
) => Document | null;

/** A handler for each event of the aggregates, by name, with the event's precise type. */
export type DocumentHandlers<A extends AnyAggregate, Document> = {
  readonly [Type in AnyEventTypeOf<A>]: NoInfer<DocumentHandler<Document, EventNamed<A, Type>>>;
};

/** The state before any event, when JSON can carry it; otherwise the reason why not. */
type InitialDocument<Document> = [Document] extends [Jsonable<Document>]
  ? (() => Document) | ((never: never) => never)
  : SteleTypeError<Refusals<Document>>;

/** What {@link documentProjection} is given. */
export interface DocumentProjectionDefinition<
  Aggregates extends readonly AnyAggregate[],
  Document,
  Others extends 'ignore' | undefined,
> extends ProjectionOptions {
  /** The aggregates whose events the documents are made of. */
  readonly aggregates: Aggregates;
  /**
   * Which document an event belongs to, or `null` when it belongs to none; the stream's id unless
   * given. Documents of several streams are safe to write at once, but with `partitions` the events of
   * different streams come in no certain order.
   */
  readonly key?: ((event: AnyEventOf<Aggregates[number]>) => string | null) | undefined;
  /** What a document is like before its first event. */
  readonly initialState: InitialDocument<Document>;
  /** `'ignore'` to handle only the events that are named in `evolve`. */
  readonly others?: Others;
  /** The handlers; one for every event, unless `others` says otherwise. */
  // Written out, since errors then print the handlers instead of a name and a whole aggregate. NoInfer
  // stands around the whole function, for the reason given at an aggregate's `evolve`.
  readonly evolve: {
    readonly [Type in RequiredTypes<Aggregates[number], Others>]: NoInfer<
      DocumentHandler<Document, EventNamed<Aggregates[number], Type>>
    >;
  } & {
    readonly [Type in OptionalTypes<Aggregates[number], Others>]?: NoInfer<
      DocumentHandler<Document, EventNamed<Aggregates[number], Type>>
    >;
  };
}

/** How a document projection makes documents; the types were checked where it was declared. */
export interface DocumentParts {
  readonly name: string;
  readonly keyOf: (event: RecordedEvent) => string | null;
  readonly initial: () => unknown;
  /** @throws FailedEvent when the handler throws */
  readonly evolve: (document: unknown, event: RecordedEvent) => unknown;
}

/** Where a document projection carries its parts. Of the registry, for two copies of the package. */
export const documentKey: unique symbol = Symbol.for('stele.document-projection');

declare const documentType: unique symbol;

/** A function from events to documents, each a JSON value under a key. */
export interface DocumentProjection<Document = unknown> extends Projection {
  /** Carries the type; there is nothing here at run time. */
  readonly [documentType]?: Document;
  readonly [documentKey]: DocumentParts;
}

/**
 * Declares a read model of JSON documents, made of events as an aggregate's state is: `evolve` is pure,
 * and Stele loads and stores the documents, many in one statement. `readModel` finds them again.
 *
 * @throws SteleError `invalid-argument` when a handler is missing, or is for no event
 *
 * @example
 * ```ts
 * const Profiles = documentProjection('profiles', {
 *   aggregates: [User],
 *   key: ({ streamId }) => User.idOf(streamId),
 *   initialState: () => ({ email: '', changes: 0 }),
 *   evolve: {
 *     UserCreated: (profile, { data }) => ({ ...profile, email: data.email }),
 *     EmailChanged: ({ changes }, { data }) => ({ email: data.email, changes: changes + 1 }),
 *     UserDeleted: () => null,
 *   },
 * });
 * ```
 */
export function documentProjection<
  const Aggregates extends readonly AnyAggregate[],
  Document extends AnyState,
  Others extends 'ignore' | undefined = undefined,
>(
  name: string,
  definition: DocumentProjectionDefinition<Aggregates, Document, Others>,
): DocumentProjection<Document> {
  const { aggregates, key, initialState, others } = definition;
  const types = handledTypes(name, aggregates, definition.evolve, others);
  if (typeof initialState !== 'function') {
    throw new SteleError(
      'invalid-argument',
      `Projection '${name}' needs an initialState: a function that returns what a document is before its first event.`,
    );
  }
  // The keys of `evolve` are events of the aggregates, and each handler takes its event and the
  // document that `initialState` and the other handlers make: checked where it was declared.
  const handlers = definition.evolve as {
    readonly [type: string]: DocumentHandler<unknown, RecordedEvent> | undefined;
  };
  const keyOf = (key ?? (({ streamId }) => streamId)) as DocumentParts['keyOf'];
  const documents: DocumentParts = Object.freeze({
    name,
    keyOf: (event: RecordedEvent) => {
      const found = attributed(event, () => keyOf(event));
      return found === null ? null : checkedKey(event, found);
    },
    initial: initialState as () => unknown, // the other member cannot be called
    evolve: (document: unknown, event: RecordedEvent) =>
      attributed(event, () => {
        const next = handlers[event.type]?.(document, event);
        if (next !== undefined) return next;
        throw new TypeError('evolve returned undefined. Return the document, or null to remove it');
      }),
  });
  const built = buildProjection({
    kind: 'document',
    name,
    aggregates,
    types,
    options: { ...definition, tables: documentsTable },
    code: { key, initialState, ...handlers },
    handler: {
      batch: (events, transaction) => projectDocuments(documents, events, transaction),
    },
  });
  return Object.freeze({ ...built, [documentKey]: documents });
}

function attributed<T>(event: RecordedEvent, task: () => T): T {
  try {
    return task();
  } catch (cause) {
    throw new FailedEvent(event, cause);
  }
}

function checkedKey(event: RecordedEvent, key: unknown): string {
  if (typeof key === 'string' && !key.includes('\0') && key.isWellFormed()) return key;
  const found = typeof key === 'string' ? JSON.stringify(key) : typeof key;
  const cause = new SteleError(
    'invalid-argument',
    `A document's key is text that Postgres can hold, or null for no document, but got ${found}.`,
  );
  throw new FailedEvent(event, cause);
}
