// The commit record of a shard in a bucket: written once, it says that the shard is finished and which files are its own.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DiffmineError } from '../../util/errors.js';
import type { Bucket } from '../../util/s3/bucket.js';
import { exists } from '../../util/paths.js';
import { sha256File } from '../../util/sha256.js';
import { together } from '../../util/together.js';
import { list, members, oneOf, text, whole } from '../json-shape.js';

export const COMMIT_FORMAT = 'diffmine-commit-1';

/** shards/NNNNN.json */
export interface Commit {
  format: typeof COMMIT_FORMAT;
  /** folder of the files, beside the record */
  attempt: string;
  files: CommittedFile[];
  /** who wrote it, for people */
  writer: { host: string; pid: number; version: string; date: string };
}

export interface CommittedFile {
  /** relative to the run's folder, forward slashes */
  name: string;
  size: number;
  sha256: string;
}

const COMMIT_SHAPE = members({
  format: oneOf(COMMIT_FORMAT),
  attempt: text,
  files: list(members({ name: text, size: whole(0), sha256: text })),
});

/** @throws RUN_INVALID */
export function parseCommit(content: Buffer, record: string): Commit {
  let value: unknown;
  try {
    value = JSON.parse(content.toString());
  } catch {
    value = undefined;
  }
  if (!COMMIT_SHAPE(value))
    throw new DiffmineError('RUN_INVALID', `${record} is damaged.`, 'Remove it and run the same command again.');
  return value as Commit;
}

/** Where a committed file is in the bucket. @param at of the attempts: 'shards/00007' */
export function keyOf(at: string, attempt: string, file: string): string {
  return file.startsWith(at) ? `${at}/${attempt}/${file}` : file;
}

/**
 * Copies a finished shard's files to their places in a local folder; those that are there stay.
 *
 * @param at of the attempts in the bucket: 'shards/00007'
 */
export async function fetchCommitted(
  bucket: Bucket,
  path: string,
  at: string,
  commit: Commit,
  wanted: (name: string) => boolean,
): Promise<void> {
  await together(
    commit.files.filter(({ name }) => wanted(name)),
    async ({ name, sha256 }) => {
      const target = join(path, ...name.split('/'));
      if (await exists(target)) return;
      const key = keyOf(at, commit.attempt, name);
      if ((await bucket.download(key, target)) && (await sha256File(target)) === sha256) return;
      await rm(target, { force: true });
      throw new DiffmineError(
        'RUN_INVALID',
        `${bucket.place}/${key} is missing or damaged.`,
        `Remove ${bucket.place}/${at}.json and run the same command again: that shard is repeated.`,
      );
    },
  );
}
