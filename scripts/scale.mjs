// Memory and time of a run of very many images: its plan, its resumption and the ranking of its patches, each in a process of its own. The images are names
// that nobody drew, and a fake reader lists them; everything else is what scan and mine use.
//   node scripts/scale.mjs [IMAGES] [FOLDER] [--shard-size N] [--queue redis://HOST]
// Default: 10 million in a temporary folder. With a queue, which must hold nothing else, the shards are also put in it. Needs the built package (npm run setup).
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const require = createRequire(import.meta.url);
const load = (name) => require(`../dist/${name}.js`);
const LABELS = 365;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { 'shard-size': { type: 'string' }, queue: { type: 'string' } },
});
const [images = '10000000', folder, stage] = positionals;
const count = Number(images);

/** What a reader of a folder finds: not in order. */
function list() {
  const { ImageListBuilder } = load('data/images');
  const builder = new ImageListBuilder();
  for (let i = 0; i < count; i++) {
    const id = (i * 7919) % count;
    const label = `category_${String(id % LABELS).padStart(3, '0')}`;
    const name = `${label}/photographs/${String(id).padStart(8, '0')}.jpg`;
    builder.add({ path: name, file: `/data/places/${name}`, label, bytes: 20_000 + (id % 9973), mtime: 1.7e12 + id });
  }
  return builder.build().images;
}

function draft(listed) {
  const { defaultShardSize } = load('pipeline/shards');
  const labels = [...listed.countByLabel().keys()];
  return {
    version: '0',
    created: new Date().toISOString(),
    model: {
      path: '/model',
      fingerprint: 'm',
      kind: 'latent',
      conditioning: 'text',
      vaeFactor: 8,
      fold: 1,
      features: { upBlock: 1, diftT: 161 },
    },
    dataset: {
      path: '/data/places',
      fingerprint: load('data/dataset').fingerprintOf(listed),
      images: listed.length,
      ignored: 0,
      labels,
      columns: [],
    },
    options: {
      prompt: '{label}',
      nullPrompt: '',
      size: 512,
      sizeRule: 'floor',
      patch: 64,
      samples: 100,
      seed: 0,
      tBegin: 100,
      tEnd: 700,
      sampler: 'stratified',
      perImage: 5,
      batch: 128,
      dtype: 'fp16',
      device: 'cuda',
      allLabels: false,
      against: 'null',
      maps: true,
      shardSize: Number(values['shard-size'] ?? defaultShardSize(listed.length)),
      replay: null,
    },
    preset: null,
    replayFile: null,
    conditions: labels,
  };
}

const STAGES = {
  async plan() {
    const listed = list();
    const { manifest } = await load('runs/run').Run.begin(folder, draft(listed), listed);
    return `${manifest.shards} shards of ${manifest.options.shardSize}; index.parquet ${(fs.statSync(path.join(folder, 'index.parquet')).size / 2 ** 20).toFixed(0)} MiB`;
  },
  /** What each process that joins does first. */
  async list() {
    const run = await load('runs/run').Run.open(folder);
    return `${(await run.doneShards()).length} shards done`;
  },
  /** Every shard finished: what a repeated command looks at. */
  async resume() {
    const listed = list();
    const run = await load('runs/run').Run.begin(folder, draft(listed), listed);
    const done = await run.doneShards();
    await load('runs/changes').checkContents(run, done, (place) => listed.at(place), []);
    let scored = 0;
    for (const shard of done) scored += (await run.readShard(shard)).images;
    return `${done.length} shards done, ${scored} images`;
  },
  /** Every shard put in the queue, as by the command that begins the run, and looked for by a worker. */
  async enqueue() {
    const { connect } = load('pipeline/queue/bull');
    const { enqueue, refill } = load('pipeline/queue/jobs');
    const { Redis } = require('ioredis');
    const connection = await connect({ url: values.queue, kind: 'redis', shown: values.queue });
    const shards = Math.ceil(count / Number(values['shard-size'] ?? 64));
    const missing = Array.from({ length: shards }, (_, shard) => shard);
    const run = { run: folder, id: 'scale', version: '0' };
    const redis = new Redis(values.queue);
    const held = async () => Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))[1]);
    const before = await held();
    await enqueue(connection, run, { missing });
    const bytes = (await held()) - before;
    const put = performance.now();
    await refill(connection, run, { missing });
    const again = Math.round((performance.now() - put) / 100) / 10;
    await connection.queue.obliterate({ force: true });
    await connection.close();
    redis.disconnect();
    return `${shards} shards in the queue, ${(bytes / 2 ** 20).toFixed(0)} MiB in Redis; put once more in ${again} s`;
  },
  async rank() {
    const { Run } = load('runs/run');
    const run = await Run.open(folder);
    const rankings = await load('stages/mine/rank').rank(run, 1000);
    const chosen = [...rankings.values()].flatMap((lists) => lists.top);
    const listed = list();
    const wanted = new Map(chosen.map(({ image, label }) => [`${label} ${image}`, { path: image, label }]));
    const places = await run.placesOf(wanted.values());
    for (const { path: name, label } of wanted.values())
      if (!listed.find(name, label)) throw new Error(`${name} is gone`);
    return `${chosen.length} patches of ${places.size} images chosen`;
  },
};

