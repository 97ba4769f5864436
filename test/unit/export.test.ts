// Export: which rows of tables, and patches cut from their images.
import { existsSync, mkdirSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { exportCrops } from '../../src/tools/export/crops.js';
import { exportTable } from '../../src/tools/export/export.js';
import { readCsv } from '../../src/data/text/csv.js';
import { safeNames } from '../../src/runs/names.js';
import { temporaryFolder } from '../helpers/folders.js';
import { drawImages, writeSyntheticRun } from '../helpers/synthetic-run.js';

const folder = temporaryFolder();
/** Names that a file cannot have, or that some systems take for one. */
const LABELS = ['../up', 'Sea', 'sea'];
const pathOf = (label: number, n: number): string => `${label}/i ${n}.png`;
const run = join(folder, 'run');
const data = join(folder, 'data');

beforeAll(async () => {
  const images = await drawImages(data, LABELS, (label) => [pathOf(label, 0), pathOf(label, 1)]);
  await writeSyntheticRun(run, data, images, { labels: LABELS, perImage: 3 });
});

async function indexOf(crops: string): Promise<Record<string, string>[]> {
  const { header, records } = await readCsv(join(crops, 'index.csv'));
  return records.map(({ fields }) => Object.fromEntries(header.map((name, i) => [name, fields[i] as string])));
}

async function pixelsOf(file: string, region?: { left: number; top: number; width: number; height: number }) {
  const image = sharp(file);
  return (region ? image.extract(region) : image).removeAlpha().raw().toBuffer();
}

test('crops are the pixels of the source; names say label, rank and score; the index says where they are from', async () => {
  const crops = join(folder, 'crops');
  const summary = await exportCrops({ run, crops, top: 4, margin: 0.5 });
  expect(summary).toEqual({ path: crops, labels: 3, crops: 12, missing: [] });
  const rows = await indexOf(crops);
  expect(rows).toHaveLength(12);
  for (const row of rows) {
    const [x, y, side] = [Number(row['x']), Number(row['y']), Number(row['width'])];
    const region = {
      left: Math.max(0, x - side / 2),
      top: Math.max(0, y - side / 2),
      width: Math.min(192, x + 1.5 * side) - Math.max(0, x - side / 2),
      height: Math.min(128, y + 1.5 * side) - Math.max(0, y - side / 2),
    };
    const file = join(crops, row['file'] as string);
    expect(await sharp(file).metadata()).toMatchObject({ format: 'png', width: region.width, height: region.height });
    expect(await pixelsOf(file)).toEqual(await pixelsOf(join(data, row['image'] as string), region));
    expect(Number(row['crop_x'])).toBe(region.left);
    expect(row['file']).toContain(`-top-${row['rank']}-${Number(row['typicality']).toPrecision(4)}.png`);
  }
  const folders = readdirSync(crops, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(folders.map(({ name }) => name.toLowerCase()).sort()).toEqual([
    expect.stringMatching(/^%2e.%2fup$/),
    'sea',
    expect.stringMatching(/^sea-[0-9a-f]{8}$/),
  ]);
  for (const { name } of folders) expect(existsSync(join(crops, name, 'grid.png'))).toBe(true);
});

test('one label and list, without margin; a folder that has files is refused', async () => {
  const crops = join(folder, 'one');
  expect(await exportCrops({ run, crops, labels: ['sea'], list: 'bottom' })).toMatchObject({ labels: 1, crops: 6 });
  const rows = await indexOf(crops);
  expect(rows.map(({ condition, list }) => `${condition} ${list}`)).toEqual(new Array(6).fill('sea bottom'));
  expect(await sharp(join(crops, rows[0]?.['file'] as string)).metadata()).toMatchObject({ width: 32, height: 32 });
  // a grid of 6: 3 columns and 2 rows of 160 px, 4 px apart
  expect(
    await sharp(join(crops, (rows[0]!['file'] as string).split('/')[0] as string, 'grid.png')).metadata(),
  ).toMatchObject({ width: 496, height: 332 });
  await expect(exportCrops({ run, crops })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('is not empty') as string,
  });
  await expect(exportCrops({ run, crops: join(folder, 'x'), labels: ['lake'] })).rejects.toThrow(
    /no patches of the label "lake"/,
  );
  await expect(exportCrops({ run, crops: join(folder, 'x'), list: 'diverse' })).rejects.toThrow(/no diverse ranking/);
});

test('images that are gone or changed are reported once; without any there is an error', async () => {
  const moved = join(folder, 'moved');
  for (const label of [0, 1, 2]) mkdirSync(join(moved, String(label)), { recursive: true });
  const copy = (label: number, n: number): void =>
    writeFileSync(join(moved, pathOf(label, n)), readFileSync(join(data, pathOf(label, n))));
  for (const label of [0, 1, 2]) for (const n of [0, 1]) copy(label, n);
  unlinkSync(join(moved, pathOf(0, 1)));
  await sharp(join(data, pathOf(1, 0)))
    .resize(20, 20)
    .toFile(join(moved, pathOf(1, 0)));
  const said: string[] = [];
  const crops = join(folder, 'some');
  const { missing, crops: cut } = await exportCrops(
    { run, crops, dataset: moved },
    { onLog: (line) => void said.push(line) },
  );
  expect(missing.map(({ image }) => image).sort()).toEqual([pathOf(0, 1), pathOf(1, 0)]);
  expect(missing.find(({ image }) => image === pathOf(1, 0))?.reason).toMatch(/changed since the scan: it is 20 x 20/);
  expect(cut).toBe(12);
  expect(await indexOf(crops)).toHaveLength(12);
  expect(said).toHaveLength(2);
  mkdirSync(join(folder, 'nothing'));
  await expect(exportCrops({ run, crops: join(folder, 'y'), dataset: join(folder, 'nothing') })).rejects.toMatchObject({
    code: 'IMAGE_UNREADABLE',
  });
});

test('an export that is cancelled leaves nothing behind, and the same one can be made again', async () => {
  const crops = join(folder, 'stopped', 'crops');
  const stop = new AbortController();
  const stopped = exportCrops({ run, crops }, { signal: stop.signal, onProgress: () => stop.abort() });
  await expect(stopped).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(readdirSync(join(folder, 'stopped'))).toEqual([]);
  mkdirSync(crops); // an empty folder may be there
  expect(await exportCrops({ run, crops })).toMatchObject({ labels: 3 });
  expect(readdirSync(join(folder, 'stopped'))).toEqual(['crops']);
});

test('tables of one list, of some labels, of the first rows', async () => {
  const out = join(folder, 'table.json');
  const rows = async (options: object): Promise<Record<string, unknown>[]> => {
    await exportTable({ run, table: 'patches', format: 'json', out, ...options });
    return JSON.parse(readFileSync(out, 'utf8')) as Record<string, unknown>[];
  };
  expect(await rows({})).toHaveLength(54);
  expect((await rows({ list: 'random', top: 2 })).map(({ list, rank }) => [list, rank])).toEqual(
    LABELS.flatMap(() => [
      ['random', 1],
      ['random', 2],
    ]),
  );
  expect((await rows({ labels: ['Sea'], list: 'top' })).every(({ condition }) => condition === 'Sea')).toBe(true);
  expect(await rows({ table: 'clusters', top: 2, labels: ['sea'] })).toMatchObject([{ cluster: 0 }, { cluster: 1 }]);
  await expect(rows({ table: 'images', list: 'top' })).rejects.toThrow(/does not apply to the table images/);
});

test('names that some systems take for one are told apart, whatever part is exported', () => {
  const names = safeNames(['é', 'e\u0301', 'E\u0301', 'index.csv', 'a', 'A'], ['index.csv']);
  const keys = [...names.values()].map((name) => name.normalize('NFC').toLowerCase());
  expect(new Set(keys).size).toBe(6);
  expect(names.get('a')).toBe('a');
  expect(keys).not.toContain('index.csv');
});
