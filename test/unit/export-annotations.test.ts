// Findings for annotation tools: each format is read back by its published schema, and says the same as the table of patches.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { XMLParser } from 'fast-xml-parser';
import sharp from 'sharp';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { readBoxes, readMarks } from '../../src/data/boxes/index.js';
import { maskOfRuns, runsFit, runsOf, runsOfText, textOfRuns } from '../../src/data/boxes/rle.js';
import { readCsv } from '../../src/data/text/csv.js';
import { exportAnnotations } from '../../src/tools/export/annotations.js';
import { exportTable } from '../../src/tools/export/export.js';
import type { MinedPatchRow } from '../../src/runs/columns.js';
import { temporaryFolder } from '../helpers/folders.js';
import { drawImages, writeSyntheticRun, type SyntheticImage } from '../helpers/synthetic-run.js';

const folder = temporaryFolder();
const LABELS = ['<sea> & "sky"', 'land'];
const run = join(folder, 'run');
const data = join(folder, 'data');
let images: SyntheticImage[];
let patches: MinedPatchRow[];

beforeAll(async () => {
  images = await drawImages(data, LABELS, (label) => [`${label}/a 1.png`, `${label}/b.png`], { width: 96, height: 64 });
  await writeSyntheticRun(run, data, images, { labels: LABELS, perImage: 3, clusters: 2 });
  await exportTable({ run, table: 'patches', format: 'json', out: join(folder, 'patches.json') });
  patches = JSON.parse(readFileSync(join(folder, 'patches.json'), 'utf8')) as MinedPatchRow[];
});

/** What each format must say of a patch: sorted lines. */
const lines = (rows: readonly { image: string; name: string; box: number[]; rank: number }[]): string[] =>
  rows
    .map(({ image, name, box, rank }) => `${image} ${name} ${box.map((side) => side.toFixed(1)).join(' ')} ${rank}`)
    .sort();
const expected = (): string[] =>
  lines(
    patches
      .filter(({ list }) => list === 'top')
      .map(({ image, condition, x, y, width, height, rank }) => ({
        image,
        name: condition,
        box: [x, y, width, height],
        rank,
      })),
  );
const json = (...name: string[]): unknown => JSON.parse(readFileSync(join(folder, ...name), 'utf8'));

// https://cocodataset.org/#format-data
const rle = z.object({ size: z.tuple([z.int(), z.int()]), counts: z.string() });
const COCO = z.object({
  info: z.object({ description: z.string() }),
  licenses: z.array(z.unknown()),
  images: z.array(z.object({ id: z.int().min(1), width: z.int(), height: z.int(), file_name: z.string() })),
  annotations: z.array(
    z.object({
      id: z.int().min(1),
      image_id: z.int(),
      category_id: z.int(),
      segmentation: rle.optional(),
      area: z.number().positive(),
      bbox: z.tuple([z.number(), z.number(), z.number().positive(), z.number().positive()]),
      iscrowd: z.literal(0),
      score: z.number(),
      typicality: z.number(),
      standard_error: z.number().nullish(),
      rank: z.int().optional(),
      cluster: z.int().nullish(),
      list: z.string().optional(),
    }),
  ),
  categories: z.array(z.object({ id: z.int().min(1), name: z.string(), supercategory: z.string() })),
});

