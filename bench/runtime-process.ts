/** Runs the read model of row 9 in a process of its own, until its parent lets go of it. */
import { once } from 'node:events';
import { openRuntime, openStore } from 'stele';

import { Lines } from './lines.ts';
import { Order } from './order.ts';

const [connection = ''] = process.argv.slice(2);
const ended = once(process, 'disconnect');
await using store = await openStore({ connection, aggregates: [Order] });
await using _ = await openRuntime(store, { run: [Lines] });
process.send?.('ready');
await ended;
