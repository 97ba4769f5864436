// How well does each contrast rank at the same number of UNet calls? Two steps, so that every contrast is computed from the same forward passes:
//   node scripts/estimator-study.mjs collect --dataset D --model M --cache DIR [--boxes FILE] [--patch 12] [--t-range 0.05,0.4] [--samples 32] [--seeds 20] [--dtype bf16]
//   node scripts/estimator-study.mjs figures --cache DIR [--calls 16,32,64] [--json]
//   node scripts/estimator-study.mjs ranges --cache DIR [--samples 16]
// `collect` scores every image under every label and the null condition with SEEDS x SAMPLES noise and timestep samples, and keeps
// L_null - L_label of each sample as fp16 (DIR/seed-S.f16: image, sample, label, row, column). Run again, it resumes.
// `ranges` gives AP and P@50 of ranges of timesteps within the one that was collected, with as many samples each and with all.
// `figures` takes more samples than one seed has from the next seeds. It gives AP, P@50, pointing and Spearman as `diffmine evaluate` defines them. The words of its table are explained in docs/results/estimator.md.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { fail, root, say } from './steps.mjs';

const load = createRequire(import.meta.url);
const dist = (name) => load(path.join(root, 'dist', `${name}.js`));

/** Images of one engine call. */
const PER_CALL = 8;
/** Images whose losses the weights by timestep are estimated from, and the bins of timesteps they are estimated in. */
const PILOT = 12;
const BINS = 8;
/** Labels of `near`, and images of a label that they are found with. */
const NEAR = 3;
const NEAR_IMAGES = 4;
/** As the demo evaluates: maps are smoothed by a mean over 5 x 5 pixels; a label's first 50 patches are looked at, five an image at most. */
const SMOOTH = 5;
const FIRST = 50;
const PER_IMAGE = 5;

// --- collect

