// A folder of work that is cut into shards: a manifest, fixed at the start, that decides every result; shards, each there whole or not at all; locks, so
// that several processes may share it. What scans, translations and co-typicality have in common; each adds what its shards hold.
import { access, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { DiffmineError } from '../errors';
import { discard, linkNew, removeLeftovers, syncFile, syncFolder, temporaryName, writeFileAtomic } from './atomic';
import { canonicalJson, fingerprintOf, type Json } from './fingerprint';
import { LockFolder, type Lock } from './locks';

export const MANIFEST = 'manifest.json';

/** What file systems and desktops leave in a folder that is as good as empty. */
const LITTER = /^(\.nfs.*|\.fuse_hidden.*|\.snapshot|\.DS_Store|\.directory|\._.*|Thumbs\.db|desktop\.ini|@eaDir|lost\+found)$/i;

/** What every such manifest has. */
export interface ShardedManifest {
  format: string;
  version: string;
  /** ISO 8601 */
  created: string;
  /** of what decides the results, wherever it lies */
  fingerprint: string;
  /** everything asked for that changes results */
  options: { shardSize: number; batch: number };
  shards: number;
}

export type Draft<M extends ShardedManifest> = Omit<M, 'format' | 'fingerprint' | 'shards'>;

/** One kind of sharded folder. */
export interface Kind<M extends ShardedManifest> {
  format: M['format'];
  /** in sentences: 'run' */
  noun: string;
  /** in sentences: '`diffmine scan --out`' */
  maker: string;
  /** fingerprints of what the work is of, and further things that decide its results beside the options: the words that name each, and a value */
  subjects(manifest: Draft<M>): Record<string, { words: string; value: Json; shown?: boolean }>;
  /** the things that are cut into shards */
  items(manifest: Draft<M>): readonly unknown[];
  /** whether all is there that its readers take for granted */
  sound(manifest: Partial<M>): boolean;
  /** words for an option that differs, where `name (old there, new now)` will not do */
  difference?(key: string, old: Json, now: Json): string | undefined;
}

const kebab = (key: string): string => (key === 'precision' ? 'dtype' : key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`));

export function fingerprintOfDraft<M extends ShardedManifest>(kind: Kind<M>, draft: Draft<M>): string {
  const subjects = Object.entries(kind.subjects(draft)).map(([key, { value }]) => [key, value] as const);
  return fingerprintOf({ format: kind.format, ...Object.fromEntries(subjects), options: draft.options as unknown as Json });
}

/** The manifest that a draft becomes. */
export function completeManifest<M extends ShardedManifest>(kind: Kind<M>, draft: Draft<M>): M {
  const shards = Math.ceil(kind.items(draft).length / draft.options.shardSize);
  return { format: kind.format, ...draft, fingerprint: fingerprintOfDraft(kind, draft), shards } as unknown as M;
}

/** What differs between two folders' work, in words: `samples (100 there, 50 now)`. Empty where it is the same. */
export function differencesOf<M extends ShardedManifest>(kind: Kind<M>, existing: Draft<M>, wanted: Draft<M>): string[] {
  const [old, now] = [kind.subjects(existing), kind.subjects(wanted)];
  const subjects = Object.keys(now).flatMap((key) => {
    const [before, after] = [old[key]?.value ?? null, now[key]?.value ?? null];
    if (canonicalJson(before) === canonicalJson(after)) return [];
    const { words = key, shown = false } = now[key] ?? {};
    return shown ? [`${words} (${JSON.stringify(before)} there, ${JSON.stringify(after)} now)`] : [words];
  });
  const [before, after] = [existing.options, wanted.options] as unknown as [Record<string, Json>, Record<string, Json>];
  const options = [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((key) => {
    const [a, b] = [before[key] ?? null, after[key] ?? null];
    if (canonicalJson(a) === canonicalJson(b)) return [];
    return [kind.difference?.(key, a, b) ?? `${kebab(key)} (${JSON.stringify(before[key])} there, ${JSON.stringify(after[key])} now)`];
  });
  return [...subjects, ...options];
}

/**
 * Reads and checks the manifest in a folder.
 *
 * @returns undefined where there is none
 * @throws RUN_INVALID for one that is damaged or of another format
 */
export async function readManifestOf<M extends ShardedManifest>(kind: Kind<M>, folder: string): Promise<M | undefined> {
  const file = join(folder, MANIFEST);
  const invalid = (why: string): DiffmineError => new DiffmineError('RUN_INVALID', `${file} ${why}.`, `Give a folder that ${kind.maker} made, or start anew in an empty one.`);
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  let manifest: M;
  try {
    manifest = JSON.parse(text) as M;
  } catch {
    throw invalid('is not JSON');
  }
  if (manifest?.format !== kind.format) throw invalid(`is of format ${JSON.stringify(manifest?.format)}, not ${kind.format}`);
  const sound = typeof manifest.options?.shardSize === 'number' && typeof manifest.shards === 'number' && kind.sound(manifest);
  if (!sound || manifest.shards !== Math.ceil(kind.items(manifest).length / manifest.options.shardSize)) throw invalid('lacks what a manifest must have');
  if (fingerprintOfDraft(kind, manifest) !== manifest.fingerprint) throw invalid(`was changed after the ${kind.noun} began: its fingerprint does not fit`);
  return manifest;
}

/** @throws RUN_INVALID where there is none, or a damaged one */
export async function openManifestOf<M extends ShardedManifest>(kind: Kind<M>, path: string): Promise<M> {
  const manifest = await readManifestOf(kind, path);
  if (!manifest) throw new DiffmineError('RUN_INVALID', `${path} is no ${kind.noun} folder: it has no ${MANIFEST}.`, `Give a folder that ${kind.maker} made.`);
  return manifest;
}

/**
 * Begins work in `path`, or goes on with what is there if it is the same. Several processes may do so at once.
 *
 * @param anyBatch the draft's batch is a proposal: several that begin at once may have seen different amounts of free memory, and the first one's stands
 * @throws RUN_MISMATCH where other work, or anything else, is in the folder
 */
export async function beginManifestOf<M extends ShardedManifest>(kind: Kind<M>, path: string, draft: Draft<M>, anyBatch = false): Promise<M> {
  const folder = resolve(path);
  let manifest = await readManifestOf(kind, folder);
  if (!manifest) {
    await mkdir(folder, { recursive: true });
    const foreign = (await readdir(folder)).find((name) => !['shards', 'locks', MANIFEST].includes(name) && !name.startsWith(`.${MANIFEST}.tmp-`) && !LITTER.test(name));
    if (foreign !== undefined) {
      throw new DiffmineError('RUN_MISMATCH', `${path} is not empty and not a ${kind.noun} folder (it has ${JSON.stringify(foreign)}).`, 'Give --out a new or empty folder.');
    }
    for (const name of ['shards', 'locks']) await mkdir(join(folder, name), { recursive: true });
    manifest = await writeFirst(kind, folder, completeManifest(kind, draft));
  }
  const wanted = anyBatch ? { ...draft, options: { ...draft.options, batch: manifest.options.batch } } : draft;
  const differ = differencesOf(kind, manifest as unknown as Draft<M>, wanted);
  if (differ.length > 0) {
    throw new DiffmineError(
      'RUN_MISMATCH', `${path} is in use by another ${kind.noun}; what differs: ${differ.join('; ')}.`, `Repeat that ${kind.noun}'s options to go on with it, or give --out another folder.`,
    );
  }
  return manifest;
}

