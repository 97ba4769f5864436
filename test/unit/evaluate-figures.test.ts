// What an evaluation is made of: average precision (by hand, and against the golden values), maps brought to pixels, masks.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { boxMask } from '../../src/data/boxes/index.js';
import { boxMean, upsample } from '../../src/metrics/maps.js';
import { peak } from '../../src/metrics/pointing.js';
import { averagePrecision, PrecisionCurve } from '../../src/metrics/precision.js';
import { readSafetensors } from '../../src/engine/index.js';
import { toFloat32 } from '../../src/engine/tensor.js';
import { Random } from '../../src/util/random.js';
import { sharedGolden } from '../helpers/folders.js';

const ap = (scores: number[], truth: number[]): number | null =>
  averagePrecision(Float32Array.from(scores), Uint8Array.from(truth));

describe('average precision', () => {
  test.each([
    ['two of four, found first and third', [0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0], 0.5 * 1 + 0.5 * (2 / 3)],
    ['the same in another order', [0.6, 0.7, 0.9, 0.8], [0, 1, 1, 0], 0.5 * 1 + 0.5 * (2 / 3)],
    ['equal scores enter together', [0.5, 0.5, 0.1], [1, 0, 1], 0.5 * 0.5 + 0.5 * (2 / 3)],
    ['a constant map has the fraction of positives', [3, 3, 3, 3, 3], [0, 1, 0, 0, 0], 0.2],
    [
      'negative scores, zero of both signs, infinity',
      [-1, -0, 0, -2, Infinity],
      [0, 1, 0, 1, 1],
      (1 / 3) * 1 + (1 / 3) * (2 / 3) + (1 / 3) * (3 / 5),
    ],
    ['all positive', [1, 2, 3], [1, 1, 1], 1],
    ['the worst order', [4, 3, 2, 1], [0, 0, 0, 1], 0.25],
  ])('%s', (_, scores, truth, expected) => expect(ap(scores, truth)).toBeCloseTo(expected, 12));

  test('none without positives, an error for NaN', () => {
    expect(ap([1, 2], [0, 0])).toBeNull();
    expect(ap([], [])).toBeNull();
    expect(() => ap([1, NaN], [0, 1])).toThrow(expect.objectContaining({ code: 'NUMERICS' }));
  });

  function images(count: number, size: number): { scores: Float32Array; truth: Uint8Array }[] {
    const random = new Random('images', count, size);
    return Array.from({ length: count }, () => {
      const truth = Uint8Array.from({ length: size }, () => (random.chance(0.1) ? 1 : 0));
      return {
        truth,
        scores: Float32Array.from(truth, (positive) => Math.round(20 * (random.normal() + positive)) / 20),
      };
    });
  }
  const repeated = (from: ReturnType<typeof images>, weights: number[]): number | null => {
    const drawn = from.flatMap((image, i) => Array.from({ length: weights[i] as number }, () => image));
    return new PrecisionCurve(drawn).averagePrecision();
  };

  test('a resample is the average precision of the images drawn, each as often as it was', () => {
    const some = images(5, 300);
    const curve = new PrecisionCurve(some);
    for (const weights of [
      [1, 1, 1, 1, 1],
      [0, 3, 1, 0, 1],
      [5, 0, 0, 0, 0],
    ]) {
      expect(curve.resampled(Uint32Array.from(weights))).toBeCloseTo(repeated(some, weights) as number, 12);
    }
    expect(curve.resampled(new Uint32Array(5))).toBeNull();
  });

  test('over a million pixels it is close to it', () => {
    const random = new Random('many');
    const many = images(6, 200_000).map(({ truth, scores }) => ({
      truth,
      scores: scores.map((score) => score + 0.02 * random.next()),
    }));
    const curve = new PrecisionCurve(many);
    for (const weights of [
      [1, 1, 1, 1, 1, 1],
      [0, 2, 1, 0, 2, 1],
    ]) {
      expect(
        Math.abs((curve.resampled(Uint32Array.from(weights)) as number) - (repeated(many, weights) as number)),
      ).toBeLessThan(1e-3);
    }
  });
});