test('COCO: boxes with typicality, rank and cluster, by its format and as evaluate and localize read it', async () => {
  const out = join(folder, 'coco.json');
  const summary = await exportAnnotations({ run, table: 'patches', format: 'coco', list: 'top', out });
  expect(summary).toEqual({ findings: 12, images: 4 });
  const file = COCO.parse(json('coco.json'));
  const imageOf = new Map(file.images.map((image) => [image.id, image]));
  const nameOf = new Map(file.categories.map(({ id, name }) => [id, name]));
  expect(file.images.every(({ width, height }) => width === 96 && height === 64)).toBe(true);
  expect(
    lines(
      file.annotations.map(({ image_id, category_id, bbox, rank = 0 }) => ({
        image: imageOf.get(image_id)?.file_name ?? '',
        name: nameOf.get(category_id) ?? '',
        box: bbox,
        rank,
      })),
    ),
  ).toEqual(expected());
  for (const { image_id, typicality, cluster, rank, category_id } of file.annotations) {
    const row = patches.find(
      (one) => one.list === 'top' && one.rank === rank && one.condition === nameOf.get(category_id),
    );
    expect({ image: imageOf.get(image_id)?.file_name, typicality, cluster }).toEqual({
      image: row?.image,
      typicality: row?.typicality,
      cluster: row?.cluster,
    });
  }
  const { boxes } = await readBoxes(out);
  expect(boxes).toHaveLength(12);
  expect((await readMarks(out)).get('0/a 1.png')).toHaveLength(3);
});

test('clusters: their patches as boxes, one category per cluster under its label', async () => {
  await exportAnnotations({ run, table: 'clusters', format: 'coco', top: 1, out: join(folder, 'clusters.json') });
  const { categories, annotations } = COCO.parse(json('clusters.json'));
  expect(categories).toEqual(LABELS.map((name, i) => ({ id: i + 1, name: `${name}/0`, supercategory: name })));
  expect(annotations).toHaveLength(patches.filter(({ cluster }) => cluster === 0).length);
});

test('CVAT for images 1.1, read by an XML parser', async () => {
  await exportAnnotations({ run, table: 'patches', format: 'cvat', list: 'top', out: join(folder, 'cvat.xml') });
  const parser = new XMLParser({
    ignoreAttributes: false,
    attributeNamePrefix: '',
    isArray: (name, _path, _leaf, isAttribute) => !isAttribute && ['image', 'box', 'label', 'attribute'].includes(name),
  });
  const BOX = z.object({
    label: z.string(),
    source: z.enum(['manual', 'auto']),
    occluded: z.enum(['0', '1']),
    z_order: z.string(),
    xtl: z.coerce.number(),
    ytl: z.coerce.number(),
    xbr: z.coerce.number(),
    ybr: z.coerce.number(),
    attribute: z.array(z.object({ name: z.string(), '#text': z.union([z.string(), z.number()]).optional() })),
  });
  const { annotations } = z
    .object({
      annotations: z.object({
        version: z.literal(1.1),
        meta: z.object({ task: z.object({ labels: z.object({ label: z.array(z.object({ name: z.string() })) }) }) }),
        image: z.array(
          z.object({
            id: z.string(),
            name: z.string(),
            width: z.literal('96'),
            height: z.literal('64'),
            box: z.array(BOX),
          }),
        ),
      }),
    })
    .parse(parser.parse(readFileSync(join(folder, 'cvat.xml'), 'utf8')));
  expect(annotations.meta.task.labels.label.map(({ name }) => name)).toEqual(LABELS);
  const found = annotations.image.flatMap(({ name: image, box }) =>
    box.map(({ label, xtl, ytl, xbr, ybr, attribute }) => ({
      image,
      name: label,
      box: [xtl, ytl, xbr - xtl, ybr - ytl],
      rank: Number(attribute.find(({ name }) => name === 'rank')?.['#text']),
    })),
  );
  expect(lines(found)).toEqual(expected());
});

test('Datumaro', async () => {
  await exportAnnotations({ run, table: 'patches', format: 'datumaro', list: 'top', out: join(folder, 'datumaro') });
  const file = z
    .object({
      dm_format_version: z.literal('1.0'),
      media_type: z.literal(2),
      infos: z.object({}),
      categories: z.object({
        label: z.object({
          labels: z.array(z.object({ name: z.string(), parent: z.string(), attributes: z.array(z.string()) })),
          attributes: z.array(z.string()),
        }),
      }),
      items: z.array(
        z.object({
          id: z.string(),
          image: z.object({ path: z.string(), size: z.tuple([z.literal(64), z.literal(96)]) }),
          annotations: z.array(
            z.object({
              id: z.int(),
              type: z.literal('bbox'),
              attributes: z.object({ rank: z.int(), typicality: z.number(), cluster: z.int().nullable() }),
              group: z.int(),
              label_id: z.int(),
              z_order: z.int(),
              bbox: z.tuple([z.number(), z.number(), z.number(), z.number()]),
            }),
          ),
        }),
      ),
    })
    .parse(json('datumaro', 'annotations', 'default.json'));
  const { labels } = file.categories.label;
  const found = file.items.flatMap(({ image, annotations }) =>
    annotations.map(({ label_id, bbox, attributes: { rank } }) => ({
      image: image.path,
      name: labels[label_id]?.name ?? '',
      box: bbox,
      rank,
    })),
  );
  expect(lines(found)).toEqual(expected());
});

