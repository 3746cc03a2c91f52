/** Reads a whole store in a process of its own, and tells how much memory it had along the way. */
import { openRuntime, openStore, subscription } from 'stele';

import { Order } from './order.ts';

/** Memory in bytes, after so many events. */
export interface Sample {
  readonly handled: number;
  /** What is left after a collection of garbage. */
  readonly heap: number;
  /** What the process has of the system, before it. */
  readonly resident: number;
}

const [connection = '', how = ''] = process.argv.slice(2);
const samples: Sample[] = [];
let handled = 0;
const sampling = setInterval(() => {
  const { rss: resident } = process.memoryUsage();
  globalThis.gc?.();
  samples.push({ handled, heap: process.memoryUsage().heapUsed, resident });
}, 200);

const store = await openStore({ connection, aggregates: [Order] });
if (how === 'subscription') {
  const counting = subscription('counting', {
    aggregates: [Order],
    on: {
      LineAdded: () => {
        handled += 1;
      },
    },
  });
  const runtime = await openRuntime(store, { run: [counting] });
  await runtime.caughtUp({ timeoutMs: 3_600_000 });
} else {
  for await (const { position } of store.read()) {
    void position;
    handled += 1;
  }
}
clearInterval(sampling);
await store.close();
process.send?.(samples);
