// pull and push: runs from a bucket to a directory and back, with the run of a baseline beside them.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BASELINE, pullRun, pushRun, type CopySummary } from '../../runs/store/copy.js';
import { Bucket } from '../../util/s3/bucket.js';
import { isBucket, placeIn } from '../../util/place.js';
import { DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';

export type CopyEvent = { type: 'copy'; done: number; total: number };

export interface RunCopy extends CopySummary {
  from: string;
  to: string;
}

function checkPlaces(from: string, to: string, names: readonly [string, string]): void {
  const [here, there] = names;
  if (here === 'run' ? isBucket(from) && !isBucket(to) : !isBucket(from) && isBucket(to)) return;
  throw new DiffmineError(
    'INVALID_ARGUMENT',
    `Cannot copy '${from}' to '${to}'.`,
    `\`${here}\` is ${here === 'run' ? 's3://BUCKET/PREFIX' : 'a directory'}, \`${there}\` is ${here === 'run' ? 'a directory' : 's3://BUCKET/PREFIX'}.`,
  );
}

/**
 * Copies a run from a bucket to a directory, with its results. What is there already stays, so that a broken copy can be continued.
 *
 * @throws INVALID_ARGUMENT for places of other kinds; RUN_INVALID if there is no run, or it is damaged; IO; CANCELLED
 */
export async function pull(
  { run, folder }: { run: string; folder: string },
  hooks: Hooks<CopyEvent> = {},
): Promise<RunCopy> {
  checkPlaces(run, folder, ['run', 'folder']);
  const { shards, files } = await pullRun(run, folder, hooks);
  const total = { from: run, to: folder, shards, files };
  if (await (await Bucket.open(run)).head(`${BASELINE}/manifest.json`)) {
    const beside = await pullRun(placeIn(run, BASELINE), join(folder, BASELINE), hooks);
    total.shards += beside.shards;
    total.files += beside.files;
  }
  return total;
}

/**
 * Copies a run from a directory to a bucket, with its results. What is there already stays, if it is of the same run.
 *
 * @throws INVALID_ARGUMENT for places of other kinds; RUN_INVALID if there is no run; RUN_MISMATCH if the bucket holds another; IO; CANCELLED
 */
export async function push(
  { folder, run }: { folder: string; run: string },
  hooks: Hooks<CopyEvent> = {},
): Promise<RunCopy> {
  checkPlaces(folder, run, ['folder', 'run']);
  const { shards, files } = await pushRun(folder, run, hooks);
  const total = { from: folder, to: run, shards, files };
  if (existsSync(join(folder, BASELINE, 'manifest.json'))) {
    const beside = await pushRun(join(folder, BASELINE), placeIn(run, BASELINE), hooks);
    total.shards += beside.shards;
    total.files += beside.files;
  }
  return total;
}
