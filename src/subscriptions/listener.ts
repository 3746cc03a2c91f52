import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { channelOf } from '../store/notifier.ts';
import type { StoreParts } from '../store/parts.ts';
import type { SubscriptionStatements } from './statements.ts';

/** What is heard of other processes. */
export interface Heard {
  /** Something was appended. */
  readonly appended: () => void;
  /** Something about the subscriptions was changed: paused, released, asked for. */
  readonly control: () => void;
  /** Whether notifications arrive at all. */
  readonly hears: (yes: boolean) => void;
}

/** Hears what other processes say, on a connection of its own. */
export interface Listener {
  /** Tells the other processes that something about the subscriptions was changed. */
  tell(): Promise<void>;
  close(): Promise<void>;
}

const longestPauseMs = 30_000;
/** After this long, a notification of our own that was not heard will not come. */
const echoMs = 2_000;

/**
 * A pooler that gives each transaction another connection accepts LISTEN and delivers nothing. So what
 * is listened with is tried with an echo first, and is only a way to be faster: who hears nothing asks
 * more often.
 */
export function listen(
  { database, schema }: StoreParts,
  statements: SubscriptionStatements,
  heard: Heard,
): Listener {
  const channel = channelOf(schema);
  const echo = `echo ${randomUUID()}`;
  let closed = false;
  let client: pg.Client | undefined;
  let timer: NodeJS.Timeout | undefined;
  let pauseMs = 100;

  const say = async (payload: string): Promise<void> => {
    await database.query(statements.notify, [channel, payload]).catch(() => undefined);
  };
  const reconnectLater = (): void => {
    if (closed) return;
    clearTimeout(timer);
    timer = setTimeout(connect, pauseMs).unref();
    pauseMs = Math.min(pauseMs * 2, longestPauseMs);
  };
  const onNotification = ({ payload = '' }: pg.Notification): void => {
    if (payload === 'control') heard.control();
    else if (payload === '') heard.appended();
    else if (payload === echo) {
      clearTimeout(timer);
      pauseMs = 100;
      heard.hears(true);
    }
  };

  const open = async (): Promise<void> => {
    const opened = await database.connect();
    if (closed) {
      await opened.end();
      return;
    }
    client = opened;
    opened.on('notification', onNotification);
    opened.once('end', () => {
      if (client !== opened) return;
      client = undefined;
      heard.hears(false);
      reconnectLater();
    });
    await opened.query(`listen ${opened.escapeIdentifier(channel)}`);
    timer = setTimeout(() => void opened.end(), echoMs).unref();
    await say(echo);
    // What was said while nobody listened was not heard.
    heard.control();
    heard.appended();
  };
  const connect = (): void => {
    opening = open().catch(() => {
      const broken = client;
      client = undefined;
      void broken?.end().catch(() => undefined);
      reconnectLater();
    });
  };
  let opening: Promise<void> = Promise.resolve();
  connect();

  return {
    tell: () => say('control'),
    close: async () => {
      closed = true;
      clearTimeout(timer);
      await opening;
      await client?.end().catch(() => undefined);
    },
  };
}