/** Tables that are different: further shards have hard links to them. They are from all over the run, so that every label has some. */
const TABLES = 1024;

/** Stands for the scan: finished shards with tables of 15 patches per image. */
async function finish() {
  const { Run } = load('runs/run');
  const { writeTable } = load('runs/tables');
  const { PATCH_SCHEMA, CONTENT_SCHEMA } = load('runs/columns');
  const run = await Run.open(folder);
  const tables = Math.min(run.manifest.shards, TABLES);
  for (let shard = 0; shard < run.manifest.shards; shard++) {
    const into = run.shardPath(shard);
    fs.mkdirSync(into);
    fs.writeFileSync(
      path.join(into, 'shard.json'),
      JSON.stringify({ id: shard, images: run.shardLength(shard), skipped: 0, batch: 128, notes: [] }),
    );
    if (shard >= tables) {
      for (const name of ['patches.parquet', 'files.parquet'])
        fs.linkSync(run.shardFile(shard % tables, name), run.shardFile(shard, name));
      continue;
    }
    const rows = (await run.shardImages(Math.floor((shard * run.manifest.shards) / tables))).flatMap(
      ({ path: image, label }, i) =>
        ['top', 'bottom', 'random'].flatMap((kind) =>
          [1, 2, 3, 4, 5].map((place) => ({
            image,
            label,
            condition: label,
            list: kind,
            place,
            x: 8 * place,
            y: 8 * i,
            width: 64,
            height: 64,
            row: 8 * i,
            column: 8 * place,
            patch: 64,
            typicality: Math.sin(shard * 7919 + i * 31 + place),
            standard_error: 0.001,
            samples: 100,
          })),
        ),
    );
    await writeTable(run.shardFile(shard, 'patches.parquet'), rows, PATCH_SCHEMA);
    await writeTable(
      run.shardFile(shard, 'files.parquet'),
      rows.filter((_, i) => i % 15 === 0).map(({ image, label }) => ({ image, label, sha256: null })),
      CONTENT_SCHEMA,
    );
  }
  return `${run.manifest.shards} shards`;
}

if (stage) {
  const begun = performance.now();
  const what = await (stage === 'finish' ? finish() : STAGES[stage]());
  const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
  const cpuSeconds = Math.round((userCPUTime + systemCPUTime) / 1e5) / 10;
  console.log(
    JSON.stringify({
      stage,
      images: count,
      maxRssMiB: Math.round(maxRSS / 1024),
      seconds: Math.round((performance.now() - begun) / 100) / 10,
      cpuSeconds,
      what,
    }),
  );
} else {
  const place = folder ?? fs.mkdtempSync(path.join(os.tmpdir(), 'diffmine-scale-'));
  for (const name of ['plan', 'finish', 'list', 'resume', 'rank', ...(values.queue ? ['enqueue'] : [])]) {
    const size = ['shard-size', 'queue'].flatMap((key) => (values[key] === undefined ? [] : [`--${key}`, values[key]]));
    const { status } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), images, place, name, ...size], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    if (status !== 0) process.exitCode = 1;
  }
  if (!folder) fs.rmSync(place, { recursive: true, force: true });
}
