// Copies runs between buckets and directories, and lets a stage that reads a whole run work on one in a bucket.
import { mkdtemp, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { Bucket } from '../../util/s3/bucket.js';
import { isBucket } from '../../util/place.js';
import { together } from '../../util/together.js';
import { DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';
import { removeAllLeftovers, writeFileAtomic } from '../atomic.js';
import { BucketLocks } from './bucket-locks.js';
import { BucketStore } from './bucket-store.js';
import { fetchCommitted, parseCommit } from './commit.js';
import { filesIn, LITTER } from './files.js';
import { makeFolder } from '../../util/paths.js';

const MANIFEST = 'manifest.json';
const RECORD = /^(?:rounds\/\d+\/)?shards\/\d{5,}\.json$/;
const ATTEMPT = /^(?:rounds\/\d+\/)?shards\/\d{5,}\//;
/** The manifest of a run that is being pulled: its folder becomes a run at the end. */
const PULLING = '.pulling.json';
/** A run beside the run: that of localize's baseline. */
export const BASELINE = 'baseline';
const NOT_COPIED = new RegExp(`^(locks/|index/|\\.probe-|${BASELINE}/)`);

/** What a copy did. */
export interface CopySummary {
  shards: number;
  files: number;
}

type CopyHooks = Pick<Hooks<{ type: 'copy'; done: number; total: number }>, 'signal' | 'onLog' | 'onProgress'>;

function checkGoesOn({ signal }: CopyHooks): void {
  if (signal?.aborted)
    throw new DiffmineError(
      'CANCELLED',
      'The copy was cancelled.',
      'Run the same command again: what is copied is kept.',
    );
}

/** Makes a folder the place of a run, unless it holds anything else. @throws RUN_MISMATCH */
async function claim(folder: string, manifest: Buffer): Promise<void> {
  for (const name of [MANIFEST, PULLING]) {
    const there = await readFile(join(folder, name)).catch(() => undefined);
    if (there?.equals(manifest)) return;
    if (there) throw new DiffmineError('RUN_MISMATCH', `${folder} holds another run.`, 'Give a new directory.');
  }
  const foreign = (await namesIn(folder)).find((name) => !LITTER.test(name));
  if (foreign !== undefined)
    throw new DiffmineError(
      'RUN_MISMATCH',
      `${folder} is not empty and not a run (it has ${JSON.stringify(foreign)}).`,
      'Give a new or empty directory.',
    );
  await makeFolder(folder);
  await writeFileAtomic(join(folder, PULLING), manifest);
}

/**
 * Copies a run from a bucket to a directory, in its usual layout. What is there already stays; shards appear when complete.
 *
 * @param wanted files to copy, by name in the run's folder; default: all but locks
 * @throws RUN_INVALID if there is no run, or it is damaged; RUN_MISMATCH if the folder holds anything else; IO; CANCELLED
 */
export async function pullRun(
  place: string,
  folder: string,
  hooks: CopyHooks = {},
  wanted: (name: string) => boolean = () => true,
): Promise<CopySummary> {
  const bucket = await Bucket.open(place, hooks.onLog);
  const manifest = await bucket.get(MANIFEST);
  if (!manifest)
    throw new DiffmineError(
      'RUN_INVALID',
      `${place} is not a run: it has no ${MANIFEST}.`,
      'Give a place that `diffmine scan --out` made.',
    );
  await claim(folder, manifest);
  const records: string[] = [];
  const files: string[] = [];
  for await (const { key } of bucket.list('')) {
    if (RECORD.test(key)) records.push(key);
    else if (!ATTEMPT.test(key) && !NOT_COPIED.test(key) && key !== MANIFEST && wanted(key)) files.push(key);
  }
  const total = records.length + files.length;
  let done = 0;
  const step = (): void => hooks.onProgress?.({ type: 'copy', done: ++done, total });
  for (const name of ['shards', 'locks']) await makeFolder(join(folder, name));
  const temporary = await mkdtemp(join(folder, '.pull.tmp-'));
  try {
    await together(records, async (record) => {
      checkGoesOn(hooks);
      await pullShard(bucket, record, folder, temporary, wanted);
      step();
    });
    await together(files, async (name) => {
      checkGoesOn(hooks);
      await bucket.download(name, join(folder, ...name.split('/')));
      step();
    });
    const { index } = JSON.parse(manifest.toString()) as { index?: { sha256?: string } };
    if (!(await bucket.download(`index/${index?.sha256 ?? ''}.parquet`, join(folder, 'index.parquet'))))
      throw new DiffmineError(
        'RUN_INVALID',
        `${place} has lost its index.`,
        'Restore it, or start again at a new place.',
      );
    // last: a folder with a manifest is a run
    await writeFileAtomic(join(folder, MANIFEST), manifest);
    await rm(join(folder, PULLING), { force: true });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  await removeAllLeftovers(folder); // of copies that were killed
  return { shards: records.length, files: files.length };
}

async function pullShard(
  bucket: Bucket,
  record: string,
  folder: string,
  temporary: string,
  wanted: (name: string) => boolean,
): Promise<void> {
  const at = record.slice(0, -'.json'.length);
  const content = await bucket.get(record);
  if (!content) return; // of a round that was removed in the meantime
  const commit = parseCommit(content, `${bucket.place}/${record}`);
  const own = commit.files.find(({ name }) => name === `${at}.jsonl`) ? `${at}.jsonl` : at;
  if (await stat(join(folder, own)).catch(() => undefined)) return;
  await fetchCommitted(bucket, folder, at, commit, (name) => !name.startsWith(at) && wanted(name));
  await fetchCommitted(bucket, temporary, at, commit, (name) => name.startsWith(at) && wanted(name));
  await makeFolder(dirname(join(folder, own)));
  await rename(join(temporary, own), join(folder, own)).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error; // nothing of it was wanted
  });
}

/**
 * Copies a run from a directory to a bucket. What is there already stays, if it is of the same run.
 *
 * @throws RUN_INVALID if the folder holds no run; RUN_MISMATCH if the bucket holds another one; IO; CANCELLED
 */
export async function pushRun(folder: string, place: string, hooks: CopyHooks = {}): Promise<CopySummary> {
  const files = await filesIn(folder);
  if (!files.includes(MANIFEST))
    throw new DiffmineError(
      'RUN_INVALID',
      `${folder} is not a run: it has no ${MANIFEST}.`,
      'Give a folder that `diffmine scan --out` made.',
    );
  const store = await BucketStore.of(place, folder, hooks.onLog);
  await store.pushManifest();
  const shards: { folder: string; suffix: string; name: string }[] = [];
  for (const parent of ['', ...(await namesIn(join(folder, 'rounds'))).map((round) => `rounds/${round}`)]) {
    for (const entry of await namesIn(join(folder, parent, 'shards'))) {
      const [, name = '', suffix = ''] = /^(\d{5,})(\.jsonl)?$/.exec(entry) ?? [];
      if (name) shards.push({ folder: parent, suffix, name });
    }
  }
  const rest = files.filter(
    (name) => name !== MANIFEST && name !== 'index.parquet' && !/^(locks\/|(rounds\/\d+\/)?shards\/)/.test(name),
  );
  let done = 0;
  const total = shards.length + rest.length;
  for (const { folder: parent, suffix, name } of shards) {
    checkGoesOn(hooks);
    const kept = store.shards(parent, suffix);
    if (!(await kept.isDone(name))) await kept.commit(name);
    hooks.onProgress?.({ type: 'copy', done: ++done, total });
  }
  await together(rest, async (name) => {
    checkGoesOn(hooks);
    await store.keep(name);
    hooks.onProgress?.({ type: 'copy', done: ++done, total });
  });
  return { shards: shards.length, files: rest.length };
}

async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder).catch((): string[] => [])).sort();
}