async function collect(values) {
  const { openDataset, readImage, readBoxes } = dist('index');
  const { openModel, prepareConditions } = dist('models/index');
  const { fillPrompt } = dist('data/index');
  const { Engine, float32, toFloat16 } = dist('engine/index');
  const { randomKey } = dist('runs/fingerprint');
  const cache = values.cache;
  fs.mkdirSync(cache, { recursive: true });
  const samples = Number(values.samples);
  const model = await openModel(values.model);
  const dataset = await openDataset(values.dataset);
  const labels = [...dataset.labels];
  const size = values.size ? Number(values.size) : model.sampleSize;
  const patch = values.patch ? Number(values.patch) : Math.floor(size / 8);
  const steps = model.source.schedule.trainTimesteps;
  const [tBegin, tEnd] = values['t-range'].split(',').map((one) => Math.round(Number(one) * steps));
  const all = [...dataset.images];
  // spread over the dataset, and so over its labels
  const limit = Math.min(all.length, Number(values.limit ?? all.length));
  const images = Array.from({ length: limit }, (_, i) => all[Math.floor((i * all.length) / limit)]);
  const engine = new Engine({ device: 'cpu', dtype: values.dtype, threads: Number(values.threads ?? 0) });
  await engine.loadModel(model.source, {});
  const prompt = model.conditioning === 'text' ? (values.prompt ?? '{label}') : null;
  const names = prompt === null ? [...labels, ''] : [...labels.map((label) => fillPrompt(prompt, label)), ''];
  const conditions = await prepareConditions(engine, model, names, {});
  const k = names.length;
  const rows = names.map((_, row) => row);
  const sizes = { size, rule: 'floor', multiple: model.sizeMultiple, patch };
  const read = await Promise.all(images.map(async (image) => readImage(image.file, sizes)));
  const boxes = values.boxes ? (await readBoxes(values.boxes)).boxes : [];
  const about = {
    labels,
    samples,
    trainTimesteps: steps,
    tBegin,
    tEnd,
    patch,
    dtype: values.dtype,
    processor: os.cpus()[0]?.model,
    images: images.map(({ path: name, label }, i) => {
      const { width, height, sourceWidth, sourceHeight, resized } = read[i];
      return {
        path: name,
        label,
        width,
        height,
        scale: [resized.width / sourceWidth, resized.height / sourceHeight],
        boxes: boxes.filter((box) => box.image === name),
      };
    }),
  };
  for (let seed = Number(values['first-seed']); seed < Number(values.seeds); seed++) {
    const file = path.join(cache, `seed-${seed}.f16`);
    if (fs.existsSync(file)) continue;
    const begun = Date.now();
    const out = fs.openSync(`${file}.part`, 'w');
    let timesteps;
    for (let begin = 0; begin < images.length;) {
      // images of the same size in a call, in order
      let end = begin + 1;
      while (
        end < images.length &&
        end - begin < PER_CALL &&
        read[end].width === read[begin].width &&
        read[end].height === read[begin].height
      )
        end += 1;
      const part = read.slice(begin, end);
      const result = await engine.scoreTypicality(
        conditions,
        {
          images: part.map(({ pixels, width, height }) => ({ pixels, width, height })),
          conditions: part.map(() => rows),
          subjects: part.map(() => [0]),
          weights: part.map(() => [rows.map((row) => (row === k - 1 ? 1 : 0))]),
          keys: images.slice(begin, end).map(({ path: name }) => randomKey(name)),
        },
        {
          samples,
          seed,
          tBegin,
          tEnd,
          sampler: values.sampler,
          loss: values.loss,
          patch: 0,
          perImage: 0,
          batch: Number(values.batch),
          keepMaps: false,
          keepLosses: true,
        },
        {},
      );
      timesteps = result.timesteps;
      const losses = float32(result.losses);
      const [b, n, , height, width] = result.losses.shape;
      const cells = height * width;
      const differences = new Float32Array(b * n * (k - 1) * cells);
      for (let row = 0; row < b * n; row++) {
        const of = (c) => losses.subarray((row * k + c) * cells, (row * k + c + 1) * cells);
        const base = of(k - 1);
        for (let c = 0; c < k - 1; c++) {
          const own = of(c);
          const at = (row * (k - 1) + c) * cells;
          for (let i = 0; i < cells; i++) differences[at + i] = base[i] - own[i];
        }
      }
      const half = toFloat16({ dtype: 'F32', shape: [differences.length], data: new Uint8Array(differences.buffer) });
      fs.writeSync(out, half.data ?? half);
      for (let i = begin; i < end; i++) Object.assign(about.images[i], { mapHeight: height, mapWidth: width });
      begin = end;
    }
    fs.closeSync(out);
    fs.writeFileSync(path.join(cache, 'images.json'), JSON.stringify(about));
    fs.writeFileSync(path.join(cache, `seed-${seed}.json`), JSON.stringify({ timesteps }));
    fs.renameSync(`${file}.part`, file);
    say(`seed ${seed}: ${images.length * samples * k} UNet calls in ${((Date.now() - begun) / 1000).toFixed(0)} s`);
  }
  await engine.dispose();
}

// --- figures

/** fp16 to fp32 by table. */
const HALF = (() => {
  const table = new Float32Array(65536);
  for (let half = 0; half < 65536; half++) {
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    table[half] =
      exponent === 31 ? NaN : sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  }
  return table;
})();

function open(cache) {
  const about = JSON.parse(fs.readFileSync(path.join(cache, 'images.json'), 'utf8'));
  let at = 0;
  for (const image of about.images) {
    image.cells = image.mapHeight * image.mapWidth;
    image.at = at;
    at += about.samples * about.labels.length * image.cells;
  }
  const seeds = fs
    .readdirSync(cache)
    .flatMap((name) => /^seed-(\d+)\.f16$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b)
    .map((seed) => ({
      seed,
      file: path.join(cache, `seed-${seed}.f16`),
      timesteps: JSON.parse(fs.readFileSync(path.join(cache, `seed-${seed}.json`), 'utf8')).timesteps,
    }));
  return { ...about, seeds };
}

