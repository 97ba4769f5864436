// The synthetic dataset on disk: street scenes of six imaginary cities, or of eight decades, as two datasets (train/, heldout/), with a box for every planted
// element.
import { count } from '../../web/html.js';
import { readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import sharp from 'sharp';
import { discard } from '../../runs/atomic.js';
import { DiffmineError } from '../../util/errors.js';
import { CITIES, KINDS, SLOTS, type City, type Kind, type Slot } from './kinds.js';
import { COURSES, DECADES, drawDecade, FILLED, peakOf, type Decade } from './ordered.js';
import { Random } from '../../util/random.js';
import { AT_HOME, drawScene, ELSEWHERE, MOST_HIDDEN, translateScene, type Scene } from './scene.js';
import { SIDE } from './scenery.js';
import type { Hooks, Progress } from '../../util/hooks.js';
import { makeFolder } from '../../util/paths.js';

const BOXES = 'boxes.csv';
const RECORD = 'world.json';
export const WORLD_FORMAT = 'diffmine-world-2';

/** What decides the world's bytes. */
export interface WorldSettings {
  /** default 0 */
  seed: number;
  /** a city, both sets together; default 250 */
  images: number;
  /** of their sides in pixels; default 64 */
  size: number;
  /** fraction of the images that go to heldout/, 0 ... 1; default 0.2 */
  heldout: number;
  /** whether the labels are decades, and the kinds come and go; default false */
  ordered: boolean;
}

export type WorldEvent = Progress<'draw'>;

export interface WorldSummary {
  path: string;
  /** the two datasets: folders and images */
  train: { path: string; images: number };
  heldout: { path: string; images: number };
  boxes: { path: string; rows: number };
  /** the cities, or the decades in their order */
  labels: string[];
}

/** A planted element, in pixels of its image: a row of boxes.csv. */
export interface PlantedBox {
  /** LABEL/NUMBER.png, unique over both sets */
  image: string;
  label: City | Decade;
  x: number;
  y: number;
  w: number;
  h: number;
  slot: Slot;
  kind: string;
  /** the city it is typical of, or the decade in which it is most common */
  home: City | Decade;
}

const DEFAULTS: WorldSettings = { seed: 0, images: 250, size: 64, heldout: 0.2, ordered: false };
const COLUMNS = ['image', 'label', 'x', 'y', 'w', 'h', 'slot', 'kind', 'home'] as const;
/** Images drawn at once. */
const TOGETHER = 16;

/** world.json: what a world is made from, and what is planted in it; written last, when all else is there. */
export function worldRecord(settings: Partial<WorldSettings> = {}): object {
  const { seed, images, size, heldout, ordered } = { ...DEFAULTS, ...settings };
  if (ordered) {
    const courses = Object.fromEntries(
      SLOTS.map((slot) => [
        slot,
        Object.fromEntries(
          [...COURSES].filter(([kind]) => kind.slot === slot).map(([kind, course]) => [kind.name, course]),
        ),
      ]),
    );
    return {
      format: WORLD_FORMAT,
      seed,
      images,
      size,
      heldout,
      filled: FILLED,
      slots: SLOTS,
      labels: DECADES,
      courses,
    };
  }
  const cities = Object.fromEntries(
    CITIES.map((city) => [
      city,
      Object.fromEntries(
        SLOTS.map((slot) => [slot, KINDS.find((kind) => kind.city === city && kind.slot === slot)?.name]),
      ),
    ]),
  );
  return {
    format: WORLD_FORMAT,
    seed,
    images,
    size,
    heldout,
    atHome: AT_HOME,
    elsewhere: ELSEWHERE,
    slots: SLOTS,
    cities,
  };
}

/** The bytes of boxes.csv. @param home the name of its last column */
export function encodeBoxes(rows: readonly PlantedBox[], home: 'city' | 'decade' = 'city'): string {
  return [COLUMNS.join(',').replace(/home$/, home), ...rows.map((row) => COLUMNS.map((name) => row[name]).join(','))]
    .map((line) => `${line}\r\n`)
    .join('');
}

/**
 * One image of the world: interleaved RGB, size x size, and what is planted in it.
 *
 * @param target the same image in another city: what is typical of `city` is the target's own in its place, all else stays as it is
 */
export async function drawImage(
  city: City,
  number: number,
  { seed, size }: Pick<WorldSettings, 'seed' | 'size'>,
  target: City = city,
): Promise<{ pixels: Buffer; boxes: Omit<PlantedBox, 'image'>[] }> {
  const street = [seed, city, number];
  const scene = target === city ? drawScene(city, ...street) : translateScene(city, target, ...street);
  return expose(scene, city, (kind) => kind.city, { seed, size, number });
}

/** One image of the ordered world. */
export async function drawDecadeImage(
  decade: Decade,
  number: number,
  { seed, size }: Pick<WorldSettings, 'seed' | 'size'>,
): Promise<{ pixels: Buffer; boxes: Omit<PlantedBox, 'image'>[] }> {
  return expose(drawDecade(decade, seed, decade, number), decade, peakOf, { seed, size, number });
}

/** A scene as pixels, and what is planted in it. */
async function expose(
  { svg, planted, exposure }: Scene,
  label: City | Decade,
  homeOf: (kind: Kind) => City | Decade,
  { seed, size, number }: { seed: number; size: number; number: number },
): Promise<{ pixels: Buffer; boxes: Omit<PlantedBox, 'image'>[] }> {
  const document = `<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}" viewBox="0 0 ${SIDE} ${SIDE}">${svg}</svg>`;
  const pixels = await sharp(Buffer.from(document))
    .flatten({ background: '#000' })
    .toColourspace('srgb')
    .raw()
    .toBuffer();
  const noise = new Random('noise', seed, label, number);
  for (let i = 0; i < pixels.length; i++) {
    const x = (Math.floor(i / 3) % size) / size;
    const shade = (exposure.gain[i % 3] as number) * (1 + exposure.slope * (x - 0.5));
    pixels[i] = Math.max(
      0,
      Math.min(255, Math.round((pixels[i] as number) * shade + exposure.lift + exposure.noise * noise.normal())),
    );
  }
  const pixel = (value: number): number => Math.round((100 * value * size) / SIDE) / 100;
  const boxes = planted
    .filter(({ hidden }) => hidden <= MOST_HIDDEN)
    .map(({ x, y, w, h, kind }) => ({
      label,
      x: pixel(x),
      y: pixel(y),
      w: pixel(w),
      h: pixel(h),
      slot: kind.slot,
      kind: kind.name,
      home: homeOf(kind),
    }));
  return { pixels, boxes };
}

/**
 * Writes the world into a new or empty folder: train/LABEL/NUMBER.png, heldout/LABEL/NUMBER.png, boxes.csv, world.json (docs/reference/formats/synthetic-dataset.md).
 * The same settings give the same bytes; more images leave the first ones as they are.
 *
 * @throws INVALID_ARGUMENT for settings out of range, or a folder that has something in it
 */
export async function writeWorld(
  { out: folder, ...settings }: Partial<WorldSettings> & { out: string },
  hooks: Hooks<WorldEvent> = {},
): Promise<WorldSummary> {
  const all: WorldSettings = { ...DEFAULTS, ...settings };
  const { images, size, heldout, ordered } = all;
  if (!Number.isInteger(images) || images < 2)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `A dataset of ${count(images, 'image')} per ${ordered ? 'decade' : 'city'} is too small.`,
      'Use at least 2.',
    );
  if (!Number.isInteger(size) || size < 32 || size > 1024)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `Images of ${size} px cannot be drawn.`,
      'Use 32 to 1024 px; at 64 px, elements are 6 to 16 px.',
    );
  if (!(heldout >= 0 && heldout <= 1))
    throw new DiffmineError('INVALID_ARGUMENT', `\`holdout\` is ${heldout}; expected a fraction from 0 to 1.`);
  await makeFolder(folder);
  const there = (await readdir(folder)).find((name) => !name.startsWith('.'));
  if (there !== undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${folder} is not empty (it has ${JSON.stringify(there)}).`,
      'Give a new or empty folder.',
    );

  try {
    return await write(resolve(folder), all, hooks);
  } catch (error) {
    // the same command can then be given again
    for (const name of ['train', 'heldout', BOXES, RECORD]) await discard(join(folder, name));
    throw error;
  }
}

/** @param path an empty folder */
async function write(path: string, all: WorldSettings, hooks: Hooks<WorldEvent>): Promise<WorldSummary> {
  const { seed, images, size, heldout, ordered } = all;
  const labels = ordered ? DECADES : CITIES;
  const training = images - Math.round(images * heldout);
  const sets = (['train', 'heldout'] as const).filter((set) => (set === 'train' ? training > 0 : training < images));
  const todo = labels.flatMap((label) => Array.from({ length: images }, (_, number) => ({ label, number })));
  for (const set of sets) for (const label of labels) await makeFolder(join(path, set, label));
  const rows: PlantedBox[] = [];
  for (let start = 0; start < todo.length; start += TOGETHER) {
    if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Drawing was cancelled.');
    const drawn = await Promise.all(
      todo.slice(start, start + TOGETHER).map(async ({ label, number }) => {
        const { pixels, boxes } = await drawLabel(label, number, { seed, size });
        const image = `${label}/${String(number).padStart(5, '0')}.png`;
        const png = await sharp(pixels, { raw: { width: size, height: size, channels: 3 } })
          .png({ compressionLevel: 9 })
          .toBuffer();
        await writeFile(join(path, number < training ? 'train' : 'heldout', image), png);
        return boxes.map((box) => ({ image, ...box }));
      }),
    );
    rows.push(...drawn.flat());
    hooks.onProgress?.({ type: 'draw', done: Math.min(todo.length, start + TOGETHER), total: todo.length });
  }
  const boxes = join(path, BOXES);
  await writeFile(boxes, encodeBoxes(rows, ordered ? 'decade' : 'city'));
  await writeFile(join(path, RECORD), `${JSON.stringify(worldRecord(all), null, 1)}\n`);
  return {
    path,
    train: { path: join(path, 'train'), images: training * labels.length },
    heldout: { path: join(path, 'heldout'), images: (images - training) * labels.length },
    boxes: { path: boxes, rows: rows.length },
    labels: [...labels],
  };
}

const isDecade = (label: City | Decade): label is Decade => (DECADES as readonly string[]).includes(label);

const drawLabel = async (
  label: City | Decade,
  number: number,
  settings: Pick<WorldSettings, 'seed' | 'size'>,
): Promise<{ pixels: Buffer; boxes: Omit<PlantedBox, 'image'>[] }> =>
  isDecade(label) ? drawDecadeImage(label, number, settings) : drawImage(label, number, settings);
