import type { EventRow } from '../store/row-codec.ts';
import { causedBy, runHandler } from '../store/ambient.ts';
import { HandlerError, kindOf, recordOf } from './failure.ts';
import { itemOf, type Item } from './page.ts';
import { advance, flush, inWork, react, type Progress, type Work } from './work.ts';

/** Finds out which streams of a partition have events set aside. */
export async function findParked(work: Work, { parked }: Progress): Promise<void> {
  const { subscription, partition } = work.lease;
  const values = [subscription, partition];
  const rows = await work.parts.database.read<[string]>(work.statements.parkedStreams, values);
  parked.clear();
  for (const [streamId] of rows) parked.add(streamId);
}

/**
 * Does what a person has asked for: events are replayed or discarded in their order. It is the owner
 * who does it, between two pages, so that nothing else happens to these streams meanwhile. The first of
 * a stream that fails again keeps the later ones waiting.
 */
export async function carryOutRequests(work: Work, progress: Progress): Promise<void> {
  const { parts, statements, lease } = work;
  await flush(work, progress);
  const requests = await parts.database.read<[string, number, 'replay' | 'discard']>(
    statements.requests,
    [lease.subscription, lease.partition],
  );
  const failed = new Set<string>();
  for (const [streamId, version, request] of requests) {
    if (failed.has(streamId)) continue;
    const item = await parkedItem(work, streamId, version);
    try {
      if (request === 'replay' && item !== undefined) await replay(work, progress, item);
      else await remove(work, progress, streamId, version);
    } catch (error) {
      const kind = kindOf(error);
      if (kind === 'fenced' || kind === 'away') throw error;
      failed.add(streamId);
      await parts.database.query(statements.failedAgain, [
        lease.subscription,
        streamId,
        version,
        JSON.stringify(recordOf(error, 1, item)),
      ]);
    }
  }
  await findParked(work, progress);
}

async function parkedItem(
  { parts: { database, codec }, statements }: Work,
  streamId: string,
  version: number,
): Promise<Item | undefined> {
  const [row] = await database.read<EventRow>(statements.parkedEvent, [streamId, version]);
  return row === undefined ? undefined : itemOf(row, codec);
}

async function replay(work: Work, progress: Progress, item: Item): Promise<void> {
  const { parts, statements, consumer, lease } = work;
  const { event } = item;
  if (item.failure !== undefined) throw item.failure.error;
  if (event === undefined) throw new TypeError('An event is decoded, or its failure is known.');
  const { handler } = consumer;
  if ('react' in handler) {
    await react(work, { ...progress }, item);
    await remove(work, progress, item.streamId, item.version);
    return;
  }
  await inWork(work, async (client) => {
    try {
      await causedBy(event, () =>
        runHandler(() =>
          'batch' in handler ? handler.batch([event], client) : handler.each(event, client),
        ),
      );
    } catch (cause) {
      throw new HandlerError(0, cause);
    }
    const values = [lease.subscription, item.streamId, item.version];
    await parts.database.on(client, statements.unpark, values);
    await advance(work, client, progress.known, progress.known);
  });
}

async function remove(
  work: Work,
  progress: Progress,
  streamId: string,
  version: number,
): Promise<void> {
  const { parts, statements, lease } = work;
  await inWork(work, async (client) => {
    await parts.database.on(client, statements.unpark, [lease.subscription, streamId, version]);
    await advance(work, client, progress.known, progress.known);
  });
}