/** L_null - L_label of one image: a function (sample, label) -> map. */
function readImageOf(study, fd, image) {
  const length = study.samples * study.labels.length * image.cells;
  const halves = new Uint16Array(length);
  fs.readSync(fd, halves, 0, length * 2, image.at * 2);
  const known = new Map();
  return (sample, label) => {
    const row = sample * study.labels.length + label;
    const found =
      known.get(row) ??
      Float32Array.from(halves.subarray(row * image.cells, (row + 1) * image.cells), (half) => HALF[half]);
    known.set(row, found);
    return found;
  };
}

/** Which labels sample n contrasts `own` with: their rows, by the scan's own rotation. */
function rivals(study, contrast, own, seed) {
  const others = study.labels.map((_, row) => row).filter((row) => row !== own);
  if (contrast === 'null') return () => [];
  if (contrast === 'all') return () => others;
  const { turnsOf } = dist('stages/scan/contrasts');
  const { Random } = dist('util/random');
  const among = contrast === 'near' ? study.near[own] : others;
  const turns = turnsOf(among, 1, study.samples * study.seeds.length, new Random('others', seed, study.labels[own]));
  return (n) => turns[n];
}

/** Of each label, the NEAR others whose losses on its images are nearest to its own: those it is most easily confused with. From the pilot's images. */
function nearest(study) {
  const { file } = study.seeds.at(-1);
  const fd = fs.openSync(file, 'r');
  const near = study.labels.map((label, own) => {
    const advantage = study.labels.map(() => 0); // of the label over each other one
    for (const image of study.images.filter((one) => one.label === label).slice(0, NEAR_IMAGES)) {
      const differences = readImageOf(study, fd, image);
      for (let n = 0; n < study.samples; n++)
        study.labels.forEach((_, row) => {
          advantage[row] += mean([...differences(n, own)]) - mean([...differences(n, row)]);
        });
    }
    return study.labels
      .map((_, row) => row)
      .filter((row) => row !== own)
      .sort((x, y) => advantage[x] - advantage[y])
      .slice(0, NEAR);
  });
  fs.closeSync(fd);
  return near;
}

/** The differences of a contrast, one sample's map at a time, into `sum` with weight w. */
function addSample(differences, n, own, rows, w, sum) {
  const d = differences(n, own);
  for (let i = 0; i < sum.length; i++) sum[i] += w * d[i];
  for (const row of rows) {
    const r = differences(n, row);
    const share = w / rows.length;
    for (let i = 0; i < sum.length; i++) sum[i] -= share * r[i];
  }
}

/** Standard deviation of a sample's difference over pixels and images, by bin of timesteps, from the first images of another seed. */
function spreads(study, contrast) {
  const { seed, file, timesteps } = study.seeds.at(-1);
  const fd = fs.openSync(file, 'r');
  const sums = Array.from({ length: BINS }, () => [0, 0, 0]);
  const step = Math.max(1, Math.floor(study.images.length / PILOT));
  for (let i = 0; i < study.images.length; i += step) {
    const image = study.images[i];
    const differences = readImageOf(study, fd, image);
    const own = study.labels.indexOf(image.label);
    const of = rivals(study, contrast, own, seed);
    for (let n = 0; n < study.samples; n++) {
      const map = new Float32Array(image.cells);
      addSample(differences, n, own, of(n), 1, map);
      const bin = sums[binOf(study, timesteps[n])];
      for (const value of map) {
        bin[0] += 1;
        bin[1] += value;
        bin[2] += value * value;
      }
    }
  }
  fs.closeSync(fd);
  return sums.map(([count, sum, squares]) => Math.sqrt(squares / count - (sum / count) ** 2));
}

const binOf = ({ tBegin, tEnd }, t) => Math.min(BINS - 1, Math.floor((BINS * (t - tBegin)) / (tEnd - tBegin)));

