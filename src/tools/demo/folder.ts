// The folder of a demo: demo.json marks it, so that nothing else is overwritten.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../runs/atomic.js';
import { VERSION } from '../../util/version.js';
import { DiffmineError } from '../../util/errors.js';
import { parseJson } from '../../util/json.js';
import { makeFolder } from '../../util/paths.js';

export const DEMO_FORMAT = 'diffmine-demo-2';
/** What a demo writes into its folder, besides temporary names, which begin with a dot. */
const OURS = [
  'demo.json',
  'world',
  'run',
  'control',
  'translation',
  'cotypicality',
  'localization',
  'index.html',
  'locks',
];

/** Makes OUT a demo's folder, if it is new, empty or one already. @param asked as it was given, for errors */
export async function claimFolder(out: string, asked: string): Promise<void> {
  await makeFolder(out);
  const marker = join(out, 'demo.json');
  const record = await readJson(marker);
  if (record?.['format'] !== DEMO_FORMAT) {
    const foreign = (await readdir(out)).find((name) => name !== 'locks' && !name.startsWith('.'));
    if (foreign !== undefined) {
      throw new DiffmineError(
        'RUN_MISMATCH',
        `${asked} is not a demo folder (it has ${JSON.stringify(foreign)}).`,
        'Give a new or empty folder with `out`.',
      );
    }
    await writeFileAtomic(
      marker,
      `${JSON.stringify({ format: DEMO_FORMAT, version: VERSION, contents: OURS }, null, 1)}\n`,
    );
  }
  await makeFolder(join(out, 'locks'));
}

/** A JSON object in a file; undefined if there is none. */
export async function readJson(file: string): Promise<Record<string, unknown> | undefined> {
  try {
    const value: unknown = parseJson(await readFile(file, 'utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
