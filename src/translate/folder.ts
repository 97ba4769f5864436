// The folder of a translation: its manifest, and the lines of its finished shards (shards/NNNNN.jsonl).
import { resolve } from 'node:path';
import type { DatasetSource, Ignored } from '../dataset';
import { writeFileAtomic } from '../run/atomic';
import type { Json } from '../run/fingerprint';
import type { ManifestImage, ManifestModel } from '../run/manifest';
import { beginManifestOf, jsonLines, openManifestOf, readManifestOf, ShardedFolder, type Draft, type Kind, type Skipped } from '../run/sharded';
import type { TranslateSettings } from './options';
import { readShardLines, sequenceFolders, TRANSLATION_FORMAT, type ShardLines } from './parallel';

export interface TranslationManifest {
  format: typeof TRANSLATION_FORMAT;
  version: string;
  /** ISO 8601 */
  created: string;
  /** of model, data, targets and options */
  fingerprint: string;
  model: ManifestModel;
  dataset: { path: string; fingerprint: string; labels: string[]; images: number; ignored: number; ignoredBy?: Ignored } & DatasetSource;
  /** target labels, sorted */
  labels: string[];
  options: TranslateSettings;
  preset: string | null;
  images: ManifestImage[];
  shards: number;
}

export type TranslationDraft = Draft<TranslationManifest>;

const TRANSLATION: Kind<TranslationManifest> = {
  format: TRANSLATION_FORMAT,
  noun: 'translation',
  maker: '`diffmine translate --out`',
  subjects: ({ model, dataset, labels }) => ({
    model: { words: 'the model', value: model.fingerprint },
    dataset: { words: 'the data set', value: dataset.fingerprint },
    labels: { words: 'the targets', value: labels as Json, shown: true },
  }),
  items: ({ images }) => images,
  sound: ({ model, dataset, labels, images }) => typeof model?.fingerprint === 'string' && typeof dataset?.fingerprint === 'string' && Array.isArray(labels) && Array.isArray(images),
};

export class TranslationFolder extends ShardedFolder<TranslationManifest> {
  /** LABEL/NAME of each picture */
  readonly folders: readonly string[];

  private constructor(path: string, manifest: TranslationManifest) {
    super(resolve(path), manifest, '.jsonl');
    this.folders = sequenceFolders(manifest.images);
  }

  /**
   * Opens what `begin` made.
   *
   * @throws RUN_INVALID where there is none, or a damaged one
   */
  static async open(path: string): Promise<TranslationFolder> {
    return new TranslationFolder(path, await openManifestOf(TRANSLATION, path));
  }

  /**
   * Begins a translation in `path`, or goes on with the one that is there if it is the same. Several processes may do so at once.
   *
   * @param anyBatch the draft's batch is a proposal: the one of the folder stands
   * @throws RUN_MISMATCH where another translation, or anything else, is in the folder
   */
  static async begin(path: string, draft: TranslationDraft, anyBatch = false): Promise<TranslationFolder> {
    return new TranslationFolder(path, await beginManifestOf(TRANSLATION, path, draft, anyBatch));
  }

  /** The places of a shard's pictures in the manifest. */
  shardImages(shard: number): number[] {
    const { images, options } = this.manifest;
    const begin = shard * options.shardSize;
    return Array.from({ length: Math.max(0, Math.min(options.shardSize, images.length - begin)) }, (_, i) => begin + i);
  }

  /** Puts down that a shard is finished: its pictures are all there. */
  async finishShard(shard: number, { translated, skipped }: ShardLines): Promise<void> {
    await writeFileAtomic(this.shardPath(shard), jsonLines([...translated, ...skipped]));
  }

  /** @throws RUN_INVALID for a damaged one */
  async readShard(shard: number): Promise<ShardLines> {
    return readShardLines(this.shardPath(shard));
  }

  /**
   * What finished shards hold, in order; read one after the other, as there may be more of them than files can be open.
   *
   * @throws RUN_INVALID for a damaged one
   */
  async readShards(shards: readonly number[]): Promise<ShardLines> {
    const read: ShardLines[] = [];
    for (const shard of shards) read.push(await this.readShard(shard));
    return { translated: read.flatMap(({ translated }) => translated), skipped: read.flatMap(({ skipped }) => skipped) };
  }

  protected override async skippedIn(shard: number): Promise<Skipped[]> {
    return (await this.readShard(shard)).skipped;
  }
}

/** @throws RUN_INVALID for a damaged one */
export async function readTranslation(folder: string): Promise<TranslationManifest | undefined> {
  return readManifestOf(TRANSLATION, folder);
}
