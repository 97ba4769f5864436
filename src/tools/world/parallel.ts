// A perfect translation of the synthetic dataset: each image as every city would have it, in the layout that `translate` writes (src/runs/parallel.ts),
// so that what is done with translations can be tried where they are known to be right.
import { count } from '../../web/html.js';
import { readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import sharp from 'sharp';
import { DiffmineError } from '../../util/errors.js';
import { CITIES } from './kinds.js';
import { drawImage, encodeBoxes, type PlantedBox, type WorldEvent } from './world.js';
import type { Hooks } from '../../util/hooks.js';
import { makeFolder } from '../../util/paths.js';

export interface ParallelWorldSettings {
  /** default 0 */
  seed: number;
  /** sequences a city; default 4 */
  images: number;
  /** number of the first image of each city: those before it may have been trained on; default 0 */
  first: number;
  /** of their sides in pixels; default 64 */
  size: number;
}

/**
 * Writes CITY/NUMBER/source.png, CITY/NUMBER/TARGET.png and boxes.csv (of the sources; `image` is CITY/NUMBER) into a new or empty folder.
 * Images are those of the world of the same seed and size.
 *
 * @throws INVALID_ARGUMENT for settings out of range, or a folder that has something in it
 */
export async function writeParallelWorld(
  { out: folder, ...settings }: Partial<ParallelWorldSettings> & { out: string },
  hooks: Hooks<WorldEvent> = {},
): Promise<{ path: string; boxes: string; sequences: number; cities: string[] }> {
  const { seed, images, first, size } = { seed: 0, images: 4, first: 0, size: 64, ...settings };
  if (!Number.isInteger(images) || images < 1)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `A parallel dataset of ${count(images, 'image')} per city is too small.`,
      'Use at least 1.',
    );
  if (!Number.isInteger(first) || first < 0)
    throw new DiffmineError('INVALID_ARGUMENT', `There is no image number ${first}.`, 'Images are counted from 0.');
  if (!Number.isInteger(size) || size < 32 || size > 1024)
    throw new DiffmineError('INVALID_ARGUMENT', `Images of ${size} px cannot be drawn.`, 'Use 32 to 1024 px.');
  await makeFolder(folder);
  const there = (await readdir(folder)).find((name) => !name.startsWith('.'));
  if (there !== undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${folder} is not empty (it has ${JSON.stringify(there)}).`,
      'Give a new or empty folder.',
    );

  const path = resolve(folder);
  const todo = CITIES.flatMap((city) => Array.from({ length: images }, (_, i) => ({ city, number: first + i })));
  const rows: PlantedBox[] = [];
  for (const [index, { city, number }] of todo.entries()) {
    if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Drawing was cancelled.');
    const image = `${city}/${String(number).padStart(5, '0')}`;
    await makeFolder(join(path, image));
    const drawn = await Promise.all(
      CITIES.map(async (target) => ({ target, ...(await drawImage(city, number, { seed, size }, target)) })),
    );
    for (const { target, pixels, boxes } of drawn) {
      const png = await sharp(pixels, { raw: { width: size, height: size, channels: 3 } })
        .png({ compressionLevel: 9 })
        .toBuffer();
      await writeFile(join(path, image, target === city ? 'source.png' : `${target}.png`), png);
      if (target === city) rows.push(...boxes.map((box) => ({ image, ...box })));
    }
    hooks.onProgress?.({ type: 'draw', done: index + 1, total: todo.length });
  }
  const boxes = join(path, 'boxes.csv');
  await writeFile(boxes, encodeBoxes(rows));
  return { path, boxes, sequences: todo.length, cities: [...CITIES] };
}
