// Sharded work in a directory or a bucket (store/), shared by scans, translations and co-typicality: a manifest, fixed at the start, that determines every
// result; the index of items (list.ts); shards, each written once; locks, so that several processes can work on it.
import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { removeLeftovers } from './atomic.js';
import { isBucket, together } from '../util/bucket.js';
import { listChanges } from './changes.js';
import { canonicalJson, fingerprintOf, type Json } from './fingerprint.js';
import { LIST, LIST_RECORD, ListFile, writeList, type ListRecord, type Rows } from './list.js';
import { list, members, oneOf, text, whole, type Shape } from './shape.js';
import { Shards } from './shards.js';
import { DirectoryStore } from './store/directory.js';
import { openStore } from './store/open.js';
import type { RunStore } from './store/store.js';
import type { Row, Schema } from './tables.js';
import type { Dtype } from '../engine/types.js';
import type { Hooks } from '../util/hooks.js';

export { shardName } from './shards.js';
export const MANIFEST = 'manifest.json';

/** What file systems and desktops leave in a folder that is as good as empty. */
const LITTER =
  /^(\.nfs.*|\.fuse_hidden.*|\.snapshot|\.DS_Store|\.directory|\._.*|Thumbs\.db|desktop\.ini|@eaDir|lost\+found)$/i;

/** What every such manifest has. */
export interface ShardedManifest {
  format: string;
  version: string;
  /** ISO 8601 */
  created: string;
  /** of what decides the results, wherever it lies */
  fingerprint: string;
  /** everything asked for that changes results */
  options: { shardSize: number; batch: number; dtype: Dtype };
  /** of index.parquet */
  index: ListRecord;
  shards: number;
}

export type Draft<M extends ShardedManifest> = Omit<M, 'format' | 'fingerprint' | 'index' | 'shards'>;

/** Something beside the options that decides the results. */
export interface Subject {
  /** what the results follow from */
  value: Json;
  /** in sentences; default: the value */
  shown?: string;
}

/** One kind of sharded folder. */
export interface Kind<M extends ShardedManifest> {
  format: M['format'];
  /** in sentences: 'run' */
  noun: string;
  /** in sentences: '`diffmine scan --out`' */
  maker: string;
  /** what the work is of, by name; `dataset` is what the list holds */
  subjects(manifest: Draft<M>): Record<string, Subject>;
  /** the columns of the list: the first two name what is worked on, by which it is sorted; what decides results follows, then what does not */
  columns(manifest: Draft<M>): { own: Schema; deciding: readonly string[] };
  /** what its readers take for granted, beside what all manifests have */
  shape: Shape;
  /** a word for an option, where its name will not do */
  optionName?: Readonly<Record<string, string>>;
}

const ALL_HAVE = members({
  version: text,
  created: text,
  fingerprint: text,
  options: members({ shardSize: whole(1), batch: whole(1), dtype: oneOf('fp32', 'bf16', 'fp16') }),
  index: LIST_RECORD,
  shards: whole(0),
});

