import { documentProjection } from 'stele';
import { User } from './user.ts';

/** How many users signed up on a day, and how many of them with addresses of which domain. */
export interface SignUpsOfDay {
  readonly users: number;
  readonly domains: Readonly<Record<string, number>>;
}

/**
 * Keeps a document for each day, under its date in UTC. It follows the events behind the appends: those
 * who sign up do not wait for each other's day to be counted.
 */
export const SignUps = documentProjection('sign-ups', {
  aggregates: [User],
  others: 'ignore',
  version: 2, // goes up with every change of what this makes of events
  key: ({ metadata }) => dayOf(metadata.timestamp),
  initialState: (): SignUpsOfDay => ({ users: 0, domains: {} }),
  evolve: {
    UserCreated: ({ users, domains }, { data }) => {
      const domain = domainOf(data.email);
      return { users: users + 1, domains: { ...domains, [domain]: (domains[domain] ?? 0) + 1 } };
    },
  },
});

/** The date of a moment, in UTC. */
export function dayOf(time: Date): string {
  return time.toISOString().slice(0, 10);
}

function domainOf(email: string): string {
  return email.slice(email.lastIndexOf('@') + 1).toLowerCase();
}
