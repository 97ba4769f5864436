// What racing saves and what it misses (docs/results/estimator.md, "Racing"), on losses that `node scripts/estimator-study.mjs collect` has written:
//
//     node scripts/race-study.mjs CACHE [--seeds 0,1] [--samples 32] [--races 200] [--contrast null|others] [--risk 0.01] [--ends 8,16,32,64,100]
//       [--controls 0.02] [--images 1000] [--turns 20] [--scores FILE] [--out FILE]
//
// A race is one label's contrast over images drawn from all labels' images: those of its own label are the ones with something to find. Seeds are put
// one after the other for more samples. The exact result is that of all N samples of the same noise. Beside the rule: `half`, and the halving schedule of
// the Diffusion Classifier code, which keeps the best 20, 10 and 5 images per category after 4, 10 and 20 % of the samples: here 20, 10 and 5 times K.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Random } from '../dist/util/random.js';
import { roundEnds } from '../dist/stages/scan/race-options.js';
import { cutLabel } from '../dist/stages/scan/race-rule.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: 'string', default: '0' },
    /** so many orders of the same samples, each beginning with another one: any run of them is stratified */
    turns: { type: 'string', default: '1' },
    races: { type: 'string', default: '200' },
    contrast: { type: 'string', default: 'null' },
    /** default: all that were collected */
    samples: { type: 'string' },
    risk: { type: 'string', default: '0.01' },
    ends: { type: 'string' },
    /** images that get all samples whatever they score */
    controls: { type: 'string', default: '0' },
    images: { type: 'string', default: '0' },
    'per-image': { type: 'string', default: '5' },
    /** scores of best patches are kept here between calls: they are those of one contrast, `--samples`, `--turns` and `--ends` */
    scores: { type: 'string' },
    out: { type: 'string' },
  },
});
const [cache] = positionals;
if (!cache) throw new Error('Give the folder that estimator-study.mjs collect wrote.');
const seeds = values.seeds.split(',').map(Number);
const perImage = Number(values['per-image']);
const { labels, samples, patch, images } = JSON.parse(readFileSync(join(cache, 'images.json'), 'utf8'));
const collected = samples * seeds.length;
const N = Number(values.samples ?? collected);
const turns = Number(values.turns);
const SIDE = 64;
const CELLS = SIDE * SIDE;
const OUT = SIDE - patch + 1;

/** fp16 bits to numbers, by table */
const HALF = Float32Array.from({ length: 65536 }, (_, bits) => {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 0) return sign * 2 ** -24 * fraction;
  return exponent === 31 ? NaN : sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
});

const ends = values.ends ? values.ends.split(',').map(Number) : roundEnds(N);
const byRisk = (risk) => (candidates, top, round) => cutLabel(candidates, { top, rule: 'risk', risk, round, ends });
const rules = {
  ...Object.fromEntries(values.risk.split(',').map((risk) => [`risk ${risk}`, { ends, cut: byRisk(Number(risk)) }])),
  half: {
    ends: roundEnds(N, 'half'),
    cut: (candidates, top, round) =>
      cutLabel(candidates, { top, rule: 'half', risk: 0, round, ends: roundEnds(N, 'half') }),
  },
  halving: {
    ends: [0.04, 0.1, 0.2, 1].map((part) => Math.max(2, Math.round(part * N))),
    cut: (candidates, top, round) => {
      const order = candidates.map((_, i) => i).sort((a, b) => candidates[b].scores[0] - candidates[a].scores[0]);
      const best = new Set(order.slice(0, [20, 10, 5][round] * top));
      return { keep: candidates.map(({ control }, i) => control || best.has(i)), missed: NaN };
    },
  },
};

