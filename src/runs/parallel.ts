// A parallel dataset: each image under every label, as `translate` writes it and `cotypicality` reads it.
//
//     FOLDER/<LABEL>/<NAME>/source.png            the image, as the model saw it
//     FOLDER/<LABEL>/<NAME>/reconstruction.png    translated to its own label
//     FOLDER/<LABEL>/<NAME>/<TARGET>.png          translated to TARGET
//
// Folders of other tools can be opened too if they have this layout; then there is no manifest. Without a source.png, the image of
// the folder's own label is the source.
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { compareCodePoints } from '../data/order.js';
import type { Size } from '../data/read-image.js';
import { DiffmineError } from '../util/errors.js';
import { sha256 } from '../util/sha256.js';
import { LISTINGS } from './listings.js';
import { newerFormat } from './format.js';
import { safeName, unsafeName } from './names.js';
import { MANIFEST } from './sharded-manifest.js';
import type { Skipped } from './sharded.js';

export const TRANSLATION_FORMAT = 'diffmine-translation-3';
export const PAGE = 'index.html';
/** Entries beside the label folders. */
export const OWN_NAMES = [
  MANIFEST,
  PAGE,
  'shards',
  'locks',
  'page.js',
  'skipped.jsonl',
  'quality.json',
  LISTINGS,
] as const;
const SOURCE = 'source';
const RECONSTRUCTION = 'reconstruction';
const IMAGE = /\.(png|jpe?g|webp)$/i;

/** One image and its translations. */
export interface Sequence {
  /** LABEL/NAME: its folder, relative, forward slashes */
  key: string;
  /** the image's path in the source dataset; without a manifest, its key */
  image: string;
  label: string;
  /** absolute */
  source: string;
  reconstruction?: string;
  /** absolute, by target label; without the source's own label */
  images: Record<string, string>;
  /** the upright image in the dataset, and the size all of it was shrunk to, of which `source` is the upper left part; unknown without a manifest */
  origin?: Size & { resized: Size };
}

export interface Parallel {
  /** absolute */
  path: string;
  /** of sources and targets, sorted by code point */
  labels: string[];
  /** sorted by key, by code point; of an unfinished translation, only the finished ones */
  sequences: Sequence[];
  /** mean of the reconstructions that differ from their sources, dB; null where it is not recorded */
  psnr: number | null;
  /** sha256 over (key, file name, bytes) of every image */
  fingerprint: string;
}

/** A further line of shards/NNNNN.jsonl, of an image. */
export interface TranslatedLine {
  /** path in the dataset */
  image: string;
  label: string;
  /** relative, forward slashes */
  folder: string;
  /** of all images of the sequence, px */
  width: number;
  height: number;
  /** of the upright image in the dataset; all of it was shrunk to `resized`, of which width x height are the upper left part */
  sourceWidth: number;
  sourceHeight: number;
  resized: Size;
  /** of the reconstruction against the source, dB over 8 bit; null if they are equal */
  psnr: number | null;
  targets: string[];
  /** of the source's file; null if it could not be read again */
  sha256: string | null;
}

/** The folder of a label's images. */
export function labelFolder(label: string): string {
  return safeName(label, OWN_NAMES);
}

/** The file of a translation. */
export function targetFile(label: string): string {
  return `${safeName(label, [SOURCE, RECONSTRUCTION])}.png`;
}

export const sourceFile = `${SOURCE}.png`;
export const reconstructionFile = `${RECONSTRUCTION}.png`;

/**
 * Folders LABEL/NAME of images, in their order: NAME is the path below the label's folder (or in the dataset), without its ending unless two
 * images of a label would share it; where they share that as well, with a hash of both. No two images have one folder.
 */
