import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

import type { Contestant } from '../contestant.ts';
import { openCastore } from './castore.ts';
import { openEmmett } from './emmett.ts';

/** Opens the peers, each with tables of its own in the given database. */
export async function openPeers(connectionString: string): Promise<readonly Contestant[]> {
  return [
    await openEmmett(await load('@event-driven-io/emmett-postgresql'), connectionString),
    await openCastore(await load('@castore/event-storage-adapter-postgres'), connectionString),
  ];
}

/** From this folder's own installation, which the repository's does not touch. */
async function load(name: string): Promise<unknown> {
  try {
    const entry = createRequire(import.meta.url).resolve(name);
    return (await import(pathToFileURL(entry).href)) as unknown;
  } catch (cause) {
    throw new Error('The peers are not installed. Run: npm ci --prefix bench/peers', { cause });
  }
}
