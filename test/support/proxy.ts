import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

/** Stands between a client and a server, and can lose what the server answers. */
export interface Proxy extends AsyncDisposable {
  /** The same database, through this proxy. */
  readonly connectionString: string;
  /**
   * Cuts the connection in place of the next answer that holds this text, once. The server has done
   * by then what the client never hears of. Resolves when it has happened.
   */
  loseAnswer(holding: string): Promise<void>;
}

/** Starts a proxy to the server of a connection string. */
export async function startProxy(connectionString: string): Promise<Proxy> {
  const target = new URL(connectionString);
  const sockets = new Set<Socket>();
  let lose: { readonly holding: string; readonly done: () => void } | undefined;

  const server = createServer((client) => {
    const upstream = connect(Number(target.port || 5432), target.hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream);
    upstream.on('data', (data) => {
      // Notifications of other processes come at any time, and nobody waits for their answers.
      const isMeant = lose !== undefined && data.includes(lose.holding);
      if (lose === undefined || !isMeant || data.includes('pg_notify')) {
        client.write(data);
        return;
      }
      const { done } = lose;
      lose = undefined;
      client.destroy();
      done();
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const url = new URL(connectionString);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  return {
    connectionString: url.href,
    loseAnswer: (holding) =>
      new Promise((done) => {
        lose = { holding, done };
      }),
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}
