// The patches that moved most, cut from their images.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { imageFile, openImage } from '../../data/index.js';
import type { Run } from '../../runs/run.js';
import { imageRoot } from '../../runs/scored.js';
import { asDiffmineError, DiffmineError } from '../../util/errors.js';
import { groupBy } from '../../util/group.js';
import type { Hooks } from '../../util/hooks.js';
import { cutTile, decode, TILE } from '../../web/sprites.js';
import type { CompareEvent, CompareSummary, Mover } from './options.js';
import { drawnLabels } from './shown.js';

/** Writes tiles/N.webp into `folder`. @returns the summary with their names, and with the images that could not be read */
export async function drawTiles(
  summary: CompareSummary,
  [run, other]: [Run, Run],
  dataset: string | undefined,
  folder: string,
  { signal, onProgress }: Hooks<CompareEvent>,
): Promise<CompareSummary> {
  const roots = { run: imageRoot(run, dataset), other: imageRoot(other, dataset) };
  const wanted = drawnLabels(summary).flatMap(({ movers }) =>
    (['run', 'other'] as const).flatMap((side) => movers[side].map((mover) => ({ root: roots[side], mover }))),
  );
  const names = new Map<Mover, string>();
  const missing = new Map<string, string>();
  if (wanted.length > 0) await mkdir(join(folder, 'tiles'));
  const images = groupBy(wanted, ({ root, mover }) => JSON.stringify([root, mover.image]));
  let done = 0;
  for (const patches of images) {
    if (signal?.aborted) throw new DiffmineError('CANCELLED', 'The comparison was cancelled.');
    const [{ root, mover }] = patches as [(typeof patches)[number]];
    try {
      const smallest = Math.min(...patches.map((one) => Math.min(one.mover.width, one.mover.height)));
      const decoded = await decode(await openImage(imageFile(root, mover.image)), smallest);
      for (const patch of patches) {
        const name = `tiles/${names.size}.webp`;
        const tile = sharp(await cutTile(decoded, patch.mover), { raw: { width: TILE, height: TILE, channels: 3 } });
        await writeFile(join(folder, name), await tile.webp({ quality: 80, effort: 2 }).toBuffer());
        names.set(patch.mover, name);
      }
    } catch (thrown) {
      const error = asDiffmineError(thrown);
      if (error.code === 'CANCELLED' || error.code === 'IO') throw error;
      missing.set(mover.image, error.message.split('\n')[0] as string);
    }
    onProgress?.({ type: 'compare', done: ++done, total: images.length });
  }
  const named = (movers: readonly Mover[]): Mover[] =>
    movers.map((mover) => ({ ...mover, tile: names.get(mover) ?? null }));
  return {
    ...summary,
    labels: summary.labels.map((one) => ({
      ...one,
      movers: { run: named(one.movers.run), other: named(one.movers.other) },
    })),
    missing: [...missing].map(([image, reason]) => ({ image, reason })),
  };
}