const optionName = (kind: { optionName?: Readonly<Record<string, string>> }, key: string): string =>
  kind.optionName?.[key] ?? (key === 'dtype' ? 'dtype' : key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`));

export function fingerprintOfDraft<M extends ShardedManifest>(kind: Kind<M>, draft: Draft<M>): string {
  const subjects = Object.entries(kind.subjects(draft)).map(([key, { value }]) => [key, value] as const);
  return fingerprintOf({
    format: kind.format,
    ...Object.fromEntries(subjects),
    options: draft.options as unknown as Json,
  });
}

/** The manifest that a draft becomes. */
export function completeManifest<M extends ShardedManifest>(kind: Kind<M>, draft: Draft<M>, index: ListRecord): M {
  return {
    format: kind.format,
    ...draft,
    fingerprint: fingerprintOfDraft(kind, draft),
    index,
    shards: Math.ceil(index.rows / draft.options.shardSize),
  } as unknown as M;
}

/** What differs between two folders' work: `samples: this run has 100, you asked for 50`. Empty if it is the same. */
export function differencesOf<M extends ShardedManifest>(
  kind: Kind<M>,
  existing: Draft<M>,
  wanted: Draft<M>,
): { name: string; sentence: string }[] {
  const show = (value: Json | undefined): string =>
    value === undefined || value === null
      ? 'none'
      : value === true
        ? 'yes'
        : value === false
          ? 'no'
          : typeof value === 'string'
            ? JSON.stringify(value)
            : canonicalJson(value);
  const compare = (name: string, before: string, after: string): { name: string; sentence: string } => ({
    name,
    sentence:
      before === after
        ? `${name}: ${before} has changed since this ${kind.noun} began`
        : `${name}: this ${kind.noun} has ${before}, you asked for ${after}`,
  });
  const [old, now] = [kind.subjects(existing), kind.subjects(wanted)];
  const subjects = Object.keys(now).flatMap((name) => {
    const [before, after] = [old[name], now[name]] as [Subject | undefined, Subject];
    return canonicalJson(before?.value ?? null) === canonicalJson(after.value)
      ? []
      : [compare(name, before?.shown ?? show(before?.value), after.shown ?? show(after.value))];
  });
  const [before, after] = [existing.options, wanted.options] as unknown as [Record<string, Json>, Record<string, Json>];
  const options = [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((key) => {
    if (canonicalJson(before[key] ?? null) === canonicalJson(after[key] ?? null)) return [];
    return [compare(optionName(kind, key), show(before[key]), show(after[key]))];
  });
  return [...subjects, ...options];
}

/**
 * Reads and checks the manifest of a place, or of an open store.
 *
 * @returns undefined if there is none
 * @throws RUN_INVALID for one that is damaged or of another format
 */
export async function readManifestOf<M extends ShardedManifest>(
  kind: Kind<M>,
  place: string | RunStore,
): Promise<M | undefined> {
  const store = typeof place === 'string' ? await openStore(place) : place;
  try {
    const content = await store.read(MANIFEST);
    return content && parseManifest(kind, content.toString(), join(store.place, MANIFEST));
  } finally {
    if (store !== place) await store.close();
  }
}

/** @param file its name, for errors */
function parseManifest<M extends ShardedManifest>(kind: Kind<M>, content: string, file: string): M {
  const invalid = (why: string): DiffmineError =>
    new DiffmineError(
      'RUN_INVALID',
      `${file} ${why}.`,
      `Give a folder that ${kind.maker} made, or start again in an empty one.`,
    );
  let parsed: Partial<M> | null;
  try {
    parsed = JSON.parse(content) as Partial<M> | null;
  } catch {
    throw invalid('is not JSON');
  }
  if (parsed?.format !== kind.format)
    throw invalid(`is of format ${JSON.stringify(parsed?.format)}, not ${kind.format}`);
  const manifest = parsed as M;
  if (!ALL_HAVE(manifest) || !kind.shape(manifest))
    throw invalid('is damaged: fields are missing or have the wrong type');
  if (manifest.shards !== Math.ceil(manifest.index.rows / manifest.options.shardSize))
    throw invalid('is damaged: its number of shards does not fit');
  if (fingerprintOfDraft(kind, manifest) !== manifest.fingerprint)
    throw invalid(`was changed after the ${kind.noun} began: its fingerprint does not fit`);
  return manifest;
}

/** A manifest and its list. */
export interface Opened<M extends ShardedManifest, R extends Row> {
  store: RunStore;
  manifest: M;
  list: ListFile<R>;
}

/** @throws RUN_INVALID if there is none, or a damaged one */
export async function openFolder<M extends ShardedManifest, R extends Row>(
  kind: Kind<M>,
  path: string,
): Promise<Opened<M, R>> {
  const store = new DirectoryStore(resolve(path));
  const manifest = await readManifestOf(kind, store);
  if (!manifest)
    throw new DiffmineError(
      'RUN_INVALID',
      `${path} is not a ${kind.noun} folder: it has no ${MANIFEST}.`,
      `Give a folder that ${kind.maker} made.`,
    );
  return { store, manifest, list: await ListFile.open<R>(path, manifest.index) };
}

export interface BeginOptions extends Pick<Hooks, 'signal' | 'onLog'> {
  /** the draft's batch is a proposal: several that begin at once may have seen different amounts of free memory, and the first one's stands */
  anyBatch?: boolean | undefined;
  /** so is its dtype: `auto` means another one on another device */
  anyDtype?: boolean | undefined;
}

/**
 * Begins work in a directory or bucket, or resumes what is there if it is the same. Several processes may do so at once.
 *
 * @param place a path, or s3://bucket/prefix
 * @param rows what is worked on, in order
 * @throws RUN_MISMATCH if other work, or anything else, is in the folder; CANCELLED
 */
export async function beginFolder<M extends ShardedManifest, R extends Row>(
  kind: Kind<M>,
  place: string,
  draft: Draft<M>,
  rows: Rows,
  options: BeginOptions = {},
): Promise<Opened<M, R>> {
  const store = await openStore(place, options.onLog);
  try {
    return await begin(kind, store, place, draft, rows, options);
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** @param place as it was given, for errors */
async function begin<M extends ShardedManifest, R extends Row>(
  kind: Kind<M>,
  store: RunStore,
  place: string,
  draft: Draft<M>,
  rows: Rows,
  options: BeginOptions,
): Promise<Opened<M, R>> {
  const manifest = (await readManifestOf(kind, store)) ?? (await writeFirst(kind, store, place, draft, rows, options));
  await store.fetch(LIST);
  const opened: Opened<M, R> = { store, manifest, list: await ListFile.open<R>(store.path, manifest.index) };
  const { batch, dtype } = manifest.options;
  const proposed = { ...(options.anyBatch ? { batch } : {}), ...(options.anyDtype ? { dtype } : {}) };
  const wanted = { ...draft, options: { ...draft.options, ...proposed } };
  const differ = differencesOf(kind, manifest as unknown as Draft<M>, wanted);
  if (differ.length === 0) return opened;
  const { own, deciding } = kind.columns(draft);
  const told = [];
  for (const { name, sentence } of differ) {
    const changes =
      name === 'dataset'
        ? await listChanges(opened.list, rows, [own[0]?.[0] ?? '', own[1]?.[0] ?? ''], deciding)
        : undefined;
    told.push(changes ? `dataset: ${changes}` : sentence);
  }
  const input = differ.every(({ name }) => name in kind.subjects(draft));
  throw new DiffmineError(
    'RUN_MISMATCH',
    `${place} holds another ${kind.noun}. ${told.join('; ')}.`,
    input
      ? `Restore what it began with to resume it, or give \`out\` another folder.`
      : `Use its options to resume it, or give \`out\` another folder.`,
  );
}

