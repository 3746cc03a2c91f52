import { columnTypes } from '../db/statement.ts';
import type { Transaction } from '../store/inline.ts';
import { encodeJson } from '../types/storable.ts';

/** A document and the key that it is kept under. */
export interface KeyedDocument<Document> {
  readonly key: string;
  readonly document: Document;
}

/** A part of a document: it matches those that contain it, at any depth; an array, those with its elements. */
export type DocumentMatch<Document> = Document extends readonly (infer Element)[]
  ? readonly DocumentMatch<Element>[]
  : Document extends object
    ? { readonly [Key in keyof Document]?: DocumentMatch<Document[Key]> | undefined }
    : Document;

/** How found documents are ordered, and how many there are. */
export interface FindOptions<Document> {
  /** A field of the documents; their key unless given. */
  readonly orderBy?: FieldOf<Document> | undefined;
  readonly descending?: boolean | undefined;
  readonly limit?: number | undefined;
}

type FieldOf<Document> = Document extends unknown ? keyof Document & string : never;

/** Finds documents, all of one moment. Lives as long as the callback that it was given to. */
export interface Documents<Document> {
  /** The document under a key; `undefined` when there is none. */
  get(key: string): Promise<Document | undefined>;
  /**
   * The documents that contain `match`; all of them unless it is given. An index finds them, whatever
   * the fields. Those that do not have the field to order by come last.
   */
  find(
    match?: DocumentMatch<Document>,
    options?: FindOptions<Document>,
  ): Promise<readonly KeyedDocument<Document>[]>;
  /** How many documents contain `match`; how many there are unless it is given. */
  count(match?: DocumentMatch<Document>): Promise<number>;
  /** Every document, in the order of the keys, page by page. */
  all(): AsyncGenerator<KeyedDocument<Document>, void, undefined>;
  /** For SQL on the table `documents (key text, document jsonb)`. */
  readonly sql: Transaction;
}

const pageSize = 1_000;

/** Reads the table `documents`, which the search path finds. */
export function documentReader(sql: Transaction): Documents<unknown> {
  const query = async <Row extends unknown[]>(text: string, values: unknown[]): Promise<Row[]> => {
    const config = { text, values, rowMode: 'array' as const, types: columnTypes };
    const { rows } = await sql.query<Row>(config);
    return rows;
  };
  type Row = [key: string, document: unknown];
  return {
    sql,
    get: async (key) => {
      const text = 'select document from documents where key = $1';
      const [row] = await query<[unknown]>(text, [key]);
      return row?.[0];
    },
    find: async (match, { orderBy, descending = false, limit } = {}) => {
      const direction = descending ? 'desc' : 'asc';
      const order = orderBy === undefined ? '' : `document -> $3 ${direction} nulls last,`;
      const text = `${matching('key, document')} order by ${order} key ${direction} limit $2`;
      const values = [json(match), limit ?? null, ...(orderBy === undefined ? [] : [orderBy])];
      return (await query<Row>(text, values)).map(([key, document]) => ({ key, document }));
    },
    count: async (match) => {
      const [row] = await query<[number]>(matching('count(*)'), [json(match)]);
      return row?.[0] ?? 0;
    },
    all: async function* () {
      const text = 'select key, document from documents where key > $1 order by key limit $2';
      let rows = await query<Row>('select key, document from documents order by key limit $1', [
        pageSize,
      ]);
      for (;;) {
        for (const [key, document] of rows) yield { key, document };
        if (rows.length < pageSize) return;
        rows = await query<Row>(text, [rows.at(-1)?.[0], pageSize]);
      }
    },
  };
}

function matching(columns: string): string {
  return `select ${columns} from documents where ($1::jsonb is null or document @> $1)`;
}

function json(match: unknown): string | null {
  return match === undefined ? null : encodeJson(match, 'what documents are to match');
}
