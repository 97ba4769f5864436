// Heat maps of a run at the size of their source images.
import { scoredSize } from '../../data/index.js';
import { readMaps } from '../../runs/maps.js';
import type { Run } from '../../runs/run.js';
import type { ImageRow } from '../../runs/columns.js';
import { readTable } from '../../runs/tables.js';
import { DiffmineError } from '../../util/errors.js';
import { groupBy } from '../../util/group.js';
import { commonScale, resample, strength, type TypicalityMap } from '../../web/heatmap.js';
import { labelsOf, type Selection } from './rows.js';

/** A typicality map at the size of the source image. */
export interface HeatMap {
  image: string;
  condition: string;
  /** of the source image, px */
  width: number;
  height: number;
  /** [height * width]; NaN where the image was cut before scoring */
  values: Float32Array;
}

interface Place {
  shard: number;
  row: ImageRow;
}

/** The maps of a run: of some labels, of each the `top` images of highest typicality. */
export class HeatMaps {
  private constructor(
    private readonly run: Run,
    /** by shard and label */
    private readonly groups: Place[][],
    /** |typicality| that counts as strong, by label */
    readonly scales: ReadonlyMap<string, number>,
  ) {}

  /** @throws RUN_INVALID if the run has no maps; INVALID_ARGUMENT for an unknown label */
  static async of(run: Run, { labels, top = Infinity }: Selection): Promise<HeatMaps> {
    const wanted = new Set(labelsOf(run, labels));
    if (!run.manifest.options.maps)
      throw new DiffmineError('RUN_INVALID', `${run.path} has no maps.`, 'Scan without --no-maps.');
    const places: Place[] = [];
    for (const shard of await run.doneShards())
      for (const row of await readTable<ImageRow>(run.shardFile(shard, 'images.parquet')))
        if (wanted.has(row.condition)) places.push({ shard, row });
    const best = groupBy(places, ({ row }) => row.condition).flatMap((own) =>
      top === Infinity ? own : own.sort((a, b) => b.row.typicality - a.row.typicality).slice(0, top),
    );
    best.sort((a, b) => a.shard - b.shard);
    const groups = groupBy(best, ({ shard, row }) => JSON.stringify([shard, row.condition]));
    const strengths = new Map<string, number[]>([...wanted].map((label) => [label, []]));
    for (const group of groups)
      for (const [{ row }, map] of mapsOf(run, group)) strengths.get(row.condition)?.push(strength(map));
    return new HeatMaps(run, groups, new Map([...strengths].map(([label, all]) => [label, commonScale(all)])));
  }

  /** One map at a time. */
  async *[Symbol.asyncIterator](): AsyncGenerator<HeatMap, void, undefined> {
    const { size, sizeRule } = this.run.manifest.options;
    const { kind, vaeFactor } = this.run.manifest.model;
    const cell = kind === 'latent' ? vaeFactor : 1;
    for (const group of this.groups) {
      for (const [{ row }, map] of mapsOf(this.run, group)) {
        const { image, condition, source_width: width, source_height: height } = row;
        const { resized } = scoredSize({ width, height }, { size, rule: sizeRule, multiple: 1, patch: 1 });
        const scaled = { width: (cell * width) / resized.width, height: (cell * height) / resized.height };
        yield { image, condition, width, height, values: resample(map, width, height, scaled) };
        await Promise.resolve(); // signals are heard between maps
      }
    }
  }
}

/** Maps of one shard and label. */
function mapsOf(run: Run, group: readonly Place[]): [Place, TypicalityMap][] {
  const [first] = group;
  if (!first) return [];
  const images = group.map(({ row }) => row.image);
  const maps = readMaps(run, first.shard, first.row.condition, images);
  return group.flatMap((place): [Place, TypicalityMap][] => {
    const map = maps.get(place.row.image);
    return map ? [[place, map]] : [];
  });
}
