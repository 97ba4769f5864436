// How images look, on images drawn here: which are near-duplicates, and what is measured of them.
import { join } from 'node:path';
import sharp, { type Sharp } from 'sharp';
import { appearanceOf, areNearDuplicates, hashDistance } from '../../src/data/appearance.js';
import { temporaryFolder } from '../helpers/folders.js';
import { uniform } from '../helpers/synthetic-run.js';

const folder = temporaryFolder();

/** Smooth shapes that a seed decides. */
function scene(seed: number, side = 160): Sharp {
  const next = uniform(seed);
  const shapes = Array.from({ length: 12 }, () => {
    const [x, y, r] = [next() * side, next() * side, (0.05 + 0.2 * next()) * side];
    const shade = Math.round(255 * next());
    return `<circle cx="${x}" cy="${y}" r="${r}" fill="rgb(${shade},${Math.round(255 * next())},${shade})"/>`;
  });
  return sharp(
    Buffer.from(
      `<svg xmlns="http://www.w3.org/2000/svg" width="${side}" height="${side}"><rect width="100%" height="100%" fill="#888"/>${shapes.join('')}</svg>`,
    ),
  ).flatten({ background: '#888' });
}

async function write(name: string, image: Sharp): Promise<string> {
  const file = join(folder, name);
  await image.toFile(file);
  return file;
}

test('other scale, format, quality and light make a near-duplicate; another image does not', async () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const original = await appearanceOf(await write(`${seed}.png`, scene(seed)));
    const copies = {
      'small.png': scene(seed).resize(90),
      'poor.jpg': scene(seed).jpeg({ quality: 40 }),
      'dim.png': scene(seed).modulate({ brightness: 0.9 }),
      'blurred.webp': scene(seed).blur(1),
    };
    for (const [name, image] of Object.entries(copies))
      expect([name, areNearDuplicates(original, await appearanceOf(await write(`${seed}-${name}`, image)))]).toEqual([
        name,
        true,
      ]);
    const other = await appearanceOf(await write(`${seed}-other.png`, scene(seed + 100)));
    expect(areNearDuplicates(original, other)).toBe(false);
    expect(areNearDuplicates(original, await appearanceOf(await write(`${seed}-flop.png`, scene(seed).flop())))).toBe(
      false,
    );
  }
});

test('drawings on white paper share most of their pixels and are told apart', async () => {
  const drawing = (d: string): Sharp =>
    sharp(
      Buffer.from(
        `<svg xmlns="http://www.w3.org/2000/svg" width="105" height="105"><rect width="105" height="105" fill="#fff"/><path d="${d}" stroke="#000" stroke-width="3" fill="none"/></svg>`,
      ),
    );
  const a = await appearanceOf(await write('a.png', drawing('M20 20L40 80')));
  const b = await appearanceOf(await write('b.png', drawing('M80 25L60 85')));
  expect(hashDistance(a, b)).toBeGreaterThan(0.2);
  expect(areNearDuplicates(a, b)).toBe(false);
});

test('flat images are alike where their levels are', async () => {
  const flat = async (level: number): ReturnType<typeof appearanceOf> =>
    appearanceOf(
      await write(
        `flat-${level}.png`,
        sharp({ create: { width: 40, height: 30, channels: 3, background: { r: level, g: level, b: level } } }),
      ),
    );
  const [black, nearly, white] = [await flat(0), await flat(1), await flat(255)];
  expect(areNearDuplicates(black, nearly)).toBe(true);
  expect(areNearDuplicates(black, white)).toBe(false);
});

test('brightness, contrast, sharpness, size and format', async () => {
  const half = sharp(
    Buffer.from(
      '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="100"><rect width="200" height="100" fill="#fff"/><rect width="100" height="100" fill="#000"/></svg>',
    ),
  ).flatten();
  const sharpened = await appearanceOf(await write('half.png', half.clone()));
  expect(sharpened).toMatchObject({ width: 200, height: 100, format: 'png' });
  expect(sharpened.brightness).toBeCloseTo(0.5, 2);
  expect(sharpened.contrast).toBeCloseTo(0.5, 2);
  const blurred = await appearanceOf(await write('soft.jpg', half.clone().blur(4)));
  expect(blurred.format).toBe('jpeg');
  expect(blurred.sharpness).toBeLessThan(sharpened.sharpness / 4);
});

test('an image with alpha, of 16 bits or of one pixel is measured; other bytes are refused', async () => {
  const alpha = sharp({
    create: { width: 9, height: 9, channels: 4, background: { r: 255, g: 255, b: 255, alpha: 0 } },
  });
  expect((await appearanceOf(await write('alpha.png', alpha))).brightness).toBeCloseTo(1);
  const wide = sharp(Buffer.alloc(2 * 8 * 8, 0x80), { raw: { width: 8, height: 8, channels: 1 } }).toColourspace(
    'grey16',
  );
  expect((await appearanceOf(await write('wide.png', wide.png()))).brightness).toBeGreaterThan(0.3);
  const dot = sharp({ create: { width: 1, height: 1, channels: 3, background: { r: 255, g: 255, b: 255 } } });
  expect(await appearanceOf(await write('dot.png', dot))).toMatchObject({ brightness: 1, contrast: 0, sharpness: 0 });
  await expect(appearanceOf(join(folder, 'nowhere.png'))).rejects.toMatchObject({ code: 'IMAGE_UNREADABLE' });
});
