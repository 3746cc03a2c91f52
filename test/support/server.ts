import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { TestProject } from 'vitest/node';

import { startEmbeddedPostgres } from '../../src/db/embedded.ts';
import { migrate } from '../../src/db/migrate.ts';

/** What the tests of one run share. */
export interface TestServer {
  /** Connects with the right to create databases. */
  readonly connectionString: string;
  /** Begins the name of every database of this run, so that runs can share a server. */
  readonly prefix: string;
  /** A migrated database to clone. */
  readonly template: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    server: TestServer;
  }
}

/** One server for the whole run: that of `DATABASE_URL`, else an embedded one. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { connectionString, stop } = await startServer();
  const prefix = `stele_test_${randomBytes(5).toString('hex')}`;
  const template = `${prefix}_template`;
  try {
    await onServer(connectionString, (admin) => admin.query(`create database ${template}`));
    await migrate({ connection: databaseUrl(connectionString, template) });
    // Somebody who is connected to a template keeps others from cloning it.
    await onServer(connectionString, (admin) =>
      admin.query(`alter database ${template} allow_connections false`),
    );
  } catch (error) {
    await stop(prefix);
    throw error;
  }
  project.provide('server', { connectionString, prefix, template });
  return () => stop(prefix);
}

async function startServer(): Promise<{
  readonly connectionString: string;
  readonly stop: (prefix: string) => Promise<void>;
}> {
  const connectionString = process.env['DATABASE_URL'];
  if (connectionString !== undefined && connectionString !== '') {
    return { connectionString, stop: (prefix) => dropDatabases(connectionString, prefix) };
  }
  // Tests that crash a server start one of their own; this one dies with its data.
  const server = await startEmbeddedPostgres({
    settings: { max_connections: '200', fsync: 'off', full_page_writes: 'off' },
  });
  return { connectionString: server.connectionString, stop: () => server.stop() };
}

async function dropDatabases(connectionString: string, prefix: string): Promise<void> {
  await onServer(connectionString, async (admin) => {
    const { rows } = await admin.query<{ datname: string }>(
      'select datname from pg_database where starts_with(datname, $1)',
      [`${prefix}_`],
    );
    for (const { datname } of rows) await admin.query(`drop database ${datname} with (force)`);
  });
}

/** Lends a connection to the server's own database. */
export async function onServer<T>(
  connectionString: string,
  use: (admin: pg.Client) => Promise<T>,
): Promise<T> {
  const admin = new pg.Client({ connectionString, application_name: 'stele tests' });
  await admin.connect();
  try {
    return await use(admin);
  } finally {
    await admin.end();
  }
}

/** The same server, another database. */
export function databaseUrl(connectionString: string, database: string): string {
  const url = new URL(connectionString);
  url.pathname = `/${database}`;
  return url.href;
}
