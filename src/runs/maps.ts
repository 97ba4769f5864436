// The mean typicality maps of a run, read for the images that the report shows.
import { existsSync } from 'node:fs';
import { readSafetensors, readSafetensorsHeader } from '../engine/index.js';
import { toFloat32 } from '../engine/tensor.js';
import { mapName } from './names.js';
import type { Run } from './run.js';
import type { TypicalityMap } from '../web/heatmap.js';

/** The maps of `images` under `condition` that shard number `shard` holds, by image; what it does not hold is left out. */
export function readMaps(
  run: Run,
  shard: number,
  condition: string,
  images: readonly string[],
): Map<string, TypicalityMap> {
  const file = run.shardFile(shard, 'maps.safetensors');
  if (!existsSync(file)) return new Map();
  const { tensors } = readSafetensorsHeader(file);
  const kept = images.filter((image) => tensors[mapName(condition, image)]?.shape.length === 2);
  const read = readSafetensors(
    file,
    kept.map((image) => mapName(condition, image)),
  );
  return new Map(
    kept.flatMap((image) => {
      const map = read[mapName(condition, image)];
      const [height, width] = map?.shape ?? [];
      return map && height && width ? [[image, { values: toFloat32(map), width, height }]] : [];
    }),
  );
}
