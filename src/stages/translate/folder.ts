// The folder of a translation: its manifest, and the lines of its finished shards (shards/NNNNN.jsonl).
import type { DatasetSource, Ignored } from '../../data/index.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import type { ImageList } from '../../data/index.js';
import { imageListColumns, imageRows, listedImage, type ListedImage, type ListedRow } from '../../runs/images.js';
import type { ListRecord } from '../../runs/list.js';
import { MODEL_SHAPE, SIZE_SHAPES, WHERE_SHAPES, type ManifestModel } from '../../runs/manifest.js';
import { beginFolder, openFolder, type BeginOptions, type Opened } from '../../runs/begin.js';
import { jsonLines, ShardedFolder, type Skipped } from '../../runs/sharded.js';
import { readManifestOf, type Draft, type Kind, type ShardRate } from '../../runs/sharded-manifest.js';
import { shardName } from '../../runs/shards.js';
import { list, members, nullable, number, oneOf, text, whole } from '../../runs/json-shape.js';
import type { TranslateSettings } from './options.js';
import { imageKey } from '../../runs/run.js';
import {
  readShardLines,
  reconstructionFile,
  sequenceFolders,
  sourceFile,
  targetFile,
  TRANSLATION_FORMAT,
  type ShardLines,
} from '../../runs/parallel.js';

export interface TranslationManifest {
  format: typeof TRANSLATION_FORMAT;
  version: string;
  /** ISO 8601 */
  created: string;
  /** of model, data, targets and options */
  fingerprint: string;
  model: ManifestModel;
  dataset: {
    path: string;
    fingerprint: string;
    labels: string[];
    images: number;
    ignored: number;
    ignoredBy?: Ignored;
  } & DatasetSource;
  /** target labels, sorted */
  labels: string[];
  options: TranslateSettings;
  preset: string | null;
  index: ListRecord;
  shards: number;
  /** present if shardSize was chosen by a rate */
  shardRate?: ShardRate;
}

export type TranslationDraft = Draft<TranslationManifest>;

const TRANSLATION: Kind<TranslationManifest> = {
  format: TRANSLATION_FORMAT,
  noun: 'translation',
  maker: '`diffmine translate --out`',
  subjects: ({ model, dataset, labels }) => ({
    model: { value: model.fingerprint, shown: model.path },
    dataset: { value: dataset.fingerprint, shown: dataset.path },
    to: { value: labels },
  }),
  columns: () => imageListColumns([]),
  shape: members({
    model: MODEL_SHAPE,
    dataset: members({ path: text, fingerprint: text, labels: list(text), images: whole(0), ignored: whole(0) }),
    labels: list(text),
    options: members({
      ...SIZE_SHAPES,
      ...WHERE_SHAPES,
      inversionSteps: whole(1),
      inferenceSteps: whole(1),
      guidanceScale: number,
      guidanceBegin: number,
      guidanceEnd: number,
      negative: oneOf('source', 'null'),
      featureFraction: number,
      attentionFraction: number,
      featureLayers: list(text),
      attentionLayers: list(text),
      prompt: nullable(text),
      nullPrompt: nullable(text),
      imagesPerLabel: nullable(whole(1)),
    }),
    preset: nullable(text),
  }),
  optionName: {
    guidanceBegin: 'guidance-range, first timestep',
    guidanceEnd: 'guidance-range, end',
    sizeRule: 'rounding of the long side',
  },
};

export class TranslationFolder extends ShardedFolder<TranslationManifest, ListedRow> {
  /** LABEL/NAME of each image */
  readonly folders: readonly string[];

  private constructor(
    opened: Opened<TranslationManifest, ListedRow>,
    /** all of the list */
    readonly images: readonly ListedImage[],
  ) {
    super(opened, '.jsonl');
    this.folders = sequenceFolders(images);
  }

  private static async of(opened: Opened<TranslationManifest, ListedRow>): Promise<TranslationFolder> {
    const images: ListedImage[] = [];
    for await (const group of opened.list.groups(['path', 'label']))
      for (const row of group) images.push(listedImage(row, []));
    return new TranslationFolder(opened, images);
  }

  /**
   * Opens what `begin` made.
   *
   * @throws RUN_INVALID if there is none, or a damaged one
   */
  static async open(path: string): Promise<TranslationFolder> {
    return TranslationFolder.of(await openFolder(TRANSLATION, path));
  }

  /**
   * Begins a translation in `place`, a path or s3://bucket/prefix, or resumes the one that is there if it is the same. Several processes may do so at once.
   *
   * @param images that are translated, in order
   * @throws RUN_MISMATCH if another translation, or anything else, is in the folder
   */
  static async begin(
    place: string,
    draft: TranslationDraft,
    images: ImageList,
    options: BeginOptions = {},
  ): Promise<TranslationFolder> {
    return TranslationFolder.of(await beginFolder(TRANSLATION, place, draft, imageRows(images, []), options));
  }

  /** The places of a shard's images in the list. */
  shardPlaces(shard: number): number[] {
    const [begin, end] = this.shardRange(shard);
    return Array.from({ length: end - begin }, (_, i) => begin + i);
  }

  /** sha256 of the files that a finished shard was translated from, by place in the list. */
  async shardContents(shard: number): Promise<Map<number, string | null>> {
    const { translated, skipped } = await this.readShard(shard);
    const contents = new Map(
      [...translated, ...skipped].map(({ image, label, sha256 }) => [imageKey({ path: image, label }), sha256 ?? null]),
    );
    return new Map(
      this.shardPlaces(shard).map((place) => [
        place,
        contents.get(imageKey(this.images[place] as ListedImage)) ?? null,
      ]),
    );
  }

  /** Records that a shard is finished, once all its images are written. */
  async finishShard(shard: number, { record, translated, skipped }: ShardLines): Promise<void> {
    await writeFileAtomic(this.shardPath(shard), jsonLines([record, ...translated, ...skipped]));
    const images = translated.flatMap(({ folder, targets }) =>
      [sourceFile, reconstructionFile, ...targets.map(targetFile)].map((file) => `${folder}/${file}`),
    );
    await this.kept.commit(shardName(shard), images);
  }

  /** @throws RUN_INVALID for a damaged one */
  async readShard(shard: number): Promise<ShardLines> {
    await this.fetchShard(shard, []);
    return readShardLines(this.shardPath(shard));
  }

  /**
   * Contents of the finished shards, in order. They are read one by one, because there may be more of them than open files are allowed.
   *
   * @throws RUN_INVALID for a damaged one
   */
  async readShards(shards: readonly number[]): Promise<Omit<ShardLines, 'record'>> {
    const read: ShardLines[] = [];
    for (const shard of shards) read.push(await this.readShard(shard));
    return {
      translated: read.flatMap(({ translated }) => translated),
      skipped: read.flatMap(({ skipped }) => skipped),
    };
  }

  protected override async skippedIn(shard: number): Promise<Skipped[]> {
    return (await this.readShard(shard)).skipped;
  }
}

/** @throws RUN_INVALID for a damaged one */
export async function readTranslation(folder: string): Promise<TranslationManifest | undefined> {
  return readManifestOf(TRANSLATION, folder);
}