/** Q of a polynomial in t for the first n timesteps, as cpp/typicality/standard_error.cpp */
function basisOf(timesteps, perSeed) {
  const n = timesteps.length;
  const inSeed = Math.min(n, perSeed);
  const degree = inSeed < 4 ? 0 : inSeed < 8 ? 1 : inSeed < 16 ? 2 : 3;
  const [low, high] = [Math.min(...timesteps), Math.max(...timesteps)];
  const basis = [];
  for (let power = 0; power <= degree; power += 1) {
    const column = timesteps.map((t) => ((t - (low + high) / 2) / Math.max(0.5, (high - low) / 2)) ** power);
    for (let turn = 0; turn < 2; turn += 1)
      for (const q of basis) {
        const part = q.reduce((sum, x, i) => sum + x * column[i], 0);
        for (let i = 0; i < n; i += 1) column[i] -= part * q[i];
      }
    const length = Math.sqrt(column.reduce((sum, x) => sum + x * x, 0));
    if (length > 1e-6) basis.push(column.map((x) => x / length));
  }
  return basis;
}

const timesteps = seeds.flatMap((seed) => JSON.parse(readFileSync(join(cache, `seed-${seed}.json`), 'utf8')).timesteps);
/** Samples that scores are taken after. */
const GRID = [...new Set(Object.values(rules).flatMap((rule) => rule.ends))].sort((a, b) => a - b);
/** Sample n of a turn. */
const sampleOf = (turn, n) => (n + Math.round((turn * collected) / turns)) % collected;
const bases = Array.from({ length: turns }, (_, turn) => {
  const turned = timesteps.slice(0, N).map((_t, n) => timesteps[sampleOf(turn, n)]);
  return new Map(GRID.map((n) => [n, basisOf(turned.slice(0, n), samples)]));
});

/** Patch scores of one map [64, 64]: means over patch x patch windows. */
function boxes(map) {
  const rows = new Float64Array(SIDE * OUT);
  for (let y = 0; y < SIDE; y += 1) {
    let sum = 0;
    for (let x = 0; x < SIDE; x += 1) {
      sum += map[y * SIDE + x];
      if (x >= patch) sum -= map[y * SIDE + x - patch];
      if (x >= patch - 1) rows[y * OUT + x - patch + 1] = sum;
    }
  }
  const scores = new Float64Array(OUT * OUT);
  for (let x = 0; x < OUT; x += 1) {
    let sum = 0;
    for (let y = 0; y < SIDE; y += 1) {
      sum += rows[y * OUT + x];
      if (y >= patch) sum -= rows[(y - patch) * OUT + x];
      if (y >= patch - 1) scores[(y - patch + 1) * OUT + x] = sum / patch ** 2;
    }
  }
  return scores;
}

/** The best patches that do not overlap, greedily. */
function best(scores) {
  const left = Float64Array.from(scores);
  const chosen = [];
  for (let i = 0; i < perImage; i += 1) {
    let at = 0;
    for (let j = 1; j < left.length; j += 1) if (left[j] > left[at]) at = j;
    if (left[at] === -Infinity) break;
    chosen.push(at);
    const [row, column] = [Math.floor(at / OUT), at % OUT];
    for (let y = Math.max(0, row - patch); y <= Math.min(OUT - 1, row + patch); y += 1)
      left.fill(-Infinity, y * OUT + Math.max(0, column - patch), y * OUT + Math.min(OUT - 1, column + patch) + 1);
  }
  return chosen;
}

/** After each round: scores and standard errors of an image's best patches. */
function prefixes(maps, turn) {
  const all = Array.from({ length: N }, (_, n) => maps[sampleOf(turn, n)]);
  const sum = new Float64Array(OUT * OUT);
  const found = [];
  let n = 0;
  for (const end of GRID) {
    for (; n < end; n += 1) for (let i = 0; i < sum.length; i += 1) sum[i] += all[n][i];
    const places = best(sum);
    const basis = bases[turn].get(end);
    const errors = places.map((at) => {
      const d = all.slice(0, n).map((of) => of[at]);
      const e = [...d];
      const leverage = d.map(() => 0);
      for (const q of basis) {
        const part = q.reduce((total, x, i) => total + x * d[i], 0);
        q.forEach((x, i) => {
          e[i] -= part * x;
          leverage[i] += x * x;
        });
      }
      return Math.sqrt(e.reduce((total, x, i) => total + x ** 2 / (1 - leverage[i]), 0)) / n;
    });
    found.push({ scores: places.map((at) => sum[at] / n), errors });
  }
  return found;
}

