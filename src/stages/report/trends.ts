// What the report shows of trends: the elements with a clear course, their curves, and their best patches per label, drawn into sprite sheets of their own.
import { existsSync } from 'node:fs';
import { imageFile, openImage } from '../../data/index.js';
import { SHAPES, type Shape } from '../../metrics/trend.js';
import type { Run } from '../../runs/run.js';
import type { ElementRow, TrendPatchRow, TrendRow } from '../../runs/columns.js';
import { readTable } from '../../runs/tables.js';
import { groupBy } from '../../util/group.js';
import { scriptOf } from '../../web/script.js';
import { cutTile, decode, SpriteSheet, TILES_PER_SHEET } from '../../web/sprites.js';
import type { DrawContext } from './label.js';

/** Elements of each shape that are shown, and patches per label of each. */
const SHOWN: Record<Shape, number> = { rising: 12, falling: 12, passing: 24, steady: 6 };
const PATCHES = 3;

const precise = (value: number): number => Number(value.toPrecision(4));

/** Writes sprites/t-SHEET.webp and returns data/trends.js; null data where the run has no trends. */
export async function trendsScript(run: Run, context: DrawContext): Promise<string> {
  if (!existsSync(run.mineFile('elements.parquet'))) return scriptOf('diffmine.trends', null);
  const [all, curves, patches] = await Promise.all([
    readTable<ElementRow>(run.mineFile('elements.parquet')),
    readTable<TrendRow>(run.mineFile('trends.parquet')),
    readTable<TrendPatchRow>(run.mineFile('trend-patches.parquet')),
  ]);
  const elements = SHAPES.flatMap((shape) => all.filter((one) => one.shape === shape).slice(0, SHOWN[shape]));
  const kept = new Set(elements.map(({ element }) => element));
  const shown = patches.filter(({ element, rank, found }) => kept.has(element) && rank <= PATCHES && found === 1);
  const sheets = Array.from(
    { length: Math.ceil(shown.length / TILES_PER_SHEET) },
    (_, i) => new SpriteSheet(Math.min(TILES_PER_SHEET, shown.length - i * TILES_PER_SHEET)),
  );
  const places = new Map(shown.map((patch, place) => [patch, place]));
  // images of ranked patches have been drawn, and have a page of their own
  const drawn = new Set(context.sizes.keys());
  for (const own of groupBy(shown, ({ image }) => image)) {
    const [first] = own;
    if (!first) continue;
    try {
      const smallest = Math.min(...own.map(({ width, height }) => Math.min(width, height)));
      const image = await decode(await openImage(imageFile(context.root, first.image)), smallest);
      for (const patch of own) {
        const place = places.get(patch) as number;
        sheets[Math.floor(place / TILES_PER_SHEET)]?.put(place % TILES_PER_SHEET, await cutTile(image, patch));
      }
    } catch (error) {
      context.missing.set(first.image, (error as Error).message.split('\n')[0] as string);
    }
  }
  for (const [i, sheet] of sheets.entries()) {
    const { bytes, quality } = await sheet.encode(context.quality);
    context.quality = quality;
    await context.folder.write('sprites', `sprites/t-${i}.webp`, bytes);
  }
  const labels = curves.filter(({ element }) => element === curves[0]?.element);
  return scriptOf('diffmine.trends', {
    labels: labels.map(({ label, position, images }) => ({ label, position, images })),
    shapes: Object.fromEntries(SHAPES.map((shape) => [shape, all.filter((one) => one.shape === shape).length])),
    tiles: shown.length,
    elements: elements.map(({ element, size, shape, clarity, p, peak }) => {
      const curve = curves.filter((row) => row.element === element);
      return {
        element,
        size,
        shape,
        clarity: precise(clarity),
        p,
        peak,
        fraction: curve.map(({ fraction }) => precise(fraction)),
        error: curve.map(({ standard_error }) => precise(standard_error)),
        patches: labels.map(({ label }) =>
          shown.flatMap((patch, place) =>
            patch.element === element && patch.label === label
              ? [[place, patch.image, drawn.has(patch.image) ? (context.numberOf.get(patch.image) ?? null) : null]]
              : [],
          ),
        ),
      };
    }),
  });
}