/** What a bin's noise makes of its samples: how much one counts, or of strata how many there are. */
const favor = (kind, sd) => (kind === 'none' ? 1 : kind === 'sqrt' ? 1 / Math.sqrt(sd) : 1 / sd);

/** The samples of an estimator in one replication, [{ seed, n, weight }], the weights' mean being 1. */
function samplesOf(study, seed, { weights, spread, samples, strata }) {
  if (strata) return strataOf(study, seed, { spread, samples, strata });
  // More samples than one seed has: those of the next seeds, too.
  const first = study.seeds.indexOf(seed);
  const drawn = Array.from({ length: samples }, (_, i) => ({
    seed: study.seeds[(first + Math.floor(i / study.samples)) % study.seeds.length],
    n: i % study.samples,
  }));
  const raw = drawn.map(({ seed: from, n }) => favor(weights, spread[binOf(study, from.timesteps[n])]));
  const center = mean(raw);
  return drawn.map((one, i) => ({ ...one, weight: raw[i] / center }));
}

/**
 * As many timesteps per bin as `favor` says, evenly spaced within: of all seeds' samples, those whose timesteps are nearest. Every replication begins
 * elsewhere. The estimand is that of samples weighted by `favor`.
 */
function strataOf(study, seed, { spread, samples, strata }) {
  const rates = spread.map((sd) => favor(strata, sd));
  const total = rates.reduce((sum, one) => sum + one, 0);
  const left = study.seeds.flatMap((one) => one.timesteps.map((t, n) => ({ seed: one, n, t })));
  const start = study.seeds.indexOf(seed) / study.seeds.length;
  return Array.from({ length: samples }, (_, i) => {
    let rest = ((i + start) / samples) * total;
    const bin = rates.findIndex((rate) => (rest < rate ? true : ((rest -= rate), false)));
    const wanted = study.tBegin + ((bin + rest / rates[bin]) / BINS) * (study.tEnd - study.tBegin);
    left.sort((x, y) => Math.abs(x.t - wanted) - Math.abs(y.t - wanted));
    return { ...left.shift(), weight: 1 };
  });
}

/** Mean maps of every image under its own label, for each of the estimators: each image is read once. */
function mapsOf(study, seed, estimators) {
  const files = new Map(study.seeds.map((one) => [one, fs.openSync(one.file, 'r')]));
  const plans = estimators.map((one) => samplesOf(study, seed, one));
  const maps = estimators.map(() => []);
  for (const image of study.images) {
    const read = new Map();
    const differencesOf = (one) => {
      if (!read.has(one)) read.set(one, readImageOf(study, files.get(one), image));
      return read.get(one);
    };
    const own = study.labels.indexOf(image.label);
    estimators.forEach(({ contrast }, e) => {
      const of = rivals(study, contrast, own, seed.seed);
      const sum = new Float32Array(image.cells);
      plans[e].forEach(({ seed: from, n, weight }, i) =>
        addSample(differencesOf(from), n, own, of(i), weight / plans[e].length, sum),
      );
      maps[e].push(sum);
    });
  }
  for (const fd of files.values()) fs.closeSync(fd);
  return maps;
}

/** The five best patches of a map that do not overlap: [score, row, column]. */
function bestPatches({ values, width, height }, k) {
  const integral = new Float64Array((width + 1) * (height + 1));
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      integral[(y + 1) * (width + 1) + x + 1] =
        values[y * width + x] +
        integral[y * (width + 1) + x + 1] +
        integral[(y + 1) * (width + 1) + x] -
        integral[y * (width + 1) + x];
  const [rows, columns] = [height - k + 1, width - k + 1];
  const scores = new Float32Array(rows * columns);
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++) {
      const at = (v, u) => integral[v * (width + 1) + u];
      scores[y * columns + x] = (at(y + k, x + k) - at(y, x + k) - at(y + k, x) + at(y, x)) / (k * k);
    }
  const found = [];
  while (found.length < PER_IMAGE) {
    let best = -1;
    for (let i = 0; i < scores.length; i++) if (scores[i] > (best < 0 ? -Infinity : scores[best])) best = i;
    if (best < 0) break;
    const [y, x] = [Math.floor(best / columns), best % columns];
    found.push([scores[best], y, x]);
    for (let v = Math.max(0, y - k + 1); v < Math.min(rows, y + k); v++)
      scores.fill(-Infinity, v * columns + Math.max(0, x - k + 1), v * columns + Math.min(columns, x + k));
  }
  return found;
}

