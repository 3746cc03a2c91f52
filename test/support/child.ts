import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** What a process left behind. */
export interface ChildResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a script in a process of its own, so that a test sees what would end the process. The script
 * is a module that may import `stele` and `pg`; `process.env.CONNECTION` is the connection string.
 */
export async function runChild(
  script: string,
  connectionString: string,
  flags: readonly string[] = [],
): Promise<ChildResult> {
  const root = new URL('../../', import.meta.url);
  try {
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      [...flags, '--import', 'tsx', '--input-type', 'module', '--eval', script],
      { cwd: root, env: { ...process.env, CONNECTION: connectionString } },
    );
    return { code: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as ChildResult;
    return { code: typeof code === 'number' ? code : -1, stdout, stderr };
  }
}
