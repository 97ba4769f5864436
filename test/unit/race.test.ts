// The rule of a race: which images continue after a round.
import fc from 'fast-check';
import { ImageList } from '../../src/data/index.js';
import { raceMaps, raceMeaning, raceTooShort } from '../../src/runs/race-words.js';
import { RACE_FORMAT, roundShardSize, type RaceRecord } from '../../src/runs/rounds.js';
import { controlsOf, cutLabel, normalBelow, type Candidate, type CutOptions } from '../../src/stages/scan/race-rule.js';
import { raceOptions, roundEnds } from '../../src/stages/scan/race-options.js';
import { Random } from '../../src/util/random.js';

const OPTIONS: CutOptions = { top: 5, rule: 'risk', risk: 0.01, round: 0, ends: [4, 8, 16, 32] };

/** Images with true scores, and what n samples of unit noise say of them; `tailed`: noise with a long tail below, so that few samples may be far too low. */
function simulate(
  seed: number,
  images: number,
  n: number,
  N: number,
  tailed = false,
): { candidates: Candidate[]; final: number[] } {
  const random = new Random(seed);
  const candidates: Candidate[] = [];
  const final: number[] = [];
  for (let i = 0; i < images; i += 1) {
    const truth = random.normal() ** 2; // a long tail, as of images with something to find
    const noise = (): number => (tailed ? (2 - Math.log(1 - random.next()) ** 2) / Math.sqrt(20) : random.normal());
    const samples = Array.from({ length: N }, () => truth + noise());
    const first = samples.slice(0, n);
    const mean = (all: number[]): number => all.reduce((sum, x) => sum + x, 0) / all.length;
    const m = mean(first);
    const error = Math.sqrt(first.reduce((sum, x) => sum + (x - m) ** 2, 0) / (n - 1) / n);
    candidates.push({ scores: [m], errors: [error] });
    final.push(mean(samples));
  }
  return { candidates, final };
}

test('the normal distribution', () => {
  for (const [x, p] of [
    [0, 0.5],
    [1, 0.8413447],
    [-1.959964, 0.025],
    [3, 0.9986501],
    [-9, 0],
    [9, 1],
  ] as const)
    expect(normalBelow(x)).toBeCloseTo(p, 6);
});

test('images that cannot win leave, those that may stay', () => {
  const sure = { scores: [10], errors: [0.1] };
  const far = { scores: [0], errors: [0.1] };
  const unsure = { scores: [9.8], errors: [0.5] };
  const candidates = [far, sure, far, sure, sure, sure, sure, unsure, ...Array<Candidate>(20).fill(far)];
  const { keep, missed } = cutLabel(candidates, OPTIONS);
  expect(keep.map((kept, i) => (kept ? i : -1)).filter((i) => i >= 0)).toEqual([1, 3, 4, 5, 6, 7]);
  expect(missed).toBeLessThan(1e-5);
});

test.each([
  { images: 2100, shards: 17, shardSize: 128, size: 124 }, // the first round
  { images: 315, shards: 17, shardSize: 128, size: 19 }, // as many shards for the images that are left
  { images: 40, shards: 17, shardSize: 128, size: 8 }, // enough to fill a forward pass
  { images: 40, shards: 20, shardSize: 2, size: 2 }, // never more than in the run's
  { images: 1e6, shards: 30_000, shardSize: 64, size: 64 }, // many shards stay as they are
  { images: 10_000, shards: 30_000, shardSize: 64, size: 40 },
  { images: 0, shards: 1, shardSize: 64, size: 8 },
])(
  'a round of $images images, of a run with $shards shards of $shardSize: $size each',
  ({ images, shards, shardSize, size }) => {
    expect(roundShardSize(images, { shards, shardSize })).toBe(size);
  },
);

test('after all samples nothing is uncertain: only the top K stay', () => {
  const { candidates } = simulate(1, 60, 8, 8);
  const { keep } = cutLabel(candidates, { ...OPTIONS, round: 0, ends: [8, 8] });
  const best = candidates
    .map(({ scores }, i) => ({ score: scores[0] ?? 0, i }))
    .sort((a, b) => b.score - a.score)
    .slice(0, 5);
  for (const { i } of best) expect(keep[i]).toBe(true);
  expect(keep.filter(Boolean)).toHaveLength(5);
});

test('fewer patches than K: all continue', () => {
  const { candidates } = simulate(2, 5, 4, 32);
  expect(cutLabel(candidates, OPTIONS)).toEqual({ keep: Array<boolean>(5).fill(true), missed: 0 });
});

