// manifest.json: what a run is. Written once, at the start; everything that decides the results is in it (docs/formats.md).
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DiffmineError } from '../errors';
import type { Precision, SamplerName } from '../native/types';
import { fingerprintOf, type Json } from './fingerprint';

export const RUN_FORMAT = 'diffmine-run-1';
export const MANIFEST = 'manifest.json';

/** Every option that changes results. What does not (workers, which shards, progress) is not here. */
export interface RunOptions {
  /** the prompt's template, with {label}; null for class models */
  prompt: string | null;
  nullPrompt: string | null;
  /** the short side of the scored picture in pixels; 'source' keeps the picture's own */
  size: number | 'source';
  sizeRule: 'floor' | 'ceil';
  /** pixels of the scored picture */
  patch: number;
  samples: number;
  seed: number;
  /** timesteps [tBegin, tEnd) */
  tBegin: number;
  tEnd: number;
  sampler: SamplerName;
  /** candidates of each list a picture and condition */
  perImage: number;
  /** UNet evaluations a forward pass */
  batch: number;
  precision: Precision;
  /** the kind of device: results of two kinds differ by rounding */
  device: 'cpu' | 'cuda';
  allLabels: boolean;
  /** 'null', 'others' or a label: what a label's loss is compared with */
  against: string;
  maps: boolean;
  /** pictures a shard */
  shardSize: number;
  /** sha256 of the replayed noises' file */
  replay: string | null;
  /** there where the UNet's weights were random ones of `seed` in place of the model's: a control */
  untrained?: true;
}

export interface ManifestModel {
  path: string;
  fingerprint: string;
  kind: 'latent' | 'pixel';
  conditioning: 'text' | 'class';
  vaeFactor: number;
  fold: number;
}

export interface ManifestDataset {
  path: string;
  fingerprint: string;
  /** pictures of the run */
  images: number;
  /** files that were no pictures of a label */
  ignored: number;
  labels: string[];
  /** further columns of the data set's table, carried into the images table */
  columns: string[];
}

export interface ManifestImage {
  /** relative to the data set, forward slashes: the picture's name in every table */
  path: string;
  label: string;
  extra?: Record<string, string>;
}

export interface Manifest {
  format: typeof RUN_FORMAT;
  version: string;
  /** ISO 8601 */
  created: string;
  fingerprint: string;
  model: ManifestModel;
  dataset: ManifestDataset;
  options: RunOptions;
  /** the preset the options were taken from, if any */
  preset: string | null;
  /** where the replayed noises are */
  replayFile: string | null;
  /** labels pictures are scored under, in order: all, less the one they are compared with */
  conditions: string[];
  images: ManifestImage[];
  shards: number;
}

export type ManifestDraft = Omit<Manifest, 'format' | 'fingerprint' | 'shards'>;

/** The fingerprint of what decides results: model, data and options, wherever they lie. */
export function runFingerprint(draft: Pick<Manifest, 'model' | 'dataset' | 'options'>): string {
  return fingerprintOf({
    format: RUN_FORMAT,
    model: draft.model.fingerprint,
    dataset: draft.dataset.fingerprint,
    options: draft.options as unknown as Json,
  });
}

export function makeManifest(draft: ManifestDraft): Manifest {
  return {
    format: RUN_FORMAT,
    version: draft.version,
    created: draft.created,
    fingerprint: runFingerprint(draft),
    model: draft.model,
    dataset: draft.dataset,
    options: draft.options,
    preset: draft.preset,
    replayFile: draft.replayFile,
    conditions: draft.conditions,
    images: draft.images,
    shards: Math.ceil(draft.images.length / draft.options.shardSize),
  };
}

function invalid(folder: string, why: string): DiffmineError {
  return new DiffmineError('RUN_INVALID', `${join(folder, MANIFEST)} ${why}.`, 'Give a folder that `diffmine scan --out` made, or start anew in an empty one.');
}

/**
 * Reads and checks a run's manifest.
 *
 * @returns undefined where the folder has none
 * @throws RUN_INVALID for one that is damaged or of another format
 */
export async function readManifest(folder: string): Promise<Manifest | undefined> {
  let text: string;
  try {
    text = await readFile(join(folder, MANIFEST), 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
  let manifest: Manifest;
  try {
    manifest = JSON.parse(text) as Manifest;
  } catch {
    throw invalid(folder, 'is not JSON');
  }
  if (manifest?.format !== RUN_FORMAT) throw invalid(folder, `is of format ${JSON.stringify(manifest?.format)}, not ${RUN_FORMAT}`);
  const { options, images, shards, conditions } = manifest;
  const sound =
    typeof options?.shardSize === 'number' && Array.isArray(images) && Array.isArray(conditions) && Array.isArray(manifest.dataset?.labels) &&
    typeof manifest.model?.fingerprint === 'string' && shards === Math.ceil(images.length / options.shardSize);
  if (!sound) throw invalid(folder, 'lacks what a manifest must have');
  if (runFingerprint(manifest) !== manifest.fingerprint) throw invalid(folder, 'was changed after the run began: its fingerprint does not fit');
  return manifest;
}

/** What differs between two runs, in words: `samples (100, not 50)`. Empty when they are the same run. */
export function differences(existing: Manifest, wanted: Pick<Manifest, 'model' | 'dataset' | 'options'>): string[] {
  const found: string[] = [];
  if (existing.model.fingerprint !== wanted.model.fingerprint) found.push('the model');
  if (existing.dataset.fingerprint !== wanted.dataset.fingerprint) found.push('the data set');
  const old = existing.options as unknown as Record<string, unknown>;
  const now = wanted.options as unknown as Record<string, unknown>;
  for (const key of new Set([...Object.keys(old), ...Object.keys(now)])) {
    if (old[key] === now[key]) continue;
    const name = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    found.push(key === 'replay' ? 'the replayed noises' : key === 'untrained' ? `the weights (${old[key] ? 'random there' : 'random now'})` : `${name} (${JSON.stringify(old[key])} there, ${JSON.stringify(now[key])} now)`);
  }
  return found;
}