/** Writes list and manifest unless another process was first; returns what stands. */
async function writeFirst<M extends ShardedManifest>(
  kind: Kind<M>,
  store: RunStore,
  place: string,
  draft: Draft<M>,
  rows: Rows,
  { signal, onLog }: BeginOptions,
): Promise<M> {
  const folder = store.path;
  const own = ['shards', 'locks', 'index', MANIFEST, LIST];
  const ours = (name: string): boolean =>
    own.includes(name) ||
    (isBucket(store.place) && name.startsWith('.probe-')) ||
    [MANIFEST, LIST].some((file) => name.startsWith(`.${file}.tmp-`));
  const foreign = (await store.entries()).find((name) => !ours(name) && !LITTER.test(name));
  if (foreign !== undefined) {
    throw new DiffmineError(
      'RUN_MISMATCH',
      `${place} is not empty and not a ${kind.noun} folder (it has ${JSON.stringify(foreign)}).`,
      'Give `out` a new or empty folder.',
    );
  }
  for (const name of ['shards', 'locks']) await mkdir(join(folder, name), { recursive: true });
  const lock = await store.locks.wait('begin', {
    signal,
    onWaiting: (holder) => onLog?.(`Waiting for ${holder}, which begins ${place}.`),
  });
  try {
    const first = await readManifestOf(kind, store);
    if (first) return first;
    for (const name of [MANIFEST, LIST]) await removeLeftovers(join(folder, name));
    const manifest = completeManifest(kind, draft, await writeList(folder, kind.columns(draft).own, rows));
    if (await store.writeManifest(`${JSON.stringify(manifest, null, 1)}\n`)) return manifest;
    const other = await readManifestOf(kind, store);
    if (!other)
      throw new DiffmineError('IO', `${place} was removed while it was begun.`, 'Run the same command again.');
    return other;
  } finally {
    await lock.release();
  }
}

