// The area under the ROC curve against its definition, and its interval against what it promises.
import { auroc } from '../../src/metrics/auroc.js';
import { uniform } from '../helpers/synthetic-run.js';

const plain = (positives: number[], negatives: number[]): number =>
  positives
    .flatMap((a) => negatives.map((b) => (a > b ? 1 : a === b ? 0.5 : 0) as number))
    .reduce((sum, one) => sum + one, 0) /
  (positives.length * negatives.length);

test('counts pairs, ties for a half', () => {
  const next = uniform(5);
  for (let time = 0; time < 20; time++) {
    const draw = (count: number): number[] => Array.from({ length: count }, () => Math.floor(6 * next()));
    const [positives, negatives] = [draw(7), draw(11)];
    expect(auroc(positives, negatives, { bootstrap: 0, seed: 0 })).toEqual({
      value: expect.closeTo(plain(positives, negatives), 12) as number,
      low: null,
      high: null,
    });
  }
  expect(auroc([], [1], { bootstrap: 10, seed: 0 })).toEqual({ value: null, low: null, high: null });
  expect(auroc([2, 3], [0, 1], { bootstrap: 50, seed: 0 })).toEqual({ value: 1, low: 1, high: 1 });
});

test('the interval holds the true area about 95 times of 100, and is the same for the same seed', () => {
  const next = uniform(8);
  // positives uniform in [0.3, 1.3), negatives in [0, 1): the area is 1 - 0.7 ** 2 / 2
  const truth = 1 - 0.7 ** 2 / 2;
  let inside = 0;
  for (let time = 0; time < 200; time++) {
    const positives = Array.from({ length: 40 }, () => 0.3 + next());
    const negatives = Array.from({ length: 60 }, () => next());
    const { low, high } = auroc(positives, negatives, { bootstrap: 200, seed: time });
    if ((low ?? 2) <= truth && truth <= (high ?? -1)) inside += 1;
  }
  expect(inside).toBeGreaterThan(200 * 0.88);
  expect(inside).toBeLessThan(200 * 0.995);
  expect(auroc([1, 3, 5], [2, 4], { bootstrap: 100, seed: 3 })).toEqual(
    auroc([1, 3, 5], [2, 4], { bootstrap: 100, seed: 3 }),
  );
});
