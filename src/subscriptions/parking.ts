import type pg from 'pg';
import type { EventRow } from '../store/row-codec.ts';
import { kindOf, recordOf } from './failure.ts';
import { itemOf, type Item } from './page.ts';
import { advance, flush, handleAll, inWork, react, type Progress, type Work } from './work.ts';

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
      else await remove(work, progress, { streamId, version });
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
  if (item.failure !== undefined) throw item.failure.error;
  if ('react' in work.consumer.handler) {
    await react(work, { ...progress }, item);
    await remove(work, progress, item);
    return;
  }
  await remove(work, progress, item, (client) => handleAll(work, client, [item]));
}

/** Takes an event away from those that are set aside, in the transaction of what is done with it. */
async function remove(
  work: Work,
  progress: Progress,
  { streamId, version }: Pick<Item, 'streamId' | 'version'>,
  handle: (client: pg.PoolClient) => Promise<unknown> = async () => undefined,
): Promise<void> {
  const { parts, statements, lease } = work;
  await inWork(work, async (client) => {
    await handle(client);
    await parts.database.on(client, statements.unpark, [lease.subscription, streamId, version]);
    await advance(work, client, progress.known, progress.known);
  });
}