/** Writes the manifest unless another process was first; says whose stands. */
async function writeFirst<M extends ShardedManifest>(kind: Kind<M>, folder: string, manifest: M): Promise<M> {
  const target = join(folder, MANIFEST);
  const temporary = temporaryName(target);
  try {
    await writeFile(temporary, `${JSON.stringify(manifest, null, 1)}\n`);
    await syncFile(temporary);
    // unlike rename, link does not replace; where there are no hard links, two beginners write what differs in its date at most
    const made = await linkNew(temporary, target);
    if (made === 'refused') await rename(temporary, target);
    await syncFolder(folder);
    return made === 'exists' ? ((await readManifestOf(kind, folder)) ?? manifest) : manifest;
  } finally {
    await discard(temporary);
  }
}

/** Something that could not be worked on, and why. */
export interface Skipped {
  image: string;
  label: string;
  reason: string;
}

/** The folder of work that has begun. A finished shard is the folder shards/NNNNN, or with a suffix the file. */
export abstract class ShardedFolder<M extends ShardedManifest> {
  readonly locks: LockFolder;

  protected constructor(
    /** absolute */
    readonly path: string,
    readonly manifest: M,
    private readonly suffix: '' | '.jsonl' = '',
  ) {
    this.locks = new LockFolder(join(path, 'locks'));
  }

  /** What is there once a shard is finished. */
  shardPath(shard: number): string {
    return join(this.path, 'shards', `${shardName(shard)}${this.suffix}`);
  }

  async isDone(shard: number): Promise<boolean> {
    return access(this.shardPath(shard)).then(
      () => true,
      () => false,
    );
  }

  /** Ids of finished shards, ascending. */
  async doneShards(): Promise<number[]> {
    return (await readdir(join(this.path, 'shards')))
      .filter((name) => name.endsWith(this.suffix) && /^\d{5,}$/.test(name.slice(0, name.length - this.suffix.length)))
      .map((name) => Number.parseInt(name, 10))
      .filter((shard) => shard < this.manifest.shards)
      .sort((a, b) => a - b);
  }

  async isComplete(): Promise<boolean> {
    return (await this.doneShards()).length === this.manifest.shards;
  }

  /**
   * Takes a shard to work on; what a dead process left of it is cleared away.
   *
   * @returns undefined where it is finished, or a live process works on it
   */
  async lockShard(shard: number): Promise<Lock | undefined> {
    if (await this.isDone(shard)) return undefined;
    const lock = await this.locks.acquire(shardName(shard));
    if (!lock) return undefined;
    if (await this.isDone(shard)) {
      await lock.release();
      return undefined;
    }
    await removeLeftovers(this.shardPath(shard));
    return lock;
  }

  /** A shard's part of a list: of what is cut into shards, those that belong to it, in order. */
  protected partOf<T>(all: readonly T[], shard: number): T[] {
    const { shardSize } = this.manifest.options;
    return all.slice(shard * shardSize, (shard + 1) * shardSize);
  }

  /** What was skipped in a finished shard, in order. */
  protected async skippedIn(shard: number): Promise<Skipped[]> {
    const text = await readFile(join(this.shardPath(shard), 'skipped.jsonl'), 'utf8');
    return text.split('\n').flatMap((line) => (line ? [JSON.parse(line) as Skipped] : []));
  }

  /** What was skipped in the given finished shards (default: all finished ones), in order. */
  async skipped(shards?: number[]): Promise<Skipped[]> {
    const rows: Skipped[] = [];
    for (const shard of shards ?? (await this.doneShards())) rows.push(...(await this.skippedIn(shard)));
    return rows;
  }

  /** Gathers all shards' skipped into skipped.jsonl, once every shard is finished. */
  async writeSkipped(): Promise<void> {
    await writeFileAtomic(join(this.path, 'skipped.jsonl'), jsonLines(await this.skipped()));
  }
}

export function shardName(shard: number): string {
  return String(shard).padStart(5, '0');
}

export function jsonLines(rows: readonly object[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}
