import { columnTypes } from '../db/statement.ts';
import { textArray, jsonbArray } from '../db/array.ts';
import { FailedEvent, type Transaction } from '../store/inline.ts';
import { deepFreeze } from '../store/state.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import { encodeJson } from '../types/storable.ts';
import type { DocumentParts } from './document-projection.ts';

/** SQL that makes the table of a document projection. */
export const documentsTable: string = `
  create table documents (
    key text collate "C" primary key,
    document jsonb not null
  );
  create index documents_document on documents using gin (document jsonb_path_ops)`;

// Keys are locked and written in one order, so that two transactions with the same documents wait for
// each other instead of deadlocking.
const loadSql =
  'select key, document from documents where key = any ($1::text[]) order by key for update';

// A document that was not there when it was looked for may be by now, made by another transaction: it is
// left alone then, and does not come back.
const storeSql = `
  with removed as (delete from documents where key = any ($3::text[]))
  insert into documents as stored (key, document)
  select key, document from unnest($1::text[], $2::jsonb[]) n (key, document) order by key
  on conflict (key) do update set document = excluded.document where stored.key = any ($4::text[])
  returning key`;

/** A document, as it was found and as it has become; `null` for none. */
interface Entry {
  readonly events: RecordedEvent[];
  found: unknown;
  current: unknown;
  /** The last event that it is made of. */
  last: RecordedEvent | undefined;
}

/**
 * Updates documents by events, in one statement that loads and one that writes. Two transactions may make
 * the same document at once: the second one evolves what the first has made.
 *
 * @throws FailedEvent when a handler throws, or a document cannot be stored, naming the path
 */
export async function projectDocuments(
  parts: DocumentParts,
  events: readonly RecordedEvent[],
  transaction: Transaction,
): Promise<void> {
  let entries = new Map<string, Entry>();
  for (const event of events) {
    const key = parts.keyOf(event);
    if (key === null) continue;
    const entry = entries.get(key);
    if (entry === undefined) {
      entries.set(key, { events: [event], found: null, current: null, last: undefined });
    } else {
      entry.events.push(event);
    }
  }
  // Whoever changes a document in place fails, instead of changing one that is thought unchanged.
  const frozen = new WeakSet<object>();
  while (entries.size > 0) {
    const rows = await query<[key: string, document: unknown]>(transaction, loadSql, [
      textArray([...entries.keys()]),
    ]);
    const found = new Map(rows);
    for (const [key, entry] of entries) evolve(parts, entry, found.get(key) ?? null, frozen);
    entries = await store(parts, entries, transaction);
  }
}

function evolve(parts: DocumentParts, entry: Entry, found: unknown, frozen: WeakSet<object>): void {
  entry.found = found;
  entry.current = found;
  for (const event of entry.events) {
    const before = entry.current ?? parts.initial();
    deepFreeze(before, frozen);
    entry.current = parts.evolve(before, event);
    entry.last = event;
  }
}

/** @returns those that another transaction has made meanwhile */
async function store(
  parts: DocumentParts,
  entries: ReadonlyMap<string, Entry>,
  transaction: Transaction,
): Promise<Map<string, Entry>> {
  const changed = [...entries].filter(([, { found, current }]) => found !== current);
  const written = changed.filter(([, { current }]) => current !== null);
  const removed = changed.filter(([, { current }]) => current === null);
  if (changed.length === 0) return new Map();
  const known = written.filter(([, { found }]) => found !== null);
  const rows = await query<[key: string]>(transaction, storeSql, [
    textArray(written.map(([key]) => key)),
    jsonbArray(written.map(([key, entry]) => encode(parts, key, entry))),
    textArray(removed.map(([key]) => key)),
    textArray(known.map(([key]) => key)),
  ]);
  const stored = new Set(rows.map(([key]) => key));
  return new Map(written.filter(([key]) => !stored.has(key)));
}

function encode({ name }: DocumentParts, key: string, { current, last }: Entry): string {
  try {
    return encodeJson(current, `Document '${key}' of projection '${name}'`);
  } catch (cause) {
    if (last === undefined) throw cause;
    throw new FailedEvent(last, cause);
  }
}

async function query<Row extends unknown[]>(
  transaction: Transaction,
  text: string,
  values: unknown[],
): Promise<Row[]> {
  const { rows } = await transaction.query<Row>({
    text,
    values,
    rowMode: 'array',
    types: columnTypes,
  });
  return rows;
}