test('what is missed is about what was allowed, over 200 races', () => {
  const [images, top, n, N] = [240, 24, 8, 32];
  for (const risk of [0.02, 0.1]) {
    let [lost, stated, kept] = [0, 0, 0];
    for (let race = 0; race < 200; race += 1) {
      const { candidates, final } = simulate(race, images, n, N);
      const { keep, missed } = cutLabel(candidates, { top, rule: 'risk', risk, round: 0, ends: [n, N] });
      const best = final.map((score, i) => ({ score, i })).sort((a, b) => b.score - a.score);
      lost += best.slice(0, top).filter(({ i }) => keep[i] !== true).length;
      stated += missed;
      kept += keep.filter(Boolean).length;
    }
    expect(stated / (200 * top)).toBeLessThanOrEqual(risk);
    expect(stated / (200 * top)).toBeGreaterThan(0.8 * risk);
    expect(lost / (200 * top)).toBeLessThan(risk);
    expect(kept / (200 * images)).toBeLessThan(0.6);
  }
});

test('the risk is kept where samples are few and noise has a long tail', () => {
  const [images, top, n, N] = [240, 24, 6, 32];
  for (const risk of [0.01, 0.02]) {
    let lost = 0;
    for (let race = 0; race < 200; race += 1) {
      const { candidates, final } = simulate(race, images, n, N, true);
      const { keep } = cutLabel(candidates, { top, rule: 'risk', risk, round: 0, ends: [n, N] });
      const best = final.map((score, i) => ({ score, i })).sort((a, b) => b.score - a.score);
      lost += best.slice(0, top).filter(({ i }) => keep[i] !== true).length;
    }
    expect(lost / (200 * top)).toBeLessThan(risk);
  }
});

test('half keeps the better half and whoever holds one of the K best patches', () => {
  const candidates: Candidate[] = [4, 1, 3, 2].map((score) => ({ scores: [score], errors: [1] }));
  expect(cutLabel(candidates, { ...OPTIONS, rule: 'half', top: 1 }).keep).toEqual([true, false, true, false]);
  expect(cutLabel(candidates, { ...OPTIONS, rule: 'half', top: 3 }).keep).toEqual([true, false, true, true]);
});

test('for any scores: the risk is kept, controls stay, and the decision is the same again', () => {
  const candidate = fc
    .array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 0, maxLength: 3 })
    .chain((scores) =>
      fc.record({
        scores: fc.constant([...scores].sort((a, b) => b - a)),
        errors: fc.array(fc.double({ min: 0, max: 0.5, noNaN: true }), {
          minLength: scores.length,
          maxLength: scores.length,
        }),
        control: fc.boolean(),
      }),
    );
  fc.assert(
    fc.property(
      fc.array(candidate, { maxLength: 40 }),
      fc.integer({ min: 1, max: 20 }),
      fc.double({ min: 0.001, max: 0.5, noNaN: true }),
      fc.integer({ min: 0, max: 2 }),
      fc.constantFrom('risk' as const, 'half' as const),
      (candidates, top, risk, round, rule) => {
        const options: CutOptions = { top, rule, risk, round, ends: [4, 8, 16, 32] };
        const part = [0.875, 0.75, 0.5][round] as number; // of a sum of 2.125: what leaving saves
        const { keep, missed } = cutLabel(candidates, options);
        expect(keep).toHaveLength(candidates.length);
        candidates.forEach(({ control }, i) => {
          if (control) expect(keep[i]).toBe(true);
        });
        expect(missed).toBeGreaterThanOrEqual(0);
        if (rule === 'risk') expect(missed).toBeLessThanOrEqual((risk * top * part) / 2.125 + 1e-9);
        expect(cutLabel(candidates, options)).toEqual({ keep, missed });
      },
    ),
    { numRuns: 300 },
  );
});

test('controls: a part of each label, by the seed; of small labels 5 %, or 10', () => {
  const images = ImageList.from(
    Array.from({ length: 90 }, (_, i) => ({
      path: `${i}.png`,
      label: i < 60 ? 'a' : 'b',
      file: `/${i}.png`,
      bytes: 1,
    })),
  );
  const chosen = [...controlsOf(images, 0.2, 7)];
  const labels = chosen.map((place) => images.label(place));
  expect(labels.filter((label) => label === 'a')).toHaveLength(12);
  expect(labels.filter((label) => label === 'b')).toHaveLength(6);
  for (const [count, controls] of [
    [5, 1],
    [60, 3],
    [150, 8],
    [400, 10],
    [3000, 30],
  ] as const) {
    const one = ImageList.from(
      Array.from({ length: count }, (_, i) => ({ path: `${i}.png`, label: 'a', file: `/${i}.png`, bytes: 1 })),
    );
    expect(controlsOf(one, 0.01, 7).size).toBe(controls);
  }
  expect([...controlsOf(images, 0.2, 7)]).toEqual(chosen);
  expect([...controlsOf(images, 0.2, 8)]).not.toEqual(chosen);
});

