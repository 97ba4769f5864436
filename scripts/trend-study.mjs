// Are the planted courses of the ordered dataset recovered? Steps; each is repeated or resumed by the same command:
//   node scripts/trend-study.mjs train --work DIR [--steps 3600] [--threads 2]
//   node scripts/trend-study.mjs mine --work DIR [--images 200] [--samples 16]
//   node scripts/trend-study.mjs figures --work DIR [--json]
// `train` draws the ordered dataset of seed 1 and fine-tunes the demo's model on it. The decades are new classes; their embeddings start from the null condition's.
// `mine` scans held-out images, of each decade the first IMAGES, and follows the elements (DIR/run). `figures` compares their curves with the planted courses.
import { createRequire } from 'node:module';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { fail, root, say } from './steps.mjs';

function diffmine(...args) {
  say(`diffmine ${args.join(' ')}`);
  const { status } = spawnSync(process.execPath, [path.join(root, 'bin/diffmine.js'), ...args], {
    stdio: ['inherit', 'ignore', 'inherit'],
  });
  if (status !== 0) process.exit(status ?? 1);
}

const readJson = (file) => JSON.parse(fs.readFileSync(file, 'utf8'));

const DECADES = ['1900s', '1910s', '1920s', '1930s', '1940s', '1950s', '1960s', '1970s'];

/** A copy of a class model, with other labels: each starts as a copy of the null condition, which comes last. */
function relabel(from, to, labels) {
  fs.cpSync(from, to, { recursive: true });
  const index = readJson(path.join(to, 'model_index.json'));
  index.id2label = Object.fromEntries(labels.map((label, id) => [id, label]));
  fs.writeFileSync(path.join(to, 'model_index.json'), `${JSON.stringify(index, null, 2)}\n`);
  const config = path.join(to, 'unet/config.json');
  fs.writeFileSync(
    config,
    `${JSON.stringify({ ...readJson(config), num_class_embeds: labels.length + 1 }, null, 2)}\n`,
  );
  const weights = path.join(to, 'unet/diffusion_pytorch_model.safetensors');
  fs.writeFileSync(weights, withClasses(fs.readFileSync(weights), labels.length));
}

/** safetensors whose class_embedding.weight has `classes` rows and the last one, each equal to the last one. */
function withClasses(bytes, classes) {
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length));
  const own = header['class_embedding.weight'];
  const [rows, width] = own.shape;
  const [begin, end] = own.data_offsets;
  const body = bytes.subarray(8 + length);
  const last = body.subarray(end - (end - begin) / rows, end);
  const made = Buffer.concat(Array.from({ length: classes + 1 }, () => last));
  const grown = made.length - (end - begin);
  for (const { data_offsets: at } of Object.values(header))
    if (at?.[0] >= end) at.forEach((one, i) => (at[i] = one + grown));
  Object.assign(own, { shape: [classes + 1, width], data_offsets: [begin, end + grown] });
  const text = Buffer.from(JSON.stringify(header));
  const padding = Buffer.alloc((8 - (text.length % 8)) % 8, ' ');
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length + padding.length));
  return Buffer.concat([size, text, padding, body.subarray(0, begin), made, body.subarray(end)]);
}

function train({ work, steps, threads }) {
  const [world, start, model] = ['world', 'start', 'model'].map((name) => path.join(work, name));
  fs.mkdirSync(work, { recursive: true });
  if (!fs.existsSync(path.join(world, 'world.json')))
    diffmine(
      'demo',
      '--data-only',
      world,
      '--ordered',
      '--seed',
      '1',
      '--images-per-label',
      '1000',
      '--holdout',
      '0.2',
    );
  if (fs.existsSync(path.join(model, 'train.json'))) return diffmine('train', '--out', model, '--threads', threads);
  if (!fs.existsSync(start)) relabel(path.join(root, 'demo/model'), start, DECADES);
  diffmine(
    'train',
    path.join(world, 'train'),
    '--from',
    start,
    '--out',
    model,
    '--steps',
    steps,
    ...RECIPE,
    '--threads',
    threads,
  );
}

/** The recipe of scripts/train-demo.mjs with a lower learning rate. */
const RECIPE =
  '--train-batch 16 --learning-rate 5e-4 --lr-schedule cosine --warmup-steps 100 --ema 0.998 --flips --drop 0.1 --train-t-range 0.05,0.4 --wide 0.1 --seed 1 --dtype bf16 --save-dtype fp16 --checkpoint-every 250 --sample-every 0'.split(
    ' ',
  );

/** A link per image, so that the run has the first images of each decade only. */
function firstImages(world, folder, images) {
  for (const decade of DECADES) {
    const [from, to] = [path.join(world, 'heldout', decade), path.join(folder, decade)];
    fs.mkdirSync(to, { recursive: true });
    for (const name of fs.readdirSync(from).sort().slice(0, images))
      if (!fs.existsSync(path.join(to, name))) fs.linkSync(path.join(from, name), path.join(to, name));
  }
}

/** As the demo scans. */
const SCAN = '--t-range 0.05,0.4 --patch 12 --against others --dtype bf16'.split(' ');
const MINE = '--patch 8 --trends --diverse --recenter --evidence-images 0 --ensemble 2'.split(' ');
/** Patches ranked per image: planted are 3.5, the smallest 3 to 8 px wide. */
const RANKED = 2.5;

