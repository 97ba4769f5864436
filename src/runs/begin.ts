// Begins sharded work in a directory or a bucket, or opens what is there. Several processes may begin the same work at once: one writes the manifest and the
// list, the others compare theirs with it.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DiffmineError } from '../util/errors.js';
import type { Hooks } from '../util/hooks.js';
import { LITTER } from './store/files.js';
import { isBucket } from '../util/place.js';
import { removeLeftovers } from './atomic.js';
import { listChanges } from './changes.js';
import { LIST, ListFile, writeList, type Rows } from './list.js';
import {
  completeManifest,
  differencesOf,
  MANIFEST,
  readManifestOf,
  type Draft,
  type Kind,
  type ShardedManifest,
} from './sharded-manifest.js';
import { DirectoryStore } from './store/directory-store.js';
import { openStore } from './store/open.js';
import type { RunStore } from './store/store.js';
import type { Row } from './tables.js';
import { fileInTheWay, makeFolder } from '../util/paths.js';

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
      existsSync(path)
        ? `${path} is not a ${kind.noun} directory: it has no ${MANIFEST}.`
        : `There is no folder '${path}'.`,
      `Give a folder that ${kind.maker} made.`,
    );
  return { store, manifest, list: await ListFile.open<R>(path, manifest.index) };
}

export interface BeginOptions extends Pick<Hooks, 'signal' | 'onLog'> {
  /** the draft's batch is a proposal: several that begin at once may have seen different amounts of free memory, and the first one's stands */
  anyBatch?: boolean | undefined;
  /** so is its dtype: `auto` means another one on another device */
  anyDtype?: boolean | undefined;
  /** so is its shard size: each may have measured another rate */
  anyShardSize?: boolean | undefined;
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
  const { batch, dtype, shardSize } = manifest.options;
  const proposed = {
    ...(options.anyBatch ? { batch } : {}),
    ...(options.anyDtype ? { dtype } : {}),
    ...(options.anyShardSize ? { shardSize } : {}),
  };
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

/** @throws RUN_MISMATCH if a place where work could begin holds anything else. Nothing is written */
export async function checkVacant(place: string, noun: string): Promise<void> {
  const store = await openStore(place);
  try {
    await refuseForeign(store, place, noun);
  } finally {
    await store.close();
  }
}

async function refuseForeign(store: RunStore, place: string, noun: string): Promise<void> {
  const file = isBucket(store.place) ? undefined : await fileInTheWay(store.path);
  if (file !== undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${file} is a file, not a folder.`,
      'Give `out` a new or empty folder.',
    );
  const own = ['shards', 'locks', 'index', MANIFEST, LIST];
  const ours = (name: string): boolean =>
    own.includes(name) ||
    (isBucket(store.place) && name.startsWith('.probe-')) ||
    [MANIFEST, LIST].some((file) => name.startsWith(`.${file}.tmp-`));
  const foreign = (await store.entries()).find((name) => !ours(name) && !LITTER.test(name));
  if (foreign !== undefined) {
    throw new DiffmineError(
      'RUN_MISMATCH',
      `${place} is not empty and not a ${noun} directory (it has ${JSON.stringify(foreign)}).`,
      'Give `out` a new or empty folder.',
    );
  }
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
  await refuseForeign(store, place, kind.noun);
  for (const name of ['shards', 'locks']) await makeFolder(join(folder, name));
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