/** Per image: the best patches, and with boxes the smoothed pixels beside their truth. */
function look(study, maps) {
  const { upsample, boxMean } = dist('metrics/maps');
  const { boxMask, labelOf } = dist('data/boxes/index');
  const { points } = dist('metrics/pointing');
  return study.images.map((image, i) => {
    const map = upsample(
      { values: maps[i], width: image.mapWidth, height: image.mapHeight },
      image.width,
      image.height,
    );
    const patches = bestPatches(map, study.patch);
    if (study.boxless) return { patches };
    const boxes = image.boxes
      .filter((box) => labelOf(box, image.label) === image.label)
      .map((box) => ({
        x: box.x * image.scale[0],
        y: box.y * image.scale[1],
        width: box.width * image.scale[0],
        height: box.height * image.scale[1],
      }));
    const pixels = { scores: boxMean(map, SMOOTH).values, truth: boxMask(boxes, image.width, image.height) };
    return { patches, boxes, pixels, pointed: points(pixels) };
  });
}

const mean = (values) => values.reduce((sum, one) => sum + one, 0) / values.length;

function figuresOf(study, looked, reference) {
  const { centerIn, iou } = dist('data/boxes/index');
  const { PrecisionCurve } = dist('metrics/precision');
  const { spearman } = dist('tools/bench/ranking');
  const present = study.labels.filter((label) => study.images.some((image) => image.label === label));
  const labels = present.map((label) => {
    const own = study.images.flatMap((image, i) => (image.label === label ? [i] : []));
    const best = own.map((i) => looked[i].patches[0]?.[0] ?? 0);
    const rank = spearman(
      best,
      own.map((i) => reference[i]),
    );
    if (study.boxless) return { rank };
    const ranked = own
      .flatMap((i) =>
        looked[i].patches.map(([score, y, x]) => ({
          i,
          score,
          box: { x, y, width: study.patch, height: study.patch },
        })),
      )
      .sort((a, b) => b.score - a.score)
      .slice(0, FIRST);
    const hit = ({ i, box }) => looked[i].boxes.some((one) => centerIn(box, one) || iou(box, one) > 0.1);
    const center = ({ i, box }) => looked[i].boxes.some((one) => centerIn(box, one));
    const pointed = own.map((i) => looked[i].pointed).filter((one) => one !== undefined);
    return {
      rank,
      ap: new PrecisionCurve(own.map((i) => looked[i].pixels)).averagePrecision(),
      p: mean(ranked.map((one) => Number(hit(one)))),
      center: mean(ranked.map((one) => Number(center(one)))),
      pointing: mean(pointed.map(Number)),
    };
  });
  const of = (name) => mean(labels.map((one) => one[name] ?? NaN));
  return { ap: of('ap'), p: of('p'), center: of('center'), pointing: of('pointing'), rank: of('rank') };
}

/** The fraction of images whose mean typicality is above zero: the model denoises them better with their label than with what it is compared with. */
const favored = (maps) => mean(maps.map((map) => Number(mean([...map]) > 0)));

