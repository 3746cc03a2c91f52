import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { callbackify } from 'node:util';
import { SMTPServer } from 'smtp-server';

/** An e-mail as it arrived. */
export interface ReceivedMail {
  readonly to: string;
  readonly subject: string;
  readonly messageId: string;
}

/** A mail server for the demo and the tests, in this process: it delivers nothing. */
export interface FakeMailServer extends AsyncDisposable {
  readonly url: string;
  /** All that has arrived, repetitions included. */
  readonly received: readonly ReceivedMail[];
}

/** @param answer - looks at a mail before it is taken; what it throws is the server's answer to it */
export async function startFakeMailServer(
  answer: (mail: ReceivedMail) => void = () => undefined,
): Promise<FakeMailServer> {
  const received: ReceivedMail[] = [];
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    onData: (stream, _, done) => {
      const take = async (): Promise<void> => {
        const mail = parse(await text(stream));
        answer(mail);
        received.push(mail);
      };
      callbackify(take)((error) => {
        done(error);
      });
    },
  });
  server.listen(0, '127.0.0.1');
  await once(server.server, 'listening');
  const { port } = server.server.address() as AddressInfo;
  return {
    url: `smtp://127.0.0.1:${port}`,
    received,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(resolve)),
  };
}

function parse(source: string): ReceivedMail {
  const [head = ''] = source.split('\r\n\r\n', 1);
  // A long line goes on in the next one, which begins with a space.
  const lines = head.replaceAll(/\r\n[ \t]+/gu, ' ').split('\r\n');
  const field = (name: string): string =>
    lines.find((line) => line.toLowerCase().startsWith(`${name}: `))?.slice(name.length + 2) ?? '';
  return { to: field('to'), subject: field('subject'), messageId: field('message-id') };
}