export function sequenceFolders(images: readonly { path: string; label: string }[]): string[] {
  const below = images.map(({ path, label }) => (path.startsWith(`${label}/`) ? path.slice(label.length + 1) : path));
  const under = (i: number, name: string): string => `${labelFolder(images[i]?.label ?? '')}/${safeName(name)}`;
  const bare = below.map((path, i) => under(i, path.replace(/\.[^./]+$/, '')));
  const whole = below.map((path, i) => under(i, path));
  const counts = (names: readonly string[]): Map<string, number> => {
    const count = new Map<string, number>();
    for (const name of names) count.set(name.toLowerCase(), (count.get(name.toLowerCase()) ?? 0) + 1);
    return count;
  };
  const once = counts(bare);
  const first = bare.map((name, i) => (once.get(name.toLowerCase()) === 1 ? name : (whole[i] as string)));
  const twice = counts(first);
  return first.map((name, i) =>
    twice.get(name.toLowerCase()) === 1
      ? name
      : under(i, `${below[i] ?? ''}-${sha256(JSON.stringify([images[i]?.label, images[i]?.path])).slice(0, 16)}`),
  );
}

/**
 * Opens a parallel dataset, written by `translate` or by other tools.
 *
 * @throws DATASET_INVALID if the folder is none, or an image of its manifest is gone; RUN_INVALID for a damaged manifest or shard
 */
export async function openParallel(folder: string): Promise<Parallel> {
  const path = resolve(folder);
  const entries = await list(path).catch((cause: unknown) => {
    throw new DiffmineError(
      'DATASET_INVALID',
      `There is no parallel dataset '${folder}'.`,
      'Give a folder that `diffmine translate --out` made.',
      { cause },
    );
  });
  const { sequences, psnr } = entries.files.includes(MANIFEST)
    ? await fromShards(path)
    : { sequences: await fromFolders(path, entries.folders), psnr: null };
  if (sequences.length === 0) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `The parallel dataset '${folder}' has no images.`,
      'Expected LABEL/NAME/source.png and LABEL/NAME/TARGET_LABEL.png.',
    );
  }
  sequences.sort((a, b) => compareCodePoints(a.key, b.key));
  const labels = [...new Set(sequences.flatMap(({ label, images }) => [label, ...Object.keys(images)]))].sort(
    compareCodePoints,
  );
  return { path, labels, sequences, psnr, fingerprint: await fingerprint(sequences) };
}

async function list(folder: string): Promise<{ files: string[]; folders: string[] }> {
  const entries = (await readdir(folder, { withFileTypes: true })).filter(({ name }) => !name.startsWith('.'));
  const names = (folders: boolean): string[] =>
    entries
      .filter((entry) => entry.isDirectory() === folders)
      .map(({ name }) => name)
      .sort(compareCodePoints);
  return { files: names(false), folders: names(true) };
}

/** As the manifest and the finished shards say. */
async function fromShards(path: string): Promise<Pick<Parallel, 'sequences' | 'psnr'>> {
  const invalid = (file: string, why: string, cause?: unknown): DiffmineError =>
    new DiffmineError('RUN_INVALID', `${file} ${why}.`, 'Give a folder that `diffmine translate --out` made.', {
      cause,
    });
  const text = await readFile(join(path, MANIFEST), 'utf8');
  let manifest: { format?: unknown } | null;
  try {
    manifest = JSON.parse(text) as { format?: unknown } | null;
  } catch (cause) {
    throw invalid(join(path, MANIFEST), 'is not JSON', cause);
  }
  const [file, format] = [join(path, MANIFEST), manifest?.format];
  if (format !== TRANSLATION_FORMAT)
    throw (
      newerFormat(file, manifest, TRANSLATION_FORMAT) ??
      invalid(file, `is of format ${JSON.stringify(format)}, not ${TRANSLATION_FORMAT}`)
    );
  const shards = join(path, 'shards');
  const names = (await readdir(shards).catch(() => [])).filter((name) => /^\d{5,}\.jsonl$/.test(name)).sort();
  const lines: TranslatedLine[][] = [];
  for (const name of names) lines.push((await readShardLines(join(shards, name))).translated);
  const known = lines.flat().flatMap(({ psnr }) => psnr ?? []);
  const sequences = lines.flat().map(({ image, label, folder, targets, sourceWidth, sourceHeight, resized }) => {
    const at = join(path, ...folder.split('/'));
    const images = Object.fromEntries(targets.map((target) => [target, join(at, targetFile(target))]));
    return {
      key: folder,
      image,
      label,
      source: join(at, sourceFile),
      reconstruction: join(at, reconstructionFile),
      images,
      origin: { width: sourceWidth, height: sourceHeight, resized },
    };
  });
  return { sequences, psnr: known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : null };
}

