// A run directory as `scan` and `mine` leave it, made without a model: drawn images with one vivid square each, a typicality map that is high
// on the square, and the tables that follow from it. For tests of what reads runs (the report); the files are real Parquet and safetensors.
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { fromFloat32, writeSafetensors } from '../../src/engine/index.js';
import { MINE_FORMAT, type MineRecord } from '../../src/runs/mining.js';
import { imageListColumns } from '../../src/runs/images.js';
import { writeList } from '../../src/runs/list.js';
import { MANIFEST, RUN, type RunOptions } from '../../src/runs/manifest.js';
import { mapName } from '../../src/runs/names.js';
import { completeManifest } from '../../src/runs/sharded-manifest.js';
import { shardName } from '../../src/runs/shards.js';
import {
  CLUSTER_SCHEMA,
  ELEMENT_SCHEMA,
  IMAGE_SCHEMA,
  MINED_PATCH_SCHEMA,
  TREND_PATCH_SCHEMA,
  TREND_SCHEMA,
  type ElementRow,
  type ListName,
  type TrendPatchRow,
  type TrendRow,
} from '../../src/runs/columns.js';
import { writeTable, type Row } from '../../src/runs/tables.js';

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface SyntheticImage {
  /** in the dataset */
  path: string;
  label: string;
  width: number;
  height: number;
  /** if it is typical: the place of its best patch */
  hot: Box;
}

export interface SyntheticOptions {
  labels: string[];
  /** patches of each list per image; default 5 */
  perImage?: number;
  clusters?: number;
  /** false: as after --no-maps */
  maps?: boolean;
  shardSize?: number;
  skipped?: { image: string; label: string; reason: string }[];
  /** patches of a list may overlap: many from few images */
  overlap?: boolean;
  /** the list that is clustered; default 'top' */
  rank?: ListName;
  conditioning?: 'text' | 'class';
  /** further options of the scan, such as `against`: labels other than that one are scored */
  scan?: Partial<RunOptions>;
  /** what mining says of how many images each ranking comes from; default: evenly from all */
  spread?: { count: number; effective: number };
  /** default: none were measured */
  confounds?: MineRecord['confounds'];
  /** writes features, near each other within a label; default false */
  features?: boolean;
  /** as after --all-labels: every image has a map under every label, its own the strongest; default false */
  allLabels?: boolean;
  /** which cluster a patch falls in; default by turns */
  clusterOf?: (patch: { image: string } & Box, index: number) => number;
}

const CELL = 8;

/** Seeded uniform numbers in [0, 1) (mulberry32). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The color of the squares of label number `index`. */
export function vivid(index: number): [number, number, number] {
  const colors: [number, number, number][] = [
    [230, 30, 40],
    [20, 160, 60],
    [30, 80, 230],
    [240, 180, 0],
    [160, 40, 200],
  ];
  return colors[index % colors.length] as [number, number, number];
}

/** Draws images of soft texture and some grain, with a vivid square each, into `folder`; `names` gives each label's files. */
export async function drawImages(
  folder: string,
  labels: readonly string[],
  names: (label: number) => string[],
  size = { width: 192, height: 128 },
  grain = 24,
): Promise<SyntheticImage[]> {
  const images: SyntheticImage[] = [];
  for (const [index, label] of labels.entries()) {
    for (const [n, path] of names(index).entries()) {
      const next = uniform(1000 * index + n);
      const edge = size.height / 4;
      const hot = {
        x: 8 * Math.floor((next() * (size.width - edge)) / 8),
        y: 8 * Math.floor((next() * (size.height - edge)) / 8),
        width: edge,
        height: edge,
      };
      const phase = [next() * 6, next() * 6, 0.02 + next() * 0.08, 0.02 + next() * 0.08] as const;
      const pixels = Buffer.alloc(3 * size.width * size.height);
      for (let y = 0; y < size.height; y++) {
        for (let x = 0; x < size.width; x++) {
          const inside = x >= hot.x && x < hot.x + edge && y >= hot.y && y < hot.y + edge;
          const noise = grain * next();
          const soft = 110 + 40 * Math.sin(phase[0] + x * phase[2]) + 40 * Math.sin(phase[1] + y * phase[3]);
          const color = inside ? vivid(index) : [soft, soft * 0.95, soft * 0.85];
          for (let c = 0; c < 3; c++)
            pixels[3 * (y * size.width + x) + c] = (color[c] as number) * (inside ? 1 : 0.9) + (inside ? 0 : noise);
        }
      }
      const file = join(folder, path);
      await mkdir(dirname(file), { recursive: true });
      const image = sharp(pixels, { raw: { ...size, channels: 3 } });
      await (path.endsWith('.png') ? image.png() : image.jpeg({ quality: 90 })).toFile(file);
      images.push({ path, label, ...size, hot });
    }
  }
  return images;
}

