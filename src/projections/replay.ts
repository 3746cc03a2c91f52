import { runReplay } from '../store/ambient.ts';
import { FailedEvent, type Transaction } from '../store/inline.ts';
import { SteleError } from '../types/errors.ts';
import type { RecordedEvent } from '../types/recorded-event.ts';
import type { ProjectionParts } from './parts.ts';

/**
 * Handles events of the past, to make a read model of them that nobody sees yet. The handlers may append
 * nothing.
 *
 * @throws SteleError `rebuild-failed`, which names the event as far as it is known
 */
export async function replayEvents(
  projection: ProjectionParts,
  events: readonly RecordedEvent[],
  transaction: Transaction,
): Promise<void> {
  const { name, handler } = projection;
  try {
    await runReplay(async () => {
      if ('batch' in handler) await handler.batch(events, transaction);
      else await each(handler.each, events, transaction);
    });
  } catch (cause) {
    throw rebuildFailed(name, cause);
  }
}

async function each(
  handle: (event: RecordedEvent, transaction: Transaction) => Promise<void>,
  events: readonly RecordedEvent[],
  transaction: Transaction,
): Promise<void> {
  for (const event of events) {
    try {
      await handle(event, transaction);
    } catch (cause) {
      throw new FailedEvent(event, cause);
    }
  }
}

/** What a handler threw while a read model was built again. */
export function rebuildFailed(name: string, error: unknown): SteleError {
  const cause = error instanceof FailedEvent ? error.cause : error;
  const reason = error instanceof Error ? error.message : String(error);
  return new SteleError(
    'rebuild-failed',
    `The read model of projection '${name}' could not be built: ${reason}`,
    { cause },
  );
}
