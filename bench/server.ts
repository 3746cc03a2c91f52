import { randomBytes } from 'node:crypto';
import { cpus, totalmem } from 'node:os';
import pg from 'pg';
import { startEmbeddedPostgres } from 'stele/embedded';

/** The server that everything of one run is measured on. */
export interface Server extends AsyncDisposable {
  /** What it is, and what it runs on. */
  readonly machine: Machine;
  /** Makes an empty database, which goes with the server or at the end of the run. */
  createDatabase(): Promise<string>;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly node: string;
  readonly postgres: string;
  /** The settings that decide what a commit costs. */
  readonly settings: Readonly<Record<string, string>>;
}

/** The server of `DATABASE_URL`, else one of our own with Postgres's own settings: durable. */
export async function openServer(): Promise<Server> {
  const given = process.env['DATABASE_URL'];
  const own =
    given === undefined || given === ''
      ? await startEmbeddedPostgres({ settings: { max_connections: '200' } })
      : undefined;
  const connectionString = own?.connectionString ?? given ?? '';
  const admin = new pg.Client({ connectionString });
  await admin.connect();
  const names: string[] = [];
  return {
    machine: await describe(admin),
    createDatabase: async () => {
      const name = `stele_bench_${randomBytes(5).toString('hex')}`;
      await admin.query(`create database ${name}`);
      names.push(name);
      const url = new URL(connectionString);
      url.pathname = `/${name}`;
      return url.href;
    },
    [Symbol.asyncDispose]: async () => {
      if (own === undefined) {
        for (const name of names) await admin.query(`drop database ${name} with (force)`);
      }
      await admin.end();
      await own?.stop();
    },
  };
}

async function describe(admin: pg.Client): Promise<Machine> {
  const { rows } = await admin.query<{ name: string; value: string }>(
    `select name, current_setting(name) as value from pg_settings where name = any ($1) order by name`,
    [['server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers']],
  );
  const settings = Object.fromEntries(rows.map(({ name, value }) => [name, value]));
  const { server_version: postgres = '', ...others } = settings;
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    postgres,
    settings: others,
  };
}
