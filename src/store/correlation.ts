import { validate as isUuid } from 'uuid';
import type { RecordedEvent } from '../types/recorded-event.ts';
import type { ReaderParts } from './read.ts';
import type { EventRow } from './row-codec.ts';

/** An event and what it caused, in the order of their positions. */
export interface CausationNode {
  readonly event: RecordedEvent;
  readonly caused: readonly CausationNode[];
}

/**
 * The events of a correlation as trees: each event below the one that caused it. Those whose cause is
 * not among them are roots. The event whose id is the correlation's belongs to it.
 */
export async function causationTree(
  { database, statements, codec }: ReaderParts,
  correlationId: string,
): Promise<readonly CausationNode[]> {
  const rows = await database.read<EventRow>(statements.correlation, [correlationId]);
  const first = isUuid(correlationId)
    ? await database.read<EventRow>(statements.eventById, [correlationId])
    : [];
  const events = new Map([...first, ...rows].map((row) => [row[3], codec(row)]));
  const roots: CausationNode[] = [];
  const nodes = new Map<string, { event: RecordedEvent; caused: CausationNode[] }>();
  for (const event of [...events.values()].toSorted((a, b) => a.position - b.position)) {
    const node = { event, caused: [] };
    // A cause always has a lower position than what it caused, so its node is there already.
    const cause = nodes.get(event.metadata.causationId ?? '');
    (cause?.caused ?? roots).push(node);
    nodes.set(event.id, node);
  }
  return roots;
}