function figures(values) {
  const study = open(values.cache);
  study.boxless = study.images.every(({ boxes }) => boxes.length === 0);
  const labels = study.labels.length;
  study.near = nearest(study);
  const budgets = values.calls.split(',').map(Number);
  const contrasts = [
    { contrast: 'null', weights: 'none', calls: (n) => 2 * n },
    { contrast: 'null', weights: 'sqrt', calls: (n) => 2 * n },
    { contrast: 'null', weights: 'inverse', calls: (n) => 2 * n },
    { contrast: 'rotating', weights: 'none', calls: (n) => 2 * n },
    { contrast: 'rotating', weights: 'sqrt', calls: (n) => 2 * n },
    { contrast: 'rotating', weights: 'inverse', calls: (n) => 2 * n },
    // a timestep of a stratum stands for more or less of the schedule, with one sample each
    { contrast: 'rotating', weights: 'none', strata: 'sqrt', calls: (n) => 2 * n },
    { contrast: 'rotating', weights: 'none', strata: 'inverse', calls: (n) => 2 * n },
    // turns among the labels that are most easily confused with the own one
    ...(labels > NEAR + 1 ? [{ contrast: 'near', weights: 'none', calls: (n) => 2 * n }] : []),
    { contrast: 'all', weights: 'none', calls: (n) => labels * n },
    { contrast: 'all', weights: 'sqrt', calls: (n) => labels * n },
  ];
  const first = study.seeds.slice(0, Number(values.seeds ?? study.seeds.length));
  const none = Array(BINS).fill(1);
  const estimators = contrasts.flatMap((one) => {
    const spread = one.weights === 'none' && !one.strata ? none : spreads(study, one.contrast);
    return budgets
      .map((budget) => ({ ...one, spread, samples: Math.floor(budget / one.calls(1)) }))
      .filter(({ samples, strata }) => samples >= 1 && samples <= study.samples * (strata ? 1 : study.seeds.length));
  });
  // what scores tend to: all labels, all samples of all seeds
  const all = [{ contrast: 'all', weights: 'none', spread: none, samples: study.samples }];
  const limit = study.images.map(({ cells }) => new Float32Array(cells));
  for (const seed of study.seeds)
    mapsOf(study, seed, all)[0].forEach((map, i) => {
      for (let j = 0; j < map.length; j++) limit[i][j] += map[j] / study.seeds.length;
    });
  const reference = look(study, limit).map(({ patches }) => patches[0]?.[0] ?? 0);
  const found = estimators.map(() => []);
  for (const seed of first)
    mapsOf(study, seed, estimators).forEach((maps, e) => {
      found[e].push({ ...figuresOf(study, look(study, maps), reference), favored: favored(maps) });
    });
  const rows = estimators.map(({ contrast, weights, strata, calls, samples }, e) => {
    const of = (name) => {
      const values = found[e].map((figure) => figure[name]);
      const center = mean(values);
      const variance = values.reduce((sum, value) => sum + (value - center) ** 2, 0) / Math.max(1, values.length - 1);
      return { mean: center, sd: Math.sqrt(variance) };
    };
    const names = ['ap', 'p', 'center', 'pointing', 'rank', 'favored'];
    return {
      contrast,
      weights: strata ? `strata ${strata}` : weights,
      calls: calls(samples),
      samples,
      seeds: first.length,
      ...Object.fromEntries(names.map((name) => [name, of(name)])),
    };
  });
  if (!values.json) {
    const cell = ({ mean: value, sd }) => `${value.toFixed(3)} ± ${sd.toFixed(3)}`;
    say('| contrast | weights | UNet calls | samples | AP | P@50 | center | pointing | Spearman | favored |');
    say('|---|---|---|---|---|---|---|---|---|---|');
    for (const row of rows)
      say(
        `| ${row.contrast} | ${row.weights} | ${row.calls} | ${row.samples} | ${['ap', 'p', 'center', 'pointing', 'rank', 'favored'].map((name) => cell(row[name])).join(' | ')} |`,
      );
  }
  if (values.json) process.stdout.write(`${JSON.stringify(rows)}\n`);
}

// --- ranges