/** The bytes of a safetensors file of F16 tensors. */
export function safetensorsF16(tensors: ReadonlyMap<string, { shape: number[]; values: Float32Array }>): Buffer {
  const header: Record<string, unknown> = {};
  const parts: Buffer[] = [];
  let offset = 0;
  for (const [name, { shape, values }] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const bytes = Buffer.alloc(2 * values.length);
    values.forEach((value, i) => bytes.writeUInt16LE(half(value), 2 * i));
    header[name] = { dtype: 'F16', shape, data_offsets: [offset, offset + bytes.length] };
    offset += bytes.length;
    parts.push(bytes);
  }
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, 0x20)]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, ...parts]);
}

/** A number's binary16 bits, truncated; what is below 2^-14 becomes 0. */
function half(value: number): number {
  const bits = new DataView(new ArrayBuffer(4));
  bits.setFloat32(0, value);
  const exponent = ((bits.getUint32(0) >>> 23) & 0xff) - 112;
  const sign = (bits.getUint32(0) >>> 16) & 0x8000;
  return exponent <= 0 ? sign : sign | (exponent << 10) | ((bits.getUint32(0) >>> 13) & 0x3ff);
}

/** Writes a mined run of `images`, which lie below `dataset`, into `folder`. */
export async function writeSyntheticRun(
  folder: string,
  dataset: string,
  images: readonly SyntheticImage[],
  options: SyntheticOptions,
): Promise<void> {
  const {
    perImage = 5,
    clusters = 4,
    maps = true,
    shardSize = 4,
    skipped = [],
    rank = 'top',
    conditioning = 'text',
    scan = {},
  } = options;
  const isText = conditioning === 'text';
  const labels = options.labels.filter((label) => label !== scan.against);
  images = images.filter(({ label }) => label !== scan.against);
  const samples = scan.samples ?? 100;
  const patch = Math.round(images[0]?.hot.width ?? 32);
  await mkdir(folder, { recursive: true });
  const index = await writeList(
    folder,
    imageListColumns([]).own,
    images.map(({ path, label }) => ({ path, label, bytes: 1, mtime: null })),
  );
  const manifest = completeManifest(
    RUN,
    {
      version: '0.1.0',
      created: '2026-01-02T03:04:05Z',
      model: {
        path: '/models/stable-diffusion-v1-5',
        fingerprint: 'm'.repeat(64),
        kind: 'latent',
        conditioning,
        vaeFactor: CELL,
        fold: 1,
        features: { upBlock: 1, diftT: 161 },
      },
      dataset: {
        path: dataset,
        fingerprint: 'd'.repeat(64),
        images: images.length,
        ignored: 2,
        labels: [...options.labels],
        columns: [],
      },
      options: {
        prompt: isText ? 'A photo of {label}.' : null,
        nullPrompt: isText ? 'A photo.' : null,
        size: 'source',
        sizeRule: 'floor',
        patch,
        samples: 100,
        seed: 0,
        tBegin: 100,
        tEnd: 700,
        sampler: 'stratified',
        perImage,
        batch: 8,
        dtype: 'fp32',
        device: 'cpu',
        allLabels: options.allLabels ?? false,
        against: 'null',
        maps,
        shardSize,
        replay: null,
        ...scan,
      },
      preset: null,
      replayFile: null,
      conditions: [...labels],
    },
    index,
  );

  const rows: Row[] = [];
  const tensors = new Map<string, { shape: number[]; values: Float32Array }>();
  for (const [number, image] of images.entries()) {
    const next = uniform(77 + number);
    const shape = [Math.floor(image.height / CELL), Math.floor(image.width / CELL)] as [number, number];
    const spread = Math.max(image.hot.width, image.hot.height) * 0.7;
    const weak = { x: next() * image.width, y: next() * image.height };
    const values = Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => {
      const x = ((i % shape[1]) + 0.5) * CELL;
      const y = (Math.floor(i / shape[1]) + 0.5) * CELL;
      const distance =
        Math.hypot(x - image.hot.x - image.hot.width / 2, y - image.hot.y - image.hot.height / 2) / spread;
      const below = Math.hypot(x - weak.x, y - weak.y) / spread;
      return 0.08 * Math.exp(-distance * distance) - 0.03 * Math.exp(-below * below) + 0.008 * (next() - 0.5);
    });
    for (const under of options.allLabels ? labels : [image.label]) {
      const part = under === image.label ? 1 : 0.2;
      tensors.set(`${under}/${image.path}`, { shape, values: values.map((value) => part * value) });
    }
    const score = (box: Box): number => {
      let sum = 0;
      let cells = 0;
      for (let r = Math.floor(box.y / CELL); r < Math.min(shape[0], Math.ceil((box.y + box.height) / CELL)); r++) {
        for (let c = Math.floor(box.x / CELL); c < Math.min(shape[1], Math.ceil((box.x + box.width) / CELL)); c++) {
          sum += values[r * shape[1] + c] as number;
          cells++;
        }
      }
      return sum / Math.max(1, cells);
    };
    const anywhere = (): Box => ({
      x: Math.round(next() * (image.width - patch)),
      y: Math.round(next() * (image.height - patch)),
      width: patch,
      height: patch,
    });
    const apart =
      (a: Box) =>
      (b: Box): boolean =>
        Math.abs(a.x - b.x) >= patch || Math.abs(a.y - b.y) >= patch;
    const pick = (candidates: Box[]): Box[] => {
      const picked: Box[] = [];
      for (const box of candidates)
        if (picked.length < perImage && (options.overlap || picked.every(apart(box)))) picked.push(box);
      return picked;
    };
    const boxes = Array.from({ length: 60 }, anywhere);
    const hot = { ...image.hot, width: patch, height: patch };
    const sorted = [...boxes].sort((a, b) => score(b) - score(a));
    const lists = { top: pick([hot, ...sorted]), random: pick(boxes), bottom: pick(sorted.reverse()) };
    for (const [list, chosen] of Object.entries(lists)) {
      for (const box of chosen) {
        rows.push({
          image: image.path,
          label: image.label,
          condition: image.label,
          list,
          ...box,
          row: Math.round(box.y),
          column: Math.round(box.x),
          patch,
          typicality: score(box),
          standard_error: samples === 1 ? null : 0.002 + 0.001 * next(),
          samples,
          cluster: null,
          distance: null,
          rank: 0,
        });
      }
    }
  }

  const clusterRows: Row[] = [];
  for (const label of labels) {
    const own = rows.filter((row) => row.condition === label);
    for (const [list, sign] of [
      ['top', -1],
      ['bottom', 1],
      ['random', 0],
    ] as const) {
      const ranked = own
        .filter((row) => row.list === list)
        .sort((a, b) => sign * ((a.typicality as number) - (b.typicality as number)));
      ranked.forEach((row, i) => (row.rank = i + 1));
      if (list !== rank) continue;
      const groups = Array.from({ length: clusters }, (): Row[] => []);
      ranked.forEach((row, i) =>
        groups[options.clusterOf?.(row as unknown as { image: string } & Box, i) ?? i % clusters]?.push(row),
      );
      const medianOf = (group: Row[]): number =>
        group.map((row) => row.typicality as number).sort((a, b) => a - b)[group.length >> 1] ?? 0;
      groups
        .filter((group) => group.length > 0)
        .sort((a, b) => medianOf(b) - medianOf(a))
        .forEach((group, cluster) => {
          group.forEach((row, i) => Object.assign(row, { cluster, distance: 0.1 + (0.6 * i) / group.length }));
          clusterRows.push({
            condition: label,
            cluster,
            size: group.length,
            median_typicality: medianOf(group),
            inertia: 0.2 * group.length,
          });
        });
    }
  }
  rows.sort((a, b) => (a.rank as number) - (b.rank as number));

  await mkdir(join(folder, 'mine'), { recursive: true });
  await mkdir(join(folder, 'locks'), { recursive: true });
  await writeFile(join(folder, MANIFEST), JSON.stringify(manifest));
  for (let shard = 0; shard < manifest.shards; shard++) {
    const path = join(folder, 'shards', shardName(shard));
    await mkdir(path, { recursive: true });
    const part = images.slice(shard * shardSize, (shard + 1) * shardSize);
    await writeFile(
      join(path, 'shard.json'),
      JSON.stringify({ id: shard, images: part.length, skipped: 0, batch: 8, notes: [] }),
    );
    await writeFile(
      join(path, 'skipped.jsonl'),
      shard === 0 ? skipped.map((row) => `${JSON.stringify(row)}\n`).join('') : '',
    );
    await writeTable(
      join(path, 'images.parquet'),
      part.flatMap(({ path: image, label, width, height }) =>
        (options.allLabels ? labels : [label]).map((condition) => {
          const values = tensors.get(`${condition}/${image}`)?.values ?? new Float32Array();
          const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
          const typicality = options.allLabels ? (condition === label ? 0.01 : -0.002) : mean;
          const size = { source_width: width, source_height: height, width, height };
          return { image, label, condition, ...size, typicality, samples };
        }),
      ),
      IMAGE_SCHEMA,
    );
    if (!maps) continue;
    const own = new Map(
      part.flatMap(({ path: image, label: own }) =>
        (options.allLabels ? labels : [own]).map(
          (label) =>
            [
              mapName(label, image),
              tensors.get(`${label}/${image}`) as { shape: number[]; values: Float32Array },
            ] as const,
        ),
      ),
    );
    await writeFile(join(path, 'maps.safetensors'), safetensorsF16(own));
  }
  const mined: MineRecord = {
    format: MINE_FORMAT,
    fingerprint: manifest.fingerprint,
    options: {
      top: 1000,
      clusters,
      restarts: 10,
      rank,
      diftT: 161,
      upBlock: 1,
      ensemble: 8,
      keepDuplicates: false,
      minContrast: 0,
      groupBy: null,
      maxPerGroup: null,
      diverse: false,
      recenter: false,
      evidenceImages: 0,
      trends: false,
      elements: 'auto',
      trendImages: 200,
      patch,
      device: 'cpu',
      batch: 8,
    },
    conditions: labels.map((condition) => ({
      condition,
      patches: rows.filter((row) => row.condition === condition && row.list === rank).length,
      clusters: clusterRows.filter((row) => row.condition === condition).length,
      inertia: 0.2,
      images: options.spread ?? { count: images.length, effective: images.length },
      groups: null,
      dropped: { duplicates: 0, contrast: 0, groups: 0 },
    })),
    images: images.length,
    confounds: options.confounds ?? null,
    trends: null,
    notes: [],
  };
  await writeTable(join(folder, 'mine', 'patches.parquet'), rows, MINED_PATCH_SCHEMA);
  await writeTable(join(folder, 'mine', 'clusters.parquet'), clusterRows, CLUSTER_SCHEMA);
  await writeFile(join(folder, 'mine', 'mine.json'), JSON.stringify(mined));
  if (!options.features) return;
  const WIDTH = 8;
  const features = labels.map((label, number) => {
    const next = uniform(900 + number);
    const count = rows.filter((row) => row.condition === label && row.list === rank).length;
    const values = Float32Array.from(
      { length: count * WIDTH },
      (_, i) => next() + (i % WIDTH === number % WIDTH ? 3 : 0),
    );
    return [`features.${label}`, fromFloat32([count, WIDTH], values)] as const;
  });
  writeSafetensors(join(folder, 'mine', 'features.safetensors'), Object.fromEntries(features));
}

