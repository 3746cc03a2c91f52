import { serve } from '@hono/node-server';
import { openServer } from './database.ts';
import { createApp } from './http.ts';
import { openMailer } from './mailer.ts';
import { openAccounts } from './service.ts';
import { SignUps } from './sign-ups.ts';
import { welcome } from './welcome.ts';

const smtpUrl = process.env['SMTP_URL'] ?? '';
const mailer = smtpUrl === '' ? undefined : openMailer(smtpUrl);
const server = await openServer();
const accounts = await openAccounts(
  server.connectionString,
  mailer === undefined ? [SignUps] : [SignUps, welcome(mailer)],
);

const http = serve({
  fetch: createApp(accounts).fetch,
  hostname: process.env['HOST'] ?? '127.0.0.1',
  port: Number(process.env['PORT'] ?? 3000),
});

http.on('listening', () => {
  const address = http.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  console.log(`Listening on http://localhost:${port}`);
  if (mailer === undefined)
    console.log('No mail is sent. Set SMTP_URL to have new users welcomed.');
  if (server.embedded) console.log('Its data goes when it ends. Set DATABASE_URL to keep it.');
});
http.on('error', (error: NodeJS.ErrnoException) => {
  const taken = error.code === 'EADDRINUSE';
  console.error(taken ? 'The port is taken. Set PORT to another one.' : error.message);
  process.exitCode = 1;
  void stop();
});

async function stop(): Promise<void> {
  // What is being answered is finished first; then nothing needs the store any more.
  await new Promise((done) => http.close(done));
  await accounts[Symbol.asyncDispose]();
  mailer?.close();
  await server[Symbol.asyncDispose]();
}
process.once('SIGINT', () => void stop());
process.once('SIGTERM', () => void stop());