test('FiftyOne: fractions of the sides, and where each image lies', async () => {
  await exportAnnotations({ run, table: 'patches', format: 'fiftyone', list: 'top', out: join(folder, 'fiftyone') });
  const fraction = z.number().min(0).max(1);
  const { classes, labels } = z
    .object({
      classes: z.array(z.string()),
      labels: z.record(
        z.string(),
        z.array(
          z.object({
            label: z.string(),
            bounding_box: z.tuple([fraction, fraction, fraction, fraction]),
            confidence: z.number(),
            attributes: z.object({ rank: z.int(), typicality: z.number() }),
          }),
        ),
      ),
    })
    .parse(json('fiftyone', 'labels.json'));
  expect(classes).toEqual(LABELS);
  const files = z.record(z.string(), z.string()).parse(json('fiftyone', 'data.json'));
  expect(Object.keys(files).sort()).toEqual(Object.keys(labels).sort());
  expect(Object.values(files).every((file) => existsSync(file))).toBe(true);
  const found = Object.entries(labels).flatMap(([image, boxes]) =>
    boxes.map(({ label, bounding_box: [x, y, w, h], attributes: { rank } }) => ({
      image,
      name: label,
      box: [x * 96, y * 64, w * 96, h * 64],
      rank,
    })),
  );
  expect(lines(found)).toEqual(expected());
});