/** Ends of the ranges that are compared, as fractions of the schedule. */
const ENDS = [0, 0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.7, 0.75, 1];

/** Evenly spaced in timesteps: `count` of the samples within [begin, end) of the first seed, or all. */
function within({ timesteps }, begin, end, count) {
  const inside = [...timesteps.keys()]
    .filter((n) => timesteps[n] >= begin && timesteps[n] < end)
    .sort((x, y) => timesteps[x] - timesteps[y]);
  if (inside.length <= count) return inside;
  return Array.from({ length: count }, (_, i) => inside[Math.floor(((i + 0.5) * inside.length) / count)]);
}

function ranges(values) {
  const study = open(values.cache);
  const [seed] = study.seeds;
  const { trainTimesteps: steps = 1000 } = study;
  const count = Number(values.samples);
  const chosen = ENDS.flatMap((begin, i) => ENDS.slice(i + 1).map((end) => ({ begin, end }))).filter(
    ({ begin, end }) => begin * steps >= study.tBegin && end * steps <= study.tEnd && end - begin > 0.09,
  );
  const plans = ['null', 'rotating'].flatMap((contrast) =>
    chosen.flatMap(({ begin, end }) =>
      [count, Infinity].map((most) => ({
        contrast,
        begin,
        end,
        taken: within(seed, begin * steps, end * steps, most),
      })),
    ),
  );
  const maps = plans.map(() => []);
  const fd = fs.openSync(seed.file, 'r');
  for (const image of study.images) {
    const differences = readImageOf(study, fd, image);
    const own = study.labels.indexOf(image.label);
    plans.forEach(({ contrast, taken }, p) => {
      const of = rivals(study, contrast, own, seed.seed);
      const sum = new Float32Array(image.cells);
      taken.forEach((n, i) => addSample(differences, n, own, of(i), 1 / taken.length, sum));
      maps[p].push(sum);
    });
  }
  fs.closeSync(fd);
  const reference = study.images.map(() => 0);
  const found = plans.map((_, p) => figuresOf(study, look(study, maps[p]), reference));
  say(`| contrast | t-range | AP of ${count} samples | P@50 | AP of all | samples | P@50 |`);
  say('|---|---|---|---|---|---|---|');
  for (let p = 0; p < plans.length; p += 2) {
    const [few, all] = found.slice(p, p + 2);
    const { contrast, begin, end } = plans[p];
    const cells = [few.ap.toFixed(3), few.p.toFixed(2), all.ap.toFixed(3), plans[p + 1].taken.length, all.p.toFixed(2)];
    say(`| ${contrast} | ${begin},${end} | ${cells.join(' | ')} |`);
  }
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      dataset: { type: 'string' },
      model: { type: 'string' },
      boxes: { type: 'string' },
      cache: { type: 'string' },
      size: { type: 'string' },
      patch: { type: 'string' },
      prompt: { type: 'string' },
      't-range': { type: 'string', default: '0.05,0.4' },
      samples: { type: 'string' },
      seeds: { type: 'string' },
      'first-seed': { type: 'string', default: '0' },
      sampler: { type: 'string', default: 'stratified' },
      loss: { type: 'string', default: 'squared' },
      batch: { type: 'string', default: '112' },
      dtype: { type: 'string', default: 'bf16' },
      threads: { type: 'string' },
      limit: { type: 'string' },
      calls: { type: 'string', default: '16,32,64' },
      json: { type: 'boolean', default: false },
    },
  });
  const [step] = positionals;
  if (!values.cache || !['collect', 'figures', 'ranges'].includes(step))
    throw new Error('Usage: node scripts/estimator-study.mjs collect|figures|ranges --cache DIR ...');
  const { samples = step === 'ranges' ? '16' : '32' } = values;
  if (step === 'collect') await collect({ ...values, samples, seeds: values.seeds ?? '20' });
  else if (step === 'ranges') ranges({ ...values, samples });
  else figures(values);
}

main().catch(fail);
