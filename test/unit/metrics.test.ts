// Metrics of maps, against naive forms in float64 on fresh random input.
import { bootstrapped, type Group } from '../../src/metrics/bootstrap.js';
import { PAPER_THRESHOLDS, paperAucPr, paperCurve } from '../../src/metrics/paper.js';
import { points } from '../../src/metrics/pointing.js';
import { averagePrecision, PrecisionCurve, type ScoredPixels } from '../../src/metrics/precision.js';
import { Random } from '../../src/util/random.js';

/** Scores of about the size that typicality has; `levels` makes ties. */
function fresh(random: Random, pixels: number, levels?: number): ScoredPixels {
  const scores = Float32Array.from({ length: pixels }, () => {
    const value = random.normal() * 10 ** random.between(-5, -2);
    return levels === undefined ? value : Math.round(value * levels) / levels;
  });
  return { scores, truth: Uint8Array.from({ length: pixels }, () => (random.chance(0.2) ? 1 : 0)) };
}

const random = new Random('metrics', Math.random());
const cases = [
  ...Array.from({ length: 6 }, () => fresh(random, random.whole(20, 400))),
  ...Array.from({ length: 4 }, () => fresh(random, 300, 1000)),
];

function naivePaper({ scores, truth }: ScoredPixels): number {
  const positives = truth.reduce((sum, one) => sum + one, 0);
  const curve = Array.from({ length: 1000 }, (_, i) => {
    const above = [...scores.keys()].filter(
      (pixel) => (scores[pixel] as number) > 2 * Math.pow(10, -(2 + (5 * i) / 999)),
    );
    const hits = above.filter((pixel) => truth[pixel]).length;
    return { precision: above.length > 0 ? hits / above.length : 0, recall: hits / positives };
  });
  return curve
    .slice(1)
    .reduce(
      (sum, { precision, recall }, i) =>
        sum + ((recall - (curve[i]?.recall ?? 0)) * (precision + (curve[i]?.precision ?? 0))) / 2,
      0,
    );
}

function naiveSweep({ scores, truth }: ScoredPixels): { average: number; iou: number } {
  const positives = truth.reduce((sum, one) => sum + one, 0);
  let [average, iou, before] = [0, 0, 0];
  for (const threshold of [...new Set(scores)].sort((a, b) => b - a)) {
    const above = [...scores.keys()].filter((pixel) => (scores[pixel] as number) >= threshold);
    const hits = above.filter((pixel) => truth[pixel]).length;
    average += ((hits - before) / positives) * (hits / above.length);
    iou = Math.max(iou, hits / (above.length + positives - hits));
    before = hits;
  }
  return { average, iou };
}

test("the paper's AUC-PR: 1000 fixed thresholds, strict, the trapezium rule", () => {
  expect(PAPER_THRESHOLDS).toHaveLength(1000);
  expect([PAPER_THRESHOLDS[0], PAPER_THRESHOLDS[999]]).toEqual([0.02, expect.closeTo(2e-7, 20)]);
  for (const pixels of cases) expect(paperAucPr(pixels)).toBeCloseTo(naivePaper(pixels), 10);
});

test("the paper's form of odd maps: a constant one has half the positive share, one below its thresholds nothing", () => {
  const truth = Uint8Array.from({ length: 320 }, (_, i) => (i % 5 === 0 ? 1 : 0));
  for (const level of [3e-7, 1e-4, 0.01])
    expect(paperAucPr({ scores: new Float32Array(320).fill(level), truth })).toBeCloseTo(0.1, 12);
  // above all thresholds everything is positive from the first on, and no end point is added
  for (const level of [-1, 0, 1e-7, 1])
    expect(paperAucPr({ scores: new Float32Array(320).fill(level), truth })).toBe(0);
  expect(paperAucPr({ scores: new Float32Array(320), truth: new Uint8Array(320) })).toBeNull();
  expect(paperCurve({ scores: Float32Array.of(1, 1), truth: Uint8Array.of(1, 0) })).toMatchObject({
    positives: 1,
    hits: expect.arrayContaining([1]) as unknown,
    area: 0,
  });
  expect(() => paperAucPr({ scores: Float32Array.of(NaN), truth: Uint8Array.of(1) })).toThrow(
    expect.objectContaining({ code: 'NUMERICS' }),
  );
});

test('average precision and best IoU over all thresholds', () => {
  for (const pixels of cases) {
    const curve = new PrecisionCurve([pixels]);
    const naive = naiveSweep(pixels);
    expect(curve.averagePrecision()).toBeCloseTo(naive.average, 10);
    expect(averagePrecision(pixels.scores, pixels.truth)).toBe(curve.averagePrecision());
    expect(curve.bestIou()).toBeCloseTo(naive.iou, 12);
  }
  const truth = Uint8Array.of(1, 0, 0, 0);
  expect(new PrecisionCurve([{ scores: new Float32Array(4), truth }]).bestIou()).toBe(0.25);
  expect(new PrecisionCurve([{ scores: Float32Array.of(2, 1, 1, 0), truth }]).bestIou()).toBe(1);
  expect(new PrecisionCurve([{ scores: new Float32Array(4), truth: new Uint8Array(4) }]).bestIou()).toBeNull();
});

test('the pointing game: the first of the highest pixels', () => {
  expect(points({ scores: Float32Array.of(0, 2, 2), truth: Uint8Array.of(0, 1, 0) })).toBe(true);
  expect(points({ scores: Float32Array.of(0, 2, 2), truth: Uint8Array.of(0, 0, 1) })).toBe(false);
  expect(points({ scores: Float32Array.of(1), truth: Uint8Array.of(0) })).toBeUndefined();
});

describe('resampling', () => {
  const values = [0.1, 0.4, 0.4, 0.9, 0.2];
  const group = (members: number[]): Group => ({
    members,
    measure: (weights) => {
      const weight = (place: number): number => (weights ? (weights[place] as number) : 1);
      const total = members.reduce((sum, place) => sum + weight(place), 0);
      return [
        total > 0 ? members.reduce((sum, place) => sum + weight(place) * (values[place] as number), 0) / total : null,
        total,
      ];
    },
  });

  test('means, groups without images, and intervals that hold the value', async () => {
    const rows = await bootstrapped([group([0, 1, 2]), group([3, 4]), group([])], 5, { bootstrap: 400, seed: 3 }, {});
    expect(rows.map((row) => row[0]?.value)).toEqual([
      expect.closeTo(0.3, 12),
      expect.closeTo(0.55, 12),
      null,
      expect.closeTo(0.425, 12),
    ]);
    const [first, , none] = rows;
    expect(first?.[0]?.low).toBeCloseTo(0.1, 12);
    expect(first?.[0]?.high).toBeCloseTo(0.4, 12);
    expect(none?.[0]).toEqual({ value: null, low: null, high: null });
    // as many images are drawn as there are
    expect(first?.[1]).toEqual({ value: 3, low: 3, high: 3 });
    expect(
      await bootstrapped([group([0, 1, 2]), group([3, 4]), group([])], 5, { bootstrap: 400, seed: 3 }, {}),
    ).toEqual(rows);
  });

  test('none wanted, and cancelled', async () => {
    expect(await bootstrapped([group([0, 1])], 2, { bootstrap: 0, seed: 0 }, {})).toEqual([
      [
        { value: 0.25, low: null, high: null },
        { value: 2, low: null, high: null },
      ],
      [
        { value: 0.25, low: null, high: null },
        { value: 2, low: null, high: null },
      ],
    ]);
    await expect(
      bootstrapped([group([0])], 1, { bootstrap: 5, seed: 0 }, { signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});
