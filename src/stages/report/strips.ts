// Image pages of runs with --all-labels: an image's typicality maps under every label, side by side in one file, in one color scale.
import type { Run } from '../../runs/run.js';
import { imageKey } from '../../runs/run.js';
import { readMaps } from '../../runs/maps.js';
import type { MinedPatchRow } from '../../runs/columns.js';
import { groupBy } from '../../util/group.js';
import { commonScale, paint, strength, type TypicalityMap } from '../../web/heatmap.js';
import { contextSize, encodeMap } from '../../web/sprites.js';
import { imageFile, measureImage } from '../../data/index.js';
import type { DrawContext } from './label.js';
import type { LabelView } from './layout.js';

/** Long side of a map in the strip, px. */
const SIDE = 160;

export interface Strips {
  /** the images' numbers in the run's list */
  numbers: number[];
  /** |typicality| of the strongest color */
  scale: number;
}

interface Wanted {
  patch: MinedPatchRow;
  number: number;
  shard: number;
}

/** @param most images per label, of its first patches; written as maps/all-NUMBER.webp */
export async function drawStrips(
  run: Run,
  views: readonly LabelView[],
  most: number,
  context: DrawContext,
): Promise<Strips | null> {
  const { allLabels, maps } = run.manifest.options;
  if (!allLabels || !maps || views.length < 2 || most === 0) return null;
  const wanted = new Map<number, Wanted>();
  for (const view of views) {
    const own = new Set<number>();
    for (const tile of [...view.lists.top.shown, ...view.patches.keys()]) {
      const patch = view.patches[tile] as MinedPatchRow;
      const number = context.numberOf.get(patch.image);
      const shard = context.shardOf.get(imageKey({ path: patch.image, label: patch.label }));
      if (number === undefined || shard === undefined || context.missing.has(patch.image)) continue;
      if (own.size === most) break;
      own.add(number);
      wanted.set(number, { patch, number, shard });
    }
  }
  const shards = groupBy([...wanted.values()], ({ shard }) => String(shard));
  const mapsOf = (ones: readonly Wanted[]): ((image: string) => (TypicalityMap | undefined)[]) => {
    const images = ones.map(({ patch }) => patch.image);
    const under = views.map(({ label }) => readMaps(run, ones[0]?.shard ?? 0, label, images));
    return (image) => under.map((read) => read.get(image));
  };
  const strengths: number[] = [];
  for (const ones of shards) {
    const read = mapsOf(ones);
    for (const { patch } of ones) for (const map of read(patch.image)) if (map) strengths.push(strength(map));
  }
  const scale = commonScale(strengths);
  if (!(scale > 0)) return null;
  for (const ones of shards) {
    const read = mapsOf(ones);
    for (const { patch, number } of ones) {
      const source = await measureImage(imageFile(context.root, patch.image));
      const size = contextSize(source.width, source.height);
      const shrink = Math.min(1, SIDE / Math.max(size.width, size.height));
      const width = Math.max(1, Math.round(size.width * shrink));
      const height = Math.max(1, Math.round(size.height * shrink));
      const { kind, vaeFactor } = run.manifest.model;
      const cell = (kind === 'latent' ? vaeFactor : 1) / patch.patch;
      const painted = read(patch.image).map((map) =>
        map
          ? paint(map, scale, width, height, {
              width: (cell * patch.width * width) / source.width,
              height: (cell * patch.height * height) / source.height,
            })
          : Buffer.alloc(3 * width * height, 128),
      );
      const strip = beside(painted, width, height);
      await context.folder.write(
        'maps',
        `maps/all-${number}.webp`,
        await encodeMap(strip, width * painted.length, height),
      );
    }
  }
  return { numbers: [...wanted.keys()].sort((a, b) => a - b), scale: Number(scale.toPrecision(4)) };
}

/** RGB images of the same size in a row. */
function beside(images: readonly Buffer[], width: number, height: number): Buffer {
  const out = Buffer.alloc(3 * width * height * images.length);
  images.forEach((image, i) => {
    for (let y = 0; y < height; y++)
      image.copy(out, 3 * width * (y * images.length + i), 3 * width * y, 3 * width * (y + 1));
  });
  return out;
}