/** The first line of shards/NNNNN.jsonl. */
export interface TranslatedShard {
  shard: number;
  /** UNet inputs per forward pass: the manifest's, or less after running out of memory */
  batch: number;
  notes: string[];
}

/** What a shard was found to hold. */
export interface ShardLines {
  record: TranslatedShard;
  translated: TranslatedLine[];
  /** with the sha256 of the file, where it could be read */
  skipped: (Skipped & { sha256?: string | null })[];
}

/**
 * One shards/NNNNN.jsonl.
 *
 * @throws RUN_INVALID if it is damaged
 */
export async function readShardLines(file: string): Promise<ShardLines> {
  const damaged = (cause?: unknown): DiffmineError =>
    new DiffmineError('RUN_INVALID', `${file} is damaged.`, 'Remove it and run the same command again.', { cause });
  const lines: Omit<ShardLines, 'record'> = { translated: [], skipped: [] };
  let record: TranslatedShard | undefined;
  for (const text of (await readFile(file, 'utf8')).split('\n')) {
    if (!text) continue;
    try {
      const line = JSON.parse(text) as TranslatedShard | TranslatedLine | Skipped;
      if ('shard' in line) record = line;
      else if ('reason' in line) lines.skipped.push(line);
      else lines.translated.push(line);
    } catch (cause) {
      throw damaged(cause);
    }
  }
  if (!record) throw damaged();
  return { record, ...lines };
}

/** As the folders say. */
async function fromFolders(path: string, labels: readonly string[]): Promise<Sequence[]> {
  const sequences: Sequence[] = [];
  for (const labelName of labels) {
    const label = unsafeName(labelName);
    for (const name of (await list(join(path, labelName))).folders) {
      const at = join(path, labelName, name);
      const files = (await list(at)).files.filter((file) => IMAGE.test(file));
      const named = new Map(files.map((file) => [unsafeName(file.replace(IMAGE, '')), join(at, file)]));
      const source = named.get(SOURCE) ?? named.get(label);
      if (source === undefined) {
        if (named.size === 0) continue;
        throw new DiffmineError(
          'DATASET_INVALID',
          `'${at}' has no source image.`,
          `Expected source.png, or ${labelName}.png (its own label).`,
        );
      }
      const reconstruction = named.get(RECONSTRUCTION);
      const images = Object.fromEntries(
        [...named].filter(([target]) => ![SOURCE, RECONSTRUCTION, label].includes(target)),
      );
      const key = `${labelName}/${name}`;
      sequences.push({
        key,
        image: key,
        label,
        source,
        ...(reconstruction === undefined ? {} : { reconstruction }),
        images,
      });
    }
  }
  return sequences;
}

async function fingerprint(sequences: readonly Sequence[]): Promise<string> {
  const hash = createHash('sha256');
  for (const { key, source, images } of sequences) {
    const files = [
      source,
      ...Object.entries(images)
        .sort(([a], [b]) => compareCodePoints(a, b))
        .map(([, file]) => file),
    ];
    const sizes = await Promise.all(
      files.map(
        async (file) =>
          (
            await stat(file).catch((cause: unknown) =>
              Promise.reject(
                new DiffmineError(
                  'DATASET_INVALID',
                  `The image ${file} is missing.`,
                  'Run translate again into a new folder.',
                  { cause },
                ),
              ),
            )
          ).size,
      ),
    );
    hash.update(`${JSON.stringify([key, Object.keys(images).sort(compareCodePoints), sizes])}\n`);
  }
  return hash.digest('hex');
}
