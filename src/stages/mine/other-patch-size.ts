// Candidates of another patch size, without a new scan: the mean score of a patch is the mean of the map over its window, and the scan kept the mean maps.
// Standard errors would need every sample's map: they are null.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { scoredSize, type SizeOptions } from '../../data/index.js';
import { fromFloat32, type Engine } from '../../engine/index.js';
import type { Tensor } from '../../engine/types.js';
import { readMaps } from '../../runs/maps.js';
import type { Run } from '../../runs/run.js';
import { LISTS, PATCH_SCHEMA, type ImageRow, type ListName, type PatchRow } from '../../runs/columns.js';
import { readTable, writeTable } from '../../runs/tables.js';
import { DiffmineError } from '../../util/errors.js';
import { groupBy } from '../../util/group.js';
import type { Hooks } from '../../util/hooks.js';
import { Random } from '../../util/random.js';
import type { MineEvent } from './options.js';

export interface Candidates {
  /** tables of candidates, one per shard */
  files: string[];
  /** images that are smaller than a patch */
  tooSmall: number;
  remove: () => Promise<void>;
}

/**
 * Selects patches of sizes.patch from the run's typicality maps as a scan selects its own: non-overlapping, at most perImage per image and list. The random
 * list is drawn again.
 *
 * @param sizes how the run's images were scored, with the patch that is wanted
 * @throws INVALID_ARGUMENT if no image is large enough
 */
export async function candidatesFromMaps(
  run: Run,
  engine: Engine,
  sizes: SizeOptions,
  hooks: Hooks<MineEvent> = {},
): Promise<Candidates> {
  const folder = await mkdtemp(join(tmpdir(), 'diffmine-patches-'));
  const remove = async (): Promise<void> => rm(folder, { recursive: true, force: true });
  const { shards } = run.manifest;
  const files: string[] = [];
  let [tooSmall, selected] = [0, 0];
  try {
    for (let shard = 0; shard < shards; shard++) {
      const rows: PatchRow[] = [];
      const images = await readTable<ImageRow>(run.shardFile(shard, 'images.parquet'));
      for (const own of groupBy(images, ({ condition }) => condition)) {
        const { condition } = own[0] as ImageRow;
        const maps = readMaps(run, shard, condition, [...new Set(own.map(({ image }) => image))]);
        for (const image of own) {
          if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Mining was cancelled.');
          const map = maps.get(image.image);
          if (!map) continue;
          if (Math.min(image.width, image.height) < sizes.patch) {
            tooSmall += 1;
            continue;
          }
          selected += 1;
          rows.push(...(await select(run, engine, image, fromFloat32([map.height, map.width], map.values), sizes)));
        }
      }
      const file = join(folder, `${shard}.parquet`);
      // in the order of the scan's own tables: ties go by it
      await writeTable(file, rows, PATCH_SCHEMA);
      files.push(file);
      hooks.onProgress?.({ type: 'patches', done: shard + 1, total: shards });
    }
    if (selected === 0)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `No image of ${run.path} is as large as a patch of ${sizes.patch} px.`,
        'Give a smaller `patch`.',
        { option: 'patch' },
      );
    return { files, tooSmall, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** The patches of one image under one condition. */
async function select(
  run: Run,
  engine: Engine,
  { image, label, condition, samples, width, height, ...source }: ImageRow,
  map: Tensor,
  sizes: SizeOptions,
): Promise<PatchRow[]> {
  const { perImage, seed } = run.manifest.options;
  const { patch } = sizes;
  const { resized } = scoredSize({ width: source.source_width, height: source.source_height }, sizes);
  const across = source.source_width / resized.width;
  const down = source.source_height / resized.height;
  const scores = await engine.patchScores(map, height, width, patch);
  const random = new Random('patches', seed, label, image);
  const [rows = 0, columns = 0] = scores.shape;
  // a random order of all places, of which the first that do not overlap are taken
  const order = fromFloat32(
    [rows, columns],
    Float32Array.from({ length: rows * columns }, () => random.next()),
  );
  const values = new Float32Array(scores.data.buffer, scores.data.byteOffset, rows * columns);
  const picks: Record<ListName, { row: number; column: number }[]> = {
    top: await engine.selectPatches(scores, patch, perImage, false),
    bottom: await engine.selectPatches(scores, patch, perImage, true),
    random: await engine.selectPatches(order, patch, perImage, false),
  };
  return LISTS.flatMap((list) =>
    picks[list].map(({ row, column }, place) => ({
      image,
      label,
      condition,
      list,
      place: place + 1,
      x: column * across,
      y: row * down,
      width: patch * across,
      height: patch * down,
      row,
      column,
      patch,
      typicality: values[row * columns + column] as number,
      standard_error: null,
      samples,
    })),
  );
}