test('rounds: the first has a tenth, 6 to 8; none adds more than an eighth of all, but the last, which is not a small one', () => {
  expect(roundEnds(1000).slice(0, 4)).toEqual([8, 11, 16, 23]);
  expect(roundEnds(100)).toEqual([8, 11, 16, 23, 32, 45, 57, 70, 82, 100]);
  expect(roundEnds(48)).toEqual([6, 8, 12, 17, 23, 29, 35, 41, 48]);
  expect(roundEnds(16)).toEqual([6, 8, 10, 12, 14, 16]);
  expect(roundEnds(8)).toEqual([6, 8]);
  expect(roundEnds(7)).toEqual([7]);
  expect(roundEnds(100, 'half')).toEqual([10, 20, 40, 100]);
  for (let N = 1; N < 300; N += 1) {
    const ends = roundEnds(N);
    const added = ends.slice(1).map((end, i) => end - (ends[i] as number));
    expect(Math.max(0, ...added)).toBeLessThanOrEqual(Math.max(4, (1.5 * N) / 8 + 1));
    expect(Math.min(Infinity, ...added.slice(1))).toBeGreaterThanOrEqual(2);
  }
});

test('options of a race', () => {
  const images = ImageList.from(
    Array.from({ length: 40 }, (_, i) => ({ path: `${i}.png`, label: 'a', file: `/${i}.png`, bytes: 1 })),
  );
  const about = { images, scored: ['a'], samples: 48, allLabels: false };
  expect(raceOptions({}, about)).toBeUndefined();
  expect(raceOptions({ race: true, top: 10 }, about)).toEqual({
    top: 10,
    rule: 'risk',
    risk: 0.01,
    ends: [6, 8, 12, 17, 23, 29, 35, 41, 48],
    controls: 0.01,
  });
  expect(raceOptions({ race: 'half', top: 10, raceRisk: 0.05 }, about)).toMatchObject({
    rule: 'half',
    risk: 0.05,
    ends: [6, 12, 24, 48],
  });
  const log: string[] = [];
  expect(raceOptions({ race: true }, about, (line) => void log.push(line))).toBeUndefined();
  expect(log).toEqual([
    'Not racing, as nothing can be saved: `top` asks for 1000 patches of each label, and no label has more than 40 images. A race needs at least twice as many images as patches.',
  ]);
  for (const bad of [{ raceRisk: 0.1 }, { race: true, raceRisk: 0 }, { race: true, replay: 'x' }])
    expect(() => raceOptions(bad, about)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
});

test('what a race did, in words', () => {
  const race: RaceRecord = {
    format: RACE_FORMAT,
    top: 100,
    rule: 'risk',
    risk: 0.01,
    ends: [4, 8, 48],
    controls: 0.05,
    labels: [
      { label: 'a', images: [{ samples: 4, images: 90 }], unetCalls: { spent: 250, saved: 750 } },
      { label: 'b', images: [{ samples: 48, images: 10 }], unetCalls: { spent: 500, saved: 500 } },
    ],
    missed: [
      { condition: 'a', patches: 0.4 },
      { condition: 'b', patches: 0.7 },
    ],
    unetCalls: { spent: 750, saved: 1250 },
  };
  expect(raceMeaning(race)).toBe(
    'This run raced: after 4 and 8 of 48 samples, images were left out that were unlikely to hold one of the 100 most typical patches of their label. ' +
      'Patches are ranked only from images that got all 48 samples. It made 750 of 2,000 UNet calls (38 %): a 25 %, b 50 %. ' +
      'An estimated 0.7 % of the top 100 patches is missing at most in a label (allowed: 1 %).',
  );
  expect(raceTooShort(race, 100)).toBeUndefined();
  expect(raceTooShort(race, 1000)).toMatch(/top 100 patches .* ranks above 100/);
  expect(raceMaps(race)).toMatch(/fewer than 48 samples/);
});