describe('golden numbers', () => {
  interface Case {
    id: string;
    op: string;
    params: { boxes_xywh: number[][]; divide: number; positives: number; average_precision: number };
    inputs: { scores: string };
    outputs: { mask: string };
  }
  const folder = join(sharedGolden() ?? '', 'applications-golden');
  const manifest = join(folder, 'manifest.json');
  if (!existsSync(manifest)) {
    console.warn(
      'average precision against golden numbers: skipped, as applications-golden is not there (DIFFMINE_SHARED).',
    );
    test.skip('aucpr', () => undefined);
    return;
  }
  const cases = (JSON.parse(readFileSync(manifest, 'utf8')) as { cases: Case[] }).cases.filter(
    ({ op }) => op === 'aucpr',
  );
  test('there are some', () => expect(cases.length).toBeGreaterThanOrEqual(3));
  test.each(cases.map((one) => [one.id, one] as const))('%s', (_, { params, inputs, outputs }) => {
    const { [inputs.scores]: scores, [outputs.mask]: mask } = readSafetensors(join(folder, 'golden.safetensors'), [
      inputs.scores,
      outputs.mask,
    ]);
    if (!scores || !mask) throw new Error('the tensors are missing');
    const [height, width] = scores.shape as [number, number];
    const boxes = params.boxes_xywh.map(([x, y, w, h]) => ({
      x: (x as number) / params.divide,
      y: (y as number) / params.divide,
      width: (w as number) / params.divide,
      height: (h as number) / params.divide,
    }));
    const ours = boxMask(boxes, width, height);
    expect(ours.reduce((sum, one) => sum + one, 0)).toBe(params.positives);
    expect(Array.from(ours)).toEqual(Array.from(mask.data, Number));
    expect(Math.abs((averagePrecision(toFloat32(scores), ours) as number) - params.average_precision)).toBeLessThan(
      2e-6,
    );
  });
});

describe('maps', () => {
  test('bilinear to pixels, held at the edges', () => {
    const { values } = upsample({ values: Float32Array.of(0, 4), width: 2, height: 1 }, 4, 2);
    expect(Array.from(values)).toEqual([0, 1, 3, 4, 0, 1, 3, 4]);
    const square = upsample({ values: Float32Array.of(0, 1, 2, 3), width: 2, height: 2 }, 6, 6).values;
    expect(square[0]).toBe(0);
    expect(square[35]).toBe(3);
    expect(square[2 * 6 + 2]).toBeCloseTo(1 / 3 + 2 / 3, 6);
    const same = { values: Float32Array.of(1, 2), width: 2, height: 1 };
    expect(upsample(same, 2, 1)).toBe(same);
  });

  test('the box mean is over what lies in the image', () => {
    const random = new Random('map');
    const [width, height] = [9, 7];
    const values = Float32Array.from({ length: width * height }, () => random.normal());
    const smooth = boxMean({ values, width, height }, 5).values;
    for (const [x, y] of [
      [0, 0],
      [4, 3],
      [8, 2],
      [1, 6],
    ] as const) {
      const around: number[] = [];
      for (let v = y - 2; v <= y + 2; v++)
        for (let u = x - 2; u <= x + 2; u++)
          if (u >= 0 && v >= 0 && u < width && v < height) around.push(values[v * width + u] as number);
      expect(smooth[y * width + x]).toBeCloseTo(around.reduce((sum, value) => sum + value, 0) / around.length, 6);
    }
    expect(boxMean({ values, width, height }, 1).values).toBe(values);
  });

  test('a mask truncates after adding, unites and is cut at the image', () => {
    const rows = (boxes: number[][]): string[] => {
      const mask = boxMask(
        boxes.map(
          ([x, y, width, height]) =>
            ({ x, y, width, height }) as { x: number; y: number; width: number; height: number },
        ),
        5,
        3,
      );
      return [0, 1, 2].map((y) => Array.from(mask.slice(5 * y, 5 * y + 5)).join(''));
    };
    expect(rows([[0.9, 0.9, 1.2, 1.2]])).toEqual(['11000', '11000', '00000']);
    expect(
      rows([
        [3.5, 1, 9, 9],
        [3, 0, 1, 2],
      ]),
    ).toEqual(['00010', '00011', '00011']);
    expect(
      rows([
        [-4, -4, 2, 2],
        [9, 9, 2, 2],
      ]),
    ).toEqual(['00000', '00000', '00000']);
    expect(peak(Float32Array.of(1, 3, 3, 2))).toBe(1);
  });
});
