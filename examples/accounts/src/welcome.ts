import { reaction, type Subscription } from 'stele';
import type { Mailer } from './mailer.ts';
import { User } from './user.ts';

/**
 * Sends a welcome e-mail to everybody who signs up from now on. The process may die after the mail was
 * sent and before that was noted; then the mail goes again, under the same id, by which whoever
 * receives it can tell. An address that takes no mail is set aside, and the others get theirs.
 */
export function welcome(mailer: Mailer): Subscription {
  return reaction('welcome', {
    aggregates: [User],
    from: 'now',
    attempts: 3,
    onFailure: 'park',
    on: {
      UserCreated: async ({ data }, { idempotencyKey }) => {
        await mailer.send({
          to: data.email,
          subject: 'Welcome',
          text: `Welcome, ${data.username}!`,
          id: idempotencyKey,
        });
      },
    },
  });
}