test('YOLO: one line per box, and a table with what the lines have no room for', async () => {
  const out = join(folder, 'yolo');
  await exportAnnotations({ run, table: 'patches', format: 'yolo', list: 'top', out });
  const { names } = z
    .object({ path: z.string(), train: z.literal('images'), val: z.string(), names: z.record(z.string(), z.string()) })
    .parse(parseYaml(readFileSync(join(out, 'data.yaml'), 'utf8')));
  expect(Object.values(names)).toEqual(LABELS);
  const { header, records } = await readCsv(join(out, 'findings.csv'));
  const column = (fields: readonly (string | undefined)[], name: string): string => fields[header.indexOf(name)] ?? '';
  const found = records.map(({ fields }) => {
    const file = column(fields, 'file');
    const line = readFileSync(join(out, file), 'utf8').split('\n')[Number(column(fields, 'line')) - 1] ?? '';
    expect(line).toMatch(/^\d+( (0|1|0\.\d+)){4}$/);
    const [kind = NaN, x = NaN, y = NaN, w = NaN, h = NaN] = line.split(' ').map(Number);
    const [width, height] = [w * 96, h * 64];
    return {
      image: file.replace(/^labels\//, '').replace(/\.txt$/, '.png'),
      name: names[kind] ?? '',
      box: [x * 96 - width / 2, y * 64 - height / 2, width, height].map((side) => Math.abs(side)),
      rank: Number(column(fields, 'rank')),
    };
  });
  expect(lines(found)).toEqual(expected());
  await expect(exportAnnotations({ run, table: 'patches', format: 'yolo', out })).rejects.toThrow(/is not empty/);
});

test("runs are COCO's: column by column, zeros first; text of 5 bits per character with differences to the run before the last", () => {
  // 2 x 2: right column and lower left are inside
  expect(runsOf(Uint8Array.from([0, 1, 1, 1]), { width: 2, height: 2 })).toEqual([1, 3]);
  expect(runsOf(Uint8Array.from([1, 0, 0, 0]), { width: 2, height: 2 })).toEqual([0, 1, 3]);
  // 6 -> '6', 1 -> '1', 40 = 8 + 1 x 32 -> 'X1', then 4 - 1 = 3, 14 - 40 = -26 = 6 - 32 -> 'VO'
  const runs = [6, 1, 40, 4, 14];
  expect(textOfRuns(runs)).toBe('61X13VO');
  expect(runsOfText('61X13VO')).toEqual(runs);
  expect(runsOfText('6~')).toBeUndefined();
  expect(runsOfText('X')).toBeUndefined();
  const inside = Uint8Array.from({ length: 37 * 23 }, (_, i) => Number((i * 7919) % 13 < 5));
  const size = { width: 37, height: 23 };
  expect(maskOfRuns(runsOfText(textOfRuns(runsOf(inside, size))) ?? [], size)).toEqual(inside);
  expect(runsFit([1, 2], { width: 2, height: 2 })).toBe(false);
  expect(runsFit(runsOf(inside, size), size)).toBe(true);
});

test('heat maps as masks: inside where the typicality reaches the threshold; read back as masks', async () => {
  const out = join(folder, 'maps.json');
  expect(await exportAnnotations({ run, table: 'maps', format: 'coco', threshold: 0.04, out })).toEqual({
    findings: 4,
    images: 4,
  });
  const { annotations, images: listed } = COCO.parse(json('maps.json'));
  for (const { segmentation, area, bbox, image_id, typicality } of annotations) {
    expect(segmentation?.size).toEqual([64, 96]);
    const inside = maskOfRuns(runsOfText(segmentation?.counts ?? '') ?? [], { width: 96, height: 64 });
    expect(inside?.reduce((sum, value) => sum + value, 0)).toBe(area);
    expect(typicality).toBeGreaterThan(0.04);
    // the map is high on the square that was drawn
    const { hot } = images.find(({ path }) => path === listed[image_id - 1]?.file_name) as SyntheticImage;
    const center = Math.round(hot.y + hot.height / 2) * 96 + Math.round(hot.x + hot.width / 2);
    expect(inside?.[center]).toBe(1);
    expect(bbox[0]).toBeLessThanOrEqual(hot.x + hot.width / 2);
  }
  const marks = await readMarks(out);
  const [mark] = marks.get('0/a 1.png') ?? [];
  expect(mark).toMatchObject({ label: LABELS[0], mask: { width: 96, height: 64 } });
  await expect(exportAnnotations({ run, table: 'maps', format: 'cvat', out })).rejects.toThrow(/has no masks/);
});

test('heat maps as 16-bit PNG with the scale of their label', async () => {
  const out = join(folder, 'maps');
  await exportAnnotations({ run, table: 'maps', format: 'png', labels: ['land'], out });
  const { header, records } = await readCsv(join(out, 'index.csv'));
  expect(header).toEqual(['file', 'image', 'condition', 'width', 'height', 'scale']);
  expect(records).toHaveLength(2);
  expect(readdirSync(join(out, 'land'))).toHaveLength(2);
  for (const { fields } of records) {
    const [file = '', path, condition, , , scale] = fields;
    expect(condition).toBe('land');
    const { data: gray, info } = await sharp(join(out, file))
      .toColourspace('grey16')
      .raw({ depth: 'ushort' })
      .toBuffer({ resolveWithObject: true });
    expect(info).toMatchObject({ width: 96, height: 64, channels: 1 });
    const { hot } = images.find((image) => image.path === path) as SyntheticImage;
    const at = (x: number, y: number): number =>
      ((gray.readUInt16LE(2 * (Math.round(y) * 96 + Math.round(x))) - 32768) / 32767) * Number(scale);
    // 0.08 at the middle of the square, by the synthetic map
    expect(at(hot.x + hot.width / 2, hot.y + hot.height / 2)).toBeGreaterThan(0.05);
  }
});
