import { startEmbeddedPostgres } from 'stele/embedded';

/** A PostgreSQL server to work on. */
export interface Server extends AsyncDisposable {
  readonly connectionString: string;
  readonly embedded: boolean;
}

/** The server that `DATABASE_URL` names, or else one of our own, which goes with its data in the end. */
export async function openServer(): Promise<Server> {
  const connectionString = process.env['DATABASE_URL'] ?? '';
  if (connectionString !== '') {
    return { connectionString, embedded: false, [Symbol.asyncDispose]: async () => {} };
  }
  const server = await startEmbeddedPostgres();
  return {
    connectionString: server.connectionString,
    embedded: true,
    [Symbol.asyncDispose]: () => server.stop(),
  };
}
