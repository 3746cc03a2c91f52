/**
 * Arrays as parameters. `pg` turns each element into text and escapes it, and the server undoes that:
 * for 64 payloads of 250 bytes, 0.9 and 3.1 µs each. In the binary format, where each element has its
 * length in front, it takes 0.2 and 2.4 µs.
 */

const oid = { text: 25, jsonb: 3802 } as const;

export function textArray(texts: readonly string[]): Buffer {
  return binaryArray(oid.text, texts);
}

/** @param texts - JSON */
export function jsonbArray(texts: readonly string[]): Buffer {
  return binaryArray(oid.jsonb, texts, jsonbVersion);
}

/** Of what needs no escaping: numbers and UUIDs. */
export function plainArray(items: readonly (number | string)[]): string {
  return `{${items.join(',')}}`;
}

/** Stands before each value in the binary format of jsonb. */
const jsonbVersion = '\u0001';

function binaryArray(elementType: number, texts: readonly string[], prefix = ''): Buffer {
  // One dimension, no nulls, the elements' type, their number, and the first one's index.
  const header = texts.length === 0 ? [0, 0, elementType] : [1, 0, elementType, texts.length, 1];
  let size = header.length * 4;
  for (const text of texts) size += 4 + prefix.length + Buffer.byteLength(text);
  const buffer = Buffer.allocUnsafe(size);
  let end = 0;
  for (const field of header) end = buffer.writeInt32BE(field, end);
  for (const text of texts) {
    const start = end + 4;
    end = start + buffer.write(prefix, start);
    end += buffer.write(text, end);
    buffer.writeInt32BE(end - start, start - 4);
  }
  return buffer;
}
