// Heat maps: typicality maps upsampled to pixels and blurred (section 5.2 of the paper).
import { DiffmineError } from '../../util/errors.js';
import { fromFloat32, toFloat32, type Engine } from '../../engine/index.js';
import { readMaps } from '../../runs/maps.js';
import type { Run } from '../../runs/run.js';
import type { ImageRow } from '../../runs/columns.js';
import { readTable } from '../../runs/tables.js';
import { groupBy } from '../../util/group.js';

/**
 * The Gaussian for a scored image: 4 sigma - 1 taps, odd, as the paper's 127 taps for a sigma of 32 px, and at most as wide as the image.
 *
 * @param blur a fraction of the short side below 1, else pixels
 * @returns undefined for no blur
 */
export function gaussian(blur: number, width: number, height: number): { sigma: number; kernel: number } | undefined {
  const short = Math.min(width, height);
  const sigma = blur < 1 ? blur * short : blur;
  const reach = Math.min(Math.round(2 * sigma - 1), short - 1);
  return reach >= 1 ? { sigma, kernel: 2 * reach + 1 } : undefined;
}

/** The rows of a run's finished shards under `label`, with their shard; each has a map. */
export async function rowsOf(run: Run): Promise<{ shard: number; row: ImageRow }[]> {
  const found: { shard: number; row: ImageRow }[] = [];
  for (const shard of await run.doneShards())
    for (const row of await readTable<ImageRow>(run.shardFile(shard, 'images.parquet'))) found.push({ shard, row });
  return found;
}

export interface Heat {
  /** at the scored image's pixels, [height * width]: upsampled, and also blurred */
  raw: Float32Array;
  heat: Float32Array;
}

/**
 * The maps of `rows` (of one label), one shard in memory at a time.
 *
 * @param engine needs no model
 * @throws RUN_INVALID if a shard lacks a map
 */
export async function* heatOf<Item extends { shard: number; row: ImageRow }>(
  engine: Engine,
  run: Run,
  rows: readonly Item[],
  blur: number,
  signal?: AbortSignal,
): AsyncGenerator<{ item: Item } & Heat> {
  const call = { signal };
  for (const here of groupBy(rows, ({ shard }) => String(shard)).sort(
    ([a], [b]) => (a?.shard ?? 0) - (b?.shard ?? 0),
  )) {
    const shard = here[0]?.shard ?? 0;
    const maps = readMaps(
      run,
      shard,
      here[0]?.row.condition ?? '',
      here.map(({ row }) => row.image),
    );
    for (const item of here) {
      if (signal?.aborted) throw new DiffmineError('CANCELLED', 'Localizing was cancelled.');
      const { image, width, height } = item.row;
      const map = maps.get(image);
      if (!map)
        throw new DiffmineError(
          'RUN_INVALID',
          `${run.shardFile(shard, 'maps.safetensors')} lacks the map of ${image} under ${item.row.condition}.`,
        );
      const raw = await engine.heatMaps(fromFloat32([1, map.height, map.width], map.values), { height, width }, call);
      const blurred = gaussian(blur, width, height);
      const heat = blurred ? await engine.heatMaps(raw, { height, width, ...blurred }, call) : raw;
      yield { item, raw: toFloat32(raw), heat: toFloat32(heat) };
    }
  }
}
