import type pg from 'pg';
import { projection } from 'stele';
import { User } from './user.ts';

/**
 * The read model's table. The lock lets several processes start at once, where `if not exists` alone
 * would fail in all but one.
 */
export const usersTable = `
  select pg_advisory_xact_lock(hashtext('accounts.users'));
  create table if not exists users (
    id         text primary key,
    email      text not null,
    username   text not null,
    status     text not null,
    updated_at timestamptz not null,
    updated_by text
  );
  create unique index if not exists users_email_key on users (lower(email));
`;

/**
 * Keeps the table `users` in the transaction of each append: never behind, and where two users want
 * one e-mail address, its index refuses the second together with the event.
 */
export const Users = projection('users', {
  aggregates: [User],
  on: {
    UserCreated: async ({ streamId, data, metadata }, transaction) => {
      await transaction.query(
        `insert into users (id, email, username, status, updated_at, updated_by)
         values ($1, $2, $3, 'active', $4, $5)`,
        [User.idOf(streamId), data.email, data.username, metadata.timestamp, metadata.userId],
      );
    },
    EmailChanged: async ({ streamId, data, metadata }, transaction) => {
      await transaction.query(
        'update users set email = $2, updated_at = $3, updated_by = $4 where id = $1',
        [User.idOf(streamId), data.email, metadata.timestamp, metadata.userId],
      );
    },
    UsernameChanged: async ({ streamId, data, metadata }, transaction) => {
      await transaction.query(
        'update users set username = $2, updated_at = $3, updated_by = $4 where id = $1',
        [User.idOf(streamId), data.username, metadata.timestamp, metadata.userId],
      );
    },
    UserDeactivated: async ({ streamId, metadata }, transaction) => {
      await transaction.query(
        `update users set status = 'deactivated', updated_at = $2, updated_by = $3 where id = $1`,
        [User.idOf(streamId), metadata.timestamp, metadata.userId],
      );
    },
  },
});

/** A row of the read model. */
export interface UserRow {
  readonly id: string;
  readonly email: string;
  readonly username: string;
  readonly status: string;
}

/** The user with this e-mail address, in whatever case it is written. */
export async function userByEmail(pool: pg.Pool, email: string): Promise<UserRow | undefined> {
  const { rows } = await pool.query<UserRow>(
    'select id, email, username, status from users where lower(email) = lower($1)',
    [email],
  );
  return rows[0];
}
