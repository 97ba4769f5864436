// Properties of whole images that tell labels apart, on images drawn here.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { confoundsOf } from '../../src/data/confounds.js';
import { telling } from '../../src/data/properties.js';
import { openDataset } from '../../src/data/index.js';
import { temporaryFolder } from '../helpers/folders.js';
import { drawImages } from '../helpers/synthetic-run.js';

const folder = temporaryFolder();

test('a label of brighter images of another format is told by these alone; a copy under two labels is found', async () => {
  const names = (label: number): string[] =>
    Array.from({ length: 12 }, (_, i) => `${['plain', 'bright'][label] ?? ''}/${i}.${label === 1 ? 'jpg' : 'png'}`);
  mkdirSync(folder, { recursive: true });
  await drawImages(folder, ['plain', 'bright'], names, { width: 48, height: 32 });
  for (const name of names(1)) {
    const file = join(folder, name);
    const brighter = await sharp(file).linear(1, 60).jpeg().toBuffer();
    await sharp(brighter).toFile(file);
  }
  await sharp(join(folder, 'plain/3.png')).jpeg({ quality: 85 }).toFile(join(folder, 'bright/copy.jpg'));

  const { images } = await openDataset(folder);
  const found = await confoundsOf(images, 50);
  expect(found.images).toBe(25);
  const told = telling(found.confounds).map(({ label, property }) => `${label} ${property}`);
  expect(told).toEqual(expect.arrayContaining(['bright brightness', 'plain brightness', 'bright format']));
  expect(told).not.toContain('plain size');
  const bright = found.confounds.find(({ label, property }) => label === 'bright' && property === 'brightness');
  const plain = found.confounds.find(({ label, property }) => label === 'plain' && property === 'brightness');
  expect(bright?.auroc.value).toBeGreaterThan(0.85);
  expect((bright?.auroc.value ?? 0) + (plain?.auroc.value ?? 0)).toBeCloseTo(1);
  expect(found.duplicates).toEqual([
    { image: 'bright/copy.jpg', label: 'bright', other: 'plain/3.png', otherLabel: 'plain' },
  ]);
  expect((await confoundsOf(images, 2)).images).toBe(4);
});
