import { createTransport } from 'nodemailer';

/** An e-mail. Two with the same id are the same. */
export interface Mail {
  readonly to: string;
  readonly subject: string;
  readonly text: string;
  readonly id: string;
}

/** Hands mail over to a mail server. */
export interface Mailer {
  /** Resolves when the server has taken it. */
  send(mail: Mail): Promise<void>;
  close(): void;
}

/** @param url - such as `smtp://user:password@mail.example.com:587` */
export function openMailer(url: string): Mailer {
  const transport = createTransport({ url, pool: true });
  return {
    send: async ({ id, ...mail }) => {
      // A Message-ID has no colons.
      const messageId = `<${id}@accounts.example>`;
      await transport.sendMail({ from: 'Accounts <hello@accounts.example>', ...mail, messageId });
    },
    close: () => {
      transport.close();
    },
  };
}
