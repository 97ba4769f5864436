// Images per second that are listed, read and decoded from small images as files, tar shards and Parquet, on a disk and in a bucket; with --scan, how long an
// engine with the demo's model has nothing to do while it scans some of them.
//   node scripts/throughput.mjs [--images 20000] [--size 64] [--bucket s3://BUCKET/PREFIX] [--folder DIR] [--scan 256 [--samples 8]]    needs the built package
// The bucket's endpoint and credentials come from the AWS SDK's variables; what is there from an earlier call is used again. Prints a table.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { pack } from 'tar-stream';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { openDataset, prefetch, readImage } from '../dist/data/index.js';
import { scan } from '../dist/stages/scan/scan.js';
import { Bucket } from '../dist/util/s3/bucket.js';
import { together } from '../dist/util/together.js';

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '20000' },
    size: { type: 'string', default: '64' },
    bucket: { type: 'string' },
    folder: { type: 'string' },
    scan: { type: 'string' },
    samples: { type: 'string', default: '8' },
  },
});
const MODEL = fileURLToPath(new URL('../demo/model', import.meta.url));
const images = Number(values.images);
const size = Number(values.size);
/** Images of a tar shard or a Parquet file. */
const SHARD = 2000;
/** Labels that the demo's model knows. */
const LABELS = ['belmora', 'corvant', 'dunmere'];
const KINDS = ['files', 'tar', 'parquet'];
const folder = values.folder ?? fs.mkdtempSync(path.join(os.tmpdir(), 'diffmine-throughput-'));
const at = (...names) => path.join(folder, ...names);
const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

async function drawn(number) {
  const pixels = Buffer.alloc(size * size * 3);
  for (let i = 0; i < pixels.length; i++) pixels[i] = (i * (1 + (number % 11)) + number * 17 + (i >> 6) * 3) & 255;
  return sharp(pixels, { raw: { width: size, height: size, channels: 3 } })
    .jpeg({ quality: 85 })
    .toBuffer();
}

async function write() {
  for (const kind of KINDS) fs.mkdirSync(at(kind), { recursive: true });
  for (const label of LABELS) fs.mkdirSync(at('files', label), { recursive: true });
  for (let first = 0; first < images; first += SHARD) {
    const shard = [];
    for (let number = first; number < Math.min(images, first + SHARD); number++) {
      const bytes = await drawn(number);
      const label = number % LABELS.length;
      const name = String(number).padStart(6, '0');
      fs.writeFileSync(at('files', LABELS[label], `${name}.jpg`), bytes);
      shard.push({ name, label, bytes });
    }
    const file = String(first / SHARD).padStart(5, '0');
    const archive = pack();
    const written = pipeline(archive, fs.createWriteStream(at('tar', `${file}.tar`)));
    for (const { name, label, bytes } of shard) {
      archive.entry({ name: `${name}.jpg` }, bytes);
      archive.entry({ name: `${name}.cls` }, LABELS[label]);
    }
    archive.finalize();
    await written;
    const info = { features: { image: { _type: 'Image' }, label: { _type: 'ClassLabel', names: LABELS } } };
    const table = parquetWriteBuffer({
      schema: [
        { name: 'root', num_children: 2 },
        { name: 'image', num_children: 2, repetition_type: 'OPTIONAL' },
        { name: 'bytes', type: 'BYTE_ARRAY', repetition_type: 'OPTIONAL' },
        { name: 'path', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
        { name: 'label', type: 'INT64', repetition_type: 'OPTIONAL' },
      ],
      columnData: [
        {
          name: 'image',
          data: shard.map(({ name, bytes }) => ({ bytes: new Uint8Array(bytes), path: `${name}.jpg` })),
        },
        { name: 'label', data: shard.map(({ label }) => BigInt(label)) },
      ],
      rowGroupSize: 1000,
      kvMetadata: [{ key: 'huggingface', value: JSON.stringify({ info }) }],
    });
    fs.writeFileSync(at('parquet', `${file}.parquet`), new Uint8Array(table));
  }
}

async function upload(place) {
  const bucket = await Bucket.open(place);
  const names = fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)));
  await together(names, async (name) => {
    if (!(await bucket.head(name))) await bucket.upload(at(name), name);
  });
}

/** Lists a dataset, then reads and decodes all of it as a scan does. */
async function measure(where, place) {
  const begun = performance.now();
  const dataset = await openDataset(place);
  const listed = performance.now();
  const cpu = cpuSeconds();
  const decoded = prefetch(
    dataset.images,
    async (image) => readImage(image.file, { size, rule: 'floor', multiple: 1, patch: 8 }),
    ({ pixels }) => pixels.length,
  );
  let read = 0;
  for await (const { error } of decoded) {
    if (error) throw error;
    read += 1;
  }
  const took = (performance.now() - listed) / 1000;
  if (read !== images) throw new Error(`${place} has ${read} images.`);
  const [list, rate] = [(listed - begun) / 1000, read / took];
  const busy = (1e6 * (cpuSeconds() - cpu)) / read;
  console.log(`| ${where} | ${list.toFixed(1)} s | ${rate.toFixed(0)} | ${busy.toFixed(0)} µs |`);
}

/** Scans some of a dataset's images: the fraction of the time in which the engine had nothing to do. */
async function scanSome(where, dataset) {
  const out = fs.mkdtempSync(path.join(os.tmpdir(), 'diffmine-throughput-run-'));
  try {
    const { seconds, unetCalls, engineWaiting } = await scan({
      ...{ dataset, out, model: MODEL, limit: Number(values.scan), samples: Number(values.samples) },
      ...{ size: 'source', device: 'cpu', patch: 16 },
    });
    const rate = (unetCalls / seconds).toFixed(0);
    console.log(`| ${where} | ${seconds.toFixed(1)} s | ${rate} | ${(100 * engineWaiting).toFixed(1)} % |`);
  } finally {
    fs.rmSync(out, { recursive: true, force: true });
  }
}

try {
  if (!fs.existsSync(at('parquet'))) await write();
  console.log(`${images} JPEG images of ${size} px, ${SHARD} in each tar shard and Parquet file\n`);
  console.log('| where | listed in | images per second | CPU time per image |\n|---|---|---|---|');
  const places = KINDS.map((kind) => [`${kind}, disk`, at(kind)]);
  if (values.bucket !== undefined) {
    await upload(values.bucket);
    for (const kind of KINDS) places.push([`${kind}, bucket`, `${values.bucket}/${kind}`]);
  }
  for (const place of places) await measure(...place);
  if (values.scan !== undefined) {
    console.log(`\n${values.scan} of them scanned with the demo's model, ${values.samples} samples\n`);
    console.log('| where | scanned in | UNet calls per second | engine waits |\n|---|---|---|---|');
    for (const place of places) await scanSome(...place);
  }
} finally {
  if (values.folder === undefined) fs.rmSync(folder, { recursive: true, force: true });
}