function mine({ work, images, samples, threads }) {
  const [world, model, data, run] = ['world', 'model', 'images', 'run'].map((name) => path.join(work, name));
  firstImages(world, data, Number(images));
  diffmine('scan', data, '--model', model, '--out', run, '--samples', samples, ...SCAN, '--threads', threads);
  diffmine('mine', run, ...MINE, '--top', String(Math.ceil(RANKED * images)), '--threads', threads);
  diffmine('report', run);
}

/**
 * A found window is on the planted element that it overlaps most, if by this much (intersection over union). A kind's element is the one with the largest
 * geometric mean of precision and recall of found windows. Images alone would not do: kinds of one time are in the same images. Courses are not looked at.
 */
const OVERLAP = 0.1;

async function figures({ work, json }) {
  const load = createRequire(import.meta.url);
  const dist = (name) => load(path.join(root, 'dist', `${name}.js`));
  const { readTable } = dist('runs/tables');
  const { table } = dist('cli/output');
  const file = (name) => path.join(work, 'run/mine', name);
  const [elements, curves, patches] = await Promise.all(
    ['elements.parquet', 'trends.parquet', 'trend-patches.parquet'].map((name) => readTable(file(name))),
  );
  const { courses } = readJson(path.join(work, 'world/world.json'));
  const planted = new Map();
  for (const line of fs.readFileSync(path.join(work, 'world/boxes.csv'), 'utf8').trimEnd().split('\r\n').slice(1)) {
    const [image, , x, y, width, height, , kind] = line.split(',');
    const own = planted.get(image) ?? planted.set(image, []).get(image);
    own.push({ kind, x: Number(x), y: Number(y), width: Number(width), height: Number(height) });
  }
  const searched = DECADES.flatMap((decade) =>
    fs.readdirSync(path.join(work, 'images', decade)).map((name) => `${decade}/${name}`),
  );
  const found = elements.map(() => ({ images: 0, on: new Map() }));
  for (const patch of patches) {
    if (!patch.found) continue;
    const own = found[patch.element];
    own.images += 1;
    const [nearest] = (planted.get(patch.image) ?? [])
      .map((box) => ({ kind: box.kind, overlap: iou(box, patch) }))
      .sort((one, other) => other.overlap - one.overlap);
    if (nearest?.overlap >= OVERLAP) own.on.set(nearest.kind, (own.on.get(nearest.kind) ?? 0) + 1);
  }
  const rows = Object.entries(courses).flatMap(([slot, kinds]) =>
    Object.entries(kinds).map(([kind, course]) => {
      const has = searched.filter((image) => planted.get(image)?.some((box) => box.kind === kind)).length;
      const agreement = found.map(({ images, on }) => (on.get(kind) ?? 0) / Math.sqrt(images * has || 1));
      const element = agreement.indexOf(Math.max(...agreement));
      const curve = curves.filter((row) => row.element === element).map(({ fraction }) => fraction);
      const { shape } = elements[element];
      const hits = found[element].on.get(kind) ?? 0;
      const [precision, recall] = [hits / found[element].images, hits / has];
      return { slot, kind, element, precision, recall, shape, r: pearson(curve, course), curve, course };
    }),
  );
  const recovered = rows.filter(({ r }) => r >= 0.8).length;
  if (json) return void process.stdout.write(`${JSON.stringify({ elements: elements.length, recovered, rows })}\n`);
  const percent = (values) => values.map((value) => Math.round(100 * value)).join(' ');
  const header = ['slot', 'kind', 'element', 'precision', 'recall', 'shape', 'r', 'found, %', 'planted, %'];
  const cells = rows.map((row) => [
    row.slot,
    row.kind,
    String(row.element),
    row.precision.toFixed(2),
    row.recall.toFixed(2),
    row.shape,
    row.r.toFixed(2),
    percent(row.curve),
    percent(row.course),
  ]);
  process.stdout.write(`${table(header, cells)}\n`);
  process.stdout.write(`${elements.length} elements; r is at least 0.8 for ${recovered} of ${rows.length} kinds.\n`);
}

function iou(a, b) {
  const along = (at, size) => Math.max(0, Math.min(a[at] + a[size], b[at] + b[size]) - Math.max(a[at], b[at]));
  const both = along('x', 'width') * along('y', 'height');
  return both / (a.width * a.height + b.width * b.height - both);
}

function pearson(a, b) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [ma, mb] = [mean(a), mean(b)];
  const product = (x, mx, y, my) => x.reduce((sum, value, i) => sum + (value - mx) * (y[i] - my), 0);
  return product(a, ma, b, mb) / Math.sqrt(product(a, ma, a, ma) * product(b, mb, b, mb) || 1);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    work: { type: 'string', default: 'trend-study' },
    steps: { type: 'string', default: '3600' },
    images: { type: 'string', default: '200' },
    samples: { type: 'string', default: '16' },
    threads: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
  },
});
const steps = { train, mine, figures };
Promise.resolve()
  .then(() => {
    const step = steps[positionals[0]];
    if (!step) throw new Error(`Usage: node scripts/trend-study.mjs ${Object.keys(steps).join('|')} --work DIR`);
    return step(values);
  })
  .catch(fail);
