// pull and push: runs from a bucket to a directory and back, with the run of a baseline beside them.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BASELINE, pullRun, pushRun, type CopySummary } from '../../runs/store/copy.js';
import { Bucket } from '../../util/s3/bucket.js';
import { isBucket, placeIn } from '../../util/place.js';
import { DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';
import { anyManifest, withStore } from '../queue/stored.js';

export type CopyEvent = { type: 'copy'; done: number; total: number };

export interface RunCopy extends CopySummary {
  from: string;
  to: string;
}

/** @throws INVALID_ARGUMENT for a directory where a place in a bucket is expected, or the other way around */
function checkPlace(option: string, place: string, expected: 'bucket' | 'directory'): void {
  if (isBucket(place) === (expected === 'bucket')) return;
  const form = expected === 'bucket' ? 's3://BUCKET/PREFIX' : 'a directory';
  throw new DiffmineError('INVALID_ARGUMENT', `\`${option}\` is ${place}; expected ${form}.`, undefined, { option });
}

/**
 * Copies a run from a bucket to a directory, with its results. What is there already stays, so that a broken copy can be continued.
 *
 * @throws INVALID_ARGUMENT for places of other kinds; RUN_INVALID if there is no run, or it is damaged; RUN_MISMATCH if the directory holds anything else; IO;
 *   CANCELLED
 */
export async function pull(
  { source, folder }: { source: string; folder: string },
  hooks: Hooks<CopyEvent> = {},
): Promise<RunCopy> {
  checkPlace('source', source, 'bucket');
  checkPlace('folder', folder, 'directory');
  await withStore(source, anyManifest);
  const { shards, files } = await pullRun(source, folder, hooks);
  const total = { from: source, to: folder, shards, files };
  if (await (await Bucket.open(source)).head(`${BASELINE}/manifest.json`)) {
    const beside = await pullRun(placeIn(source, BASELINE), join(folder, BASELINE), hooks);
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
  { run, destination }: { run: string; destination: string },
  hooks: Hooks<CopyEvent> = {},
): Promise<RunCopy> {
  checkPlace('run', run, 'directory');
  checkPlace('destination', destination, 'bucket');
  await withStore(run, anyManifest);
  const { shards, files } = await pushRun(run, destination, hooks);
  const total = { from: run, to: destination, shards, files };
  if (existsSync(join(run, BASELINE, 'manifest.json'))) {
    const beside = await pushRun(join(run, BASELINE), placeIn(destination, BASELINE), hooks);
    total.shards += beside.shards;
    total.files += beside.files;
  }
  return total;
}