/** [label][image][turn] -> rounds */
function collect() {
  const bytes = seeds.map((seed) => readFileSync(join(cache, `seed-${seed}.f16`)));
  const halves = bytes.map((b) => new Uint16Array(b.buffer, b.byteOffset, b.byteLength / 2));
  return labels.map((_, label) =>
    images.map((_, image) => {
      const maps = Array.from({ length: collected }, (_, n) => {
        const at = (l) => ((image * samples + (n % samples)) * labels.length + l) * CELLS;
        const half = halves[Math.floor(n / samples)];
        const own = half.subarray(at(label), at(label) + CELLS);
        const rival = (label + 1 + (n % (labels.length - 1))) % labels.length;
        const other = values.contrast === 'others' ? half.subarray(at(rival), at(rival) + CELLS) : undefined;
        return boxes(Float32Array.from(own, (bits, i) => HALF[bits] - (other ? HALF[other[i]] : 0)));
      });
      return bases.map((_, turn) => prefixes(maps, turn));
    }),
  );
}

/** One race: fraction of calls, and of the exact top K that was found. */
function race(pool, top, { ends, cut }) {
  const controls = Math.ceil(Number(values.controls) * pool.length);
  let alive = pool.map((_, i) => i);
  let [calls, missed] = [0, 0];
  for (let round = 0; round < ends.length; round += 1) {
    calls += alive.length * (ends[round] - (ends[round - 1] ?? 0));
    if (round === ends.length - 1) break;
    const at = GRID.indexOf(ends[round]);
    const result = cut(
      alive.map((i) => ({ ...pool[i][at], control: i < controls })),
      top,
      round,
    );
    missed += result.missed;
    alive = alive.filter((_, j) => result.keep[j]);
  }
  const patches = pool
    .flatMap((rounds, i) => rounds.at(-1).scores.map((score) => ({ score, i })))
    .sort((a, b) => b.score - a.score)
    .slice(0, top);
  const survivors = new Set(alive);
  return {
    calls: calls / (pool.length * N),
    recall: patches.filter(({ i }) => survivors.has(i)).length / top,
    stated: missed / top,
  };
}

const mean = (all) => all.reduce((sum, x) => sum + x, 0) / all.length;
const known = values.scores && existsSync(values.scores);
const scores = known ? JSON.parse(readFileSync(values.scores, 'utf8')) : collect();
if (values.scores && !known) writeFileSync(values.scores, JSON.stringify(scores));
const rows = [];
const size = Number(values.images) || images.length;
for (const part of [24, 10, 5]) {
  for (const [name, rule] of Object.entries(rules)) {
    const results = [];
    for (let r = 0; r < Number(values.races); r += 1) {
      const random = new Random('race', r, part);
      const turn = Math.floor(r / labels.length) % turns;
      const pool = scores[r % labels.length]
        .map((rounds) => ({ rounds, key: random.next() }))
        .sort((a, b) => a.key - b.key)
        .slice(0, size)
        .map(({ rounds }) => rounds[turn]);
      results.push({ turn, ...race(pool, Math.max(1, Math.round(size / part)), rule) });
    }
    const byTurn = Array.from({ length: turns }, (_, turn) => results.filter((result) => result.turn === turn))
      .filter((of) => of.length > 0)
      .map((of) => mean(of.map(({ calls }) => calls)));
    rows.push({
      part: `1/${part}`,
      rule: name,
      calls: mean(results.map(({ calls }) => calls)),
      // of the cheapest and the dearest order of the samples
      cheapest: Math.min(...byTurn),
      dearest: Math.max(...byTurn),
      recall: mean(results.map(({ recall }) => recall)),
      stated: mean(results.map(({ stated }) => stated)),
      measured: 1 - mean(results.map(({ recall }) => recall)),
    });
  }
}
console.log(
  `rounds end after ${ends.join(', ')} of ${N} samples; ${values.races} races of ${size} images, contrast ${values.contrast}`,
);
console.table(
  rows.map((row) =>
    Object.fromEntries(Object.entries(row).map(([k, v]) => [k, typeof v === 'number' ? Number(v.toFixed(4)) : v])),
  ),
);
if (values.out) writeFileSync(values.out, `${JSON.stringify({ ends, rows }, null, 1)}\n`);