/** Writes trends of one element that rises from label to label, with a patch in each, as `mine --trends` does. */
export async function writeSyntheticTrends(
  folder: string,
  images: readonly SyntheticImage[],
  labels: readonly string[],
): Promise<void> {
  // where a fitted course is highest need not be where the fraction is
  const peak = labels[0] as string;
  const elements: ElementRow[] = [
    { element: 0, size: 9, median_typicality: 0.01, shape: 'rising', clarity: 6.5, p: 0.002, peak },
  ];
  const curves = labels.map((label, i): TrendRow => {
    const fraction = 0.1 + (0.6 * i) / (labels.length - 1);
    return { element: 0, label, position: parseInt(label), images: 4, fraction, standard_error: 0.1 };
  });
  const patches = labels.map((label): TrendPatchRow => {
    const { path, hot } = images.find((image) => image.label === label) as SyntheticImage;
    const place = { ...hot, row: hot.y, column: hot.x, patch: 32 };
    return { element: 0, label, rank: 1, image: path, ...place, match: 0.9, found: 1 };
  });
  await writeTable(join(folder, 'mine', 'elements.parquet'), elements, ELEMENT_SCHEMA);
  await writeTable(join(folder, 'mine', 'trends.parquet'), curves, TREND_SCHEMA);
  await writeTable(join(folder, 'mine', 'trend-patches.parquet'), patches, TREND_PATCH_SCHEMA);
}