/** Something that could not be worked on, and why. */
export interface Skipped {
  image: string;
  label: string;
  reason: string;
}

/** The folder of work that has begun. A finished shard is the folder shards/NNNNN, or with a suffix the file. */
export abstract class ShardedFolder<M extends ShardedManifest, R extends Row = Row> extends Shards {
  readonly manifest: M;
  /** what is cut into shards */
  readonly list: ListFile<R>;

  protected constructor({ store, manifest, list }: Opened<M, R>, suffix: '' | '.jsonl' = '') {
    super(store, { suffix });
    this.manifest = manifest;
    this.list = list;
  }

  override get count(): number {
    return this.manifest.shards;
  }

  /** Places of a shard in the list, [begin, end). */
  override shardRange(shard: number): [begin: number, end: number] {
    const { options, index } = this.manifest;
    return [Math.min(index.rows, shard * options.shardSize), Math.min(index.rows, (shard + 1) * options.shardSize)];
  }

  /** A shard's rows of the list, in order. */
  async shardRows(shard: number): Promise<R[]> {
    return this.list.read(...this.shardRange(shard));
  }

  /** @throws RUN_INVALID for a file of a finished shard that is missing or damaged */
  protected async readShardJson<T>(shard: number, name: string, shape: Shape): Promise<T> {
    await this.fetchShard(shard, [name]);
    const file = join(this.shardPath(shard), name);
    const invalid = (why: string, cause?: unknown): DiffmineError =>
      new DiffmineError(
        'RUN_INVALID',
        `${file} is ${why}.`,
        `Remove ${this.shardPath(shard)} and run the same command again: that shard is repeated.`,
        { cause },
      );
    const content = await readFile(file, 'utf8').catch((error: unknown) => {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') throw invalid('missing', error);
      throw error;
    });
    let value: unknown;
    try {
      value = name.endsWith('.jsonl')
        ? content.split('\n').flatMap((line) => (line ? [JSON.parse(line) as unknown] : []))
        : JSON.parse(content);
    } catch (error) {
      throw invalid('damaged', error);
    }
    if (!shape(value)) throw invalid('damaged');
    return value as T;
  }

  /** What was skipped in a finished shard, in order. */
  protected async skippedIn(shard: number): Promise<Skipped[]> {
    return this.readShardJson<Skipped[]>(
      shard,
      'skipped.jsonl',
      list(members({ image: text, label: text, reason: text })),
    );
  }

  /** What was skipped in the given finished shards (default: all finished ones), in order. */
  async skipped(shards?: number[]): Promise<Skipped[]> {
    const wanted = shards ?? (await this.doneShards());
    const found = new Map<number, Skipped[]>();
    await together(wanted, async (shard) => {
      const rows = await this.skippedIn(shard);
      if (rows.length > 0) found.set(shard, rows);
    });
    return wanted.flatMap((shard) => found.get(shard) ?? []);
  }

  /** Gathers all shards' skipped into skipped.jsonl, once every shard is finished. */
  async writeSkipped(): Promise<void> {
    await this.store.write('skipped.jsonl', jsonLines(await this.skipped()));
  }
}

export function jsonLines(rows: readonly object[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}
