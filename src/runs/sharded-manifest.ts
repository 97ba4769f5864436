// The manifest of sharded work: fixed at the start, it determines every result. Each kind of work (scans, translations, co-typicality) describes its own here
// as a Kind; what they have in common is how it is fingerprinted, compared and read.
import type { Dtype } from '../engine/types.js';
import { DiffmineError } from '../util/errors.js';
import { canonicalJson, fingerprintOf, type Json } from './fingerprint.js';
import { newerFormat } from './format.js';
import { LIST_RECORD, type ListRecord } from './list.js';
import { members, number, oneOf, optional, text, whole, type Shape } from './json-shape.js';
import { placeIn } from '../util/place.js';
import { openStore } from './store/open.js';
import type { RunStore } from './store/store.js';
import type { Schema } from './tables.js';

export const MANIFEST = 'manifest.json';

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
  /** present if shardSize was chosen (`--shard-size auto`) by a rate */
  shardRate?: ShardRate;
}

/** The rate that shards were sized by: of an earlier command, measured when the run began, or computed from counted operations. */
export interface ShardRate {
  /** of all engines of the command that began the run */
  unetCallsPerSecond: number;
  from: 'earlier' | 'measured' | 'computed';
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
  shardRate: optional(members({ unetCallsPerSecond: number, from: oneOf('earlier', 'measured', 'computed') })),
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
    return content && parseManifest(kind, content.toString(), placeIn(store.place, MANIFEST));
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
    throw (
      newerFormat(file, parsed, kind.format) ??
      invalid(`is of format ${JSON.stringify(parsed?.format)}, not ${kind.format}`)
    );
  const manifest = parsed as M;
  if (!ALL_HAVE(manifest) || !kind.shape(manifest))
    throw invalid('is damaged: fields are missing or have the wrong type');
  if (manifest.shards !== Math.ceil(manifest.index.rows / manifest.options.shardSize))
    throw invalid('is damaged: its number of shards does not fit');
  if (fingerprintOfDraft(kind, manifest) !== manifest.fingerprint)
    throw invalid(`was changed after the ${kind.noun} began: its fingerprint does not fit`);
  return manifest;
}
