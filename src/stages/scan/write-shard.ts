// Writes a scored shard: the rows of its tables, its maps, and what was skipped.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DatasetImage, ReadImage } from '../../data/index.js';
import { toFloat16, writeSafetensors } from '../../engine/index.js';
import type { ScoredPatch, Tensor, TypicalityOutput } from '../../engine/types.js';
import type { ShardCounts } from '../../pipeline/stage.js';
import { mapName } from '../../runs/names.js';
import { jsonLines, type Run, type ShardRecord, type Skipped } from '../../runs/run.js';
import {
  carriedNames,
  CONTENT_SCHEMA,
  IMAGE_SCHEMA,
  imageSchema,
  PATCH_SCHEMA,
  type ContentRow,
  type ImageRow,
  type ListName,
  type PatchRow,
} from '../../runs/columns.js';
import { writeTable, type Row } from '../../runs/tables.js';
import type { Contrast } from './contrasts.js';

/** What became of the images of a task. */
export interface Outcome<T> {
  images: readonly DatasetImage[];
  /** by index in the task's places */
  scored: ReadonlyMap<number, T>;
  /** why an image was skipped */
  reasons: ReadonlyMap<number, string>;
  /** sha256 of every image; null where it could not be read */
  contents: readonly (string | null)[];
}

/** What scoring one image gave. */
export interface Scored {
  rows: ImageRow[];
  patches: PatchRow[];
  maps: [name: string, map: Tensor][];
}

/**
 * The rows and maps of one image.
 *
 * @param samples that it got
 */
export function collect(
  { run }: { run: Run },
  { image, contrast }: { image: DatasetImage; contrast: Contrast },
  decoded: Pick<ReadImage, 'sourceWidth' | 'sourceHeight' | 'width' | 'height' | 'resized'>,
  outputs: TypicalityOutput[],
  samples: number,
): Scored {
  const { patch, maps, localize } = run.manifest.options;
  const { sourceWidth, sourceHeight, width, height, resized } = decoded;
  const across = sourceWidth / resized.width;
  const down = sourceHeight / resized.height;
  const scored: Scored = { rows: [], patches: [], maps: [] };
  outputs.forEach((output, m) => {
    const condition = contrast.names[m] as string;
    const names = { image: image.path, label: image.label, condition };
    scored.rows.push({
      ...names,
      source_width: sourceWidth,
      source_height: sourceHeight,
      width,
      height,
      typicality: output.mean,
      samples,
      ...carried(run, image),
    });
    const add = (list: ListName, patches: ScoredPatch[]): void => {
      patches.forEach(({ row, column, score: typicality, standardError }, place) => {
        const box = { x: column * across, y: row * down, width: patch * across, height: patch * down };
        scored.patches.push({
          ...names,
          list,
          place: place + 1,
          ...box,
          row,
          column,
          patch,
          typicality,
          standard_error: standardError,
          samples,
        });
      });
    };
    add('top', output.top);
    add('bottom', output.bottom);
    add('random', output.random);
    if (maps && output.map)
      scored.maps.push([mapName(condition, image.path), localize ? output.map : toFloat16(output.map)]);
  });
  return scored;
}

/** The dataset's further columns. */
function carried(run: Run, image: DatasetImage): Row {
  return Object.fromEntries(
    [...carriedNames(IMAGE_SCHEMA, run.manifest.dataset.columns)].map(([column, name]) => [
      name,
      (image.extra && Object.hasOwn(image.extra, column) ? image.extra[column] : null) ?? null,
    ]),
  );
}

async function write(
  run: Run,
  record: ShardRecord,
  scored: Scored[],
  skipped: Skipped[],
  files: ContentRow[],
): Promise<void> {
  await run.writeShard(record.id, async (folder) => {
    await writeTable(
      join(folder, 'images.parquet'),
      scored.flatMap(({ rows }) => rows),
      imageSchema(run.manifest.dataset.columns),
    );
    await writeTable(
      join(folder, 'patches.parquet'),
      scored.flatMap(({ patches }) => patches),
      PATCH_SCHEMA,
    );
    await writeTable(join(folder, 'files.parquet'), files, CONTENT_SCHEMA);
    if (run.manifest.options.maps)
      writeSafetensors(join(folder, 'maps.safetensors'), Object.fromEntries(scored.flatMap(({ maps }) => maps)));
    await writeFile(join(folder, 'skipped.jsonl'), jsonLines(skipped));
    await writeFile(join(folder, 'shard.json'), `${JSON.stringify(record)}\n`);
  });
}

/** Writes a finished shard of the run. */
export async function writeShard(
  run: Run,
  shard: number,
  { images, scored: found, reasons, contents }: Outcome<Scored>,
  { batch, notes }: Pick<ShardRecord, 'batch'> & { notes: readonly string[] },
): Promise<ShardCounts> {
  const scored: Scored[] = [];
  const skipped: Skipped[] = [];
  const files: ContentRow[] = [];
  images.forEach(({ path, label }, index) => {
    const one = found.get(index);
    if (one) scored.push(one);
    const reason = reasons.get(index);
    if (reason !== undefined) skipped.push({ image: path, label, reason });
    files.push({ image: path, label, sha256: contents[index] ?? null });
  });
  const record = { id: shard, images: scored.length, skipped: skipped.length, batch, notes: [...notes] };
  await write(run, record, scored, skipped, files);
  return { done: scored.length, skipped: skipped.length };
}