export interface LocalWork {
  /** names of the run's files that are read; default: all */
  reads?: (name: string) => boolean;
  /** files and folders that may be made, in the order in which they are kept */
  makes: readonly string[];
  /** name of the lock that writers hold */
  lock: string;
}

/** For `reads`: tables and results, without maps, which are most of a run, and without pages. */
export const withoutMaps = (name: string): boolean =>
  !/(^|\/)maps\.safetensors$|^(report|evaluate|localize)\//.test(name);

/** For `reads`: what maps are compared with boxes by. Of the report the file that shows the evaluation, of mining the rankings. */
export const forMaps = (name: string): boolean =>
  !/^(localize|evaluate|rounds)\/|^report\/(?!data\/evaluation\.js$)|^mine\/(?!(mine\.json|patches\.parquet)$)|^shards\/.*\/(files|patches)\.parquet$/.test(
    name,
  );

/**
 * Calls `work` with the folder of a run. One that is in a bucket is copied to a temporary folder, and what `work` makes is kept in the bucket.
 * Paths in results, logs and errors are then those of the bucket.
 *
 * @param place a path, or s3://bucket/prefix
 */
export async function withLocalRun<Result, H extends Pick<Hooks<never>, 'signal' | 'onLog'>>(
  place: string,
  hooks: H,
  { reads, makes, lock: name }: LocalWork,
  work: (folder: string, hooks: H) => Promise<Result>,
): Promise<Result> {
  if (!isBucket(place)) return work(place, hooks);
  const { onLog, signal } = hooks;
  const bucket = await Bucket.open(place, onLog);
  const temporary = await mkdtemp(join(tmpdir(), 'diffmine-run-'));
  const folder = join(temporary, basename(bucket.place)); // pages show its name
  const shown = (text: string): string => text.replaceAll(folder, bucket.place);
  const lock =
    makes.length === 0
      ? undefined
      : await new BucketLocks(bucket).wait(name, {
          signal,
          onWaiting: (holder) => onLog?.(`Waiting for ${holder}, which works on ${place}.`),
        });
  try {
    await pullRun(place, folder, { signal, onLog }, reads);
    const local = { ...hooks, ...(onLog ? { onLog: (line: string) => onLog(shown(line)) } : {}) };
    const result = await work(folder, local);
    const store = await BucketStore.of(place, folder, onLog);
    for (const made of makes) if (await stat(join(folder, made)).catch(() => undefined)) await store.keep(made);
    return renamed(result, shown);
  } catch (error) {
    if (error instanceof DiffmineError)
      throw new DiffmineError(error.code, shown(error.message), error.hint && shown(error.hint), {
        cause: error,
        ...(error.option === undefined ? {} : { option: error.option }),
      });
    throw error;
  } finally {
    await lock?.release();
    await rm(temporary, { recursive: true, force: true });
  }
}

/** A result with all of its strings renamed. */
function renamed<T>(value: T, rename: (text: string) => string): T {
  if (typeof value === 'string') return rename(value) as T;
  if (Array.isArray(value)) return value.map((item: unknown) => renamed(item, rename)) as T;
  if (value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, renamed(item as unknown, rename)])) as T;
  return value;
}
