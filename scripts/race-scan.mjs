// What `scan --race` saves and misses as users run it (docs/results/estimator.md, "Racing whole scans"): one exact scan, then a race for each K.
//
//     node scripts/race-scan.mjs DATASET --model MODEL --out FOLDER --top 83,200,400 [--samples 32] [--against null] [--patch 12]
//       [--t-range 0.05,0.4] [--workers 2] [--threads 1] [--race-risk 0.01]
//
// Prints, per race and label: UNet calls and wall time beside the exact scan's, and how much of its top K the race found. A scan that is finished is
// not repeated: its wall time is kept in FOLDER/scans.json.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { Run, scan } from '../dist/index.js';
import { readTable } from '../dist/runs/tables.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string' },
    out: { type: 'string' },
    top: { type: 'string', default: '50' },
    samples: { type: 'string', default: '32' },
    against: { type: 'string', default: 'null' },
    patch: { type: 'string', default: '12' },
    't-range': { type: 'string', default: '0.05,0.4' },
    workers: { type: 'string', default: '1' },
    threads: { type: 'string' },
    'race-risk': { type: 'string', default: '0.01' },
  },
});
const [dataset] = positionals;
if (!dataset || !values.model || !values.out) throw new Error('Give a dataset, --model and --out.');
const out = values.out;
const tops = values.top.split(',').map(Number);
mkdirSync(out, { recursive: true });
const file = join(out, 'scans.json');
const scans = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};

/** Scans into FOLDER/name unless that has been done. @returns { seconds, unetCalls } */
async function scanned(name, more) {
  if (!scans[name]) {
    const begun = performance.now();
    const { unetCalls } = await scan(
      {
        dataset,
        model: values.model,
        out: join(out, name),
        samples: Number(values.samples),
        against: values.against,
        patch: Number(values.patch),
        tRange: values['t-range'].split(',').map(Number),
        workers: Number(values.workers),
        ...(values.threads ? { threads: Number(values.threads) } : {}),
        ...more,
      },
      { onProgress: () => {} },
    );
    scans[name] = { seconds: (performance.now() - begun) / 1000, unetCalls };
    writeFileSync(file, `${JSON.stringify(scans, null, 1)}\n`);
  }
  return scans[name];
}

/** The K best patches of each label with all N samples, as "image row column". */
async function ranked(name, top) {
  const run = await Run.open(join(out, name));
  const lists = new Map();
  for (const shard of await run.doneShards()) {
    for (const row of await readTable(run.shardFile(shard, 'patches.parquet'))) {
      if (row.list !== 'top' || row.samples !== Number(values.samples)) continue;
      if (!lists.has(row.condition)) lists.set(row.condition, []);
      lists.get(row.condition).push(row);
    }
  }
  return new Map(
    [...lists].map(([label, rows]) => [
      label,
      rows
        .sort((a, b) => b.typicality - a.typicality)
        .slice(0, top)
        .map(({ image, row, column }) => `${image} ${row} ${column}`),
    ]),
  );
}

const exact = await scanned('exact', {});
console.log(`exact: ${exact.unetCalls} UNet calls, ${exact.seconds.toFixed(0)} s`);
console.log('| K | label | UNet calls | wall time | missed, stated | missed, measured |');
console.log('|---|---|---|---|---|---|');
for (const top of tops) {
  const name = `race-${top}`;
  const race = await scanned(name, { race: true, top, raceRisk: Number(values['race-risk']) });
  const [found, wanted] = [await ranked(name, top), await ranked('exact', top)];
  const record = JSON.parse(readFileSync(join(out, name, 'race.json'), 'utf8'));
  for (const { label, unetCalls } of record.labels) {
    const all = new Set(found.get(label));
    const missed = wanted.get(label).filter((patch) => !all.has(patch)).length;
    const { patches: stated } = record.missed.find(({ condition }) => condition === label);
    const percent = (part, whole) => `${((100 * part) / whole).toFixed(1)} %`;
    console.log(
      `| ${top} | ${label} | ${percent(unetCalls.spent, unetCalls.spent + unetCalls.saved)} | ${percent(race.seconds, exact.seconds)} | ${percent(stated, top)} | ${percent(missed, top)} |`,
    );
  }
}
