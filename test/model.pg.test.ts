import fc from 'fast-check';
import type pg from 'pg';
import { afterAll, beforeAll, test } from 'vitest';

import type { Store } from 'stele';
import { useDatabase } from './support/database.ts';
import { openModelStore } from './support/model-clients.ts';
import { command, mostAtOnce } from './support/model-commands.ts';
import { Run } from './support/model-run.ts';

const database = useDatabase();
const stores: Store[] = [];
const sessions: pg.Client[] = [];
beforeAll(async () => {
  stores.push(await openModelStore(database), await openModelStore(database));
  for (let n = 0; n < mostAtOnce; n += 1) sessions.push(await database.connect());
});
afterAll(() => Promise.all(stores.map((store) => store.close())));

test('two stores and several sessions together behave as one list of events', async () => {
  const property = fc.asyncProperty(
    fc.array(command, { minLength: 1, maxLength: 15 }),
    async (commands) => {
      const [newest] = await database.query<{ position: number }>(
        'select coalesce(max(position), 0)::int as position from stele.events',
      );
      const run = new Run({ stores, sessions }, newest?.position ?? 0);
      for (const item of commands) await run.perform(item);
      await run.compare();
    },
  );
  const { numRuns = 100 } = fc.readConfigureGlobal();
  // Only for shrinking: runs that hang on to locks take long, and shrinking repeats them many times.
  await fc.assert(property, { numRuns, interruptAfterTimeLimit: 20_000 + numRuns * 500 });
}, 3_600_000);
