// Whether two precisions rank alike: figures made by hand.
import { rankFigures, spearman, type RankedPatch } from '../../src/tools/bench/ranking.js';

const patch = (image: string, typicality: number, row = 0, column = 0): RankedPatch => ({
  image,
  row,
  column,
  patch: 8,
  typicality,
});

test("Spearman's correlation: ties share their mean rank", () => {
  expect(spearman([1, 2, 3, 4], [10, 20, 30, 40])).toBe(1);
  expect(spearman([1, 2, 3, 4], [4, 3, 2, 1])).toBe(-1);
  expect(spearman([1, 2, 3], [1, 3, 2])).toBeCloseTo(0.5, 12);
  expect(spearman([1, 1, 2, 3], [1, 2, 3, 4])).toBeCloseTo(4.5 / Math.sqrt(4.5 * 5), 12);
  expect(spearman([1, 1], [1, 2])).toBeNaN();
});

test('the same scan twice', () => {
  const patches = [patch('a', 3), patch('b', 2), patch('a', 1, 20, 20)];
  expect(
    rankFigures(
      'x',
      [
        [1, 1],
        [2, 2],
      ],
      patches,
      patches,
      2,
    ),
  ).toEqual({
    label: 'x',
    images: 2,
    imageCorrelation: 1,
    candidates: 3,
    matched: 3,
    same: 3,
    candidateCorrelation: 1,
    change: 0,
    top: 2,
    kept: 2,
    largestFall: 0,
    firstLost: null,
    unmatched: 0,
  });
});

test('a patch that moved by a little is the same one, one elsewhere is not', () => {
  const first = [patch('a', 4, 0, 0), patch('b', 3, 0, 0), patch('c', 2, 0, 0), patch('d', 1, 0, 0)];
  // a moved by one pixel and fell to the third place; c was chosen elsewhere; d rose to the top
  const second = [patch('d', 5, 0, 0), patch('b', 3.5, 0, 0), patch('a', 2.5, 1, 0), patch('c', 2, 7, 7)];
  const figures = rankFigures('x', [], first, second, 3);
  expect(figures).toMatchObject({
    candidates: 4,
    matched: 3,
    same: 2,
    top: 3,
    kept: 2,
    largestFall: 2,
    firstLost: 3,
    unmatched: 1,
  });
  expect(rankFigures('x', [], first, second, 2)).toMatchObject({ kept: 1, firstLost: 1, largestFall: 2, unmatched: 0 });
  expect(figures.candidateCorrelation).toBeCloseTo(spearman([4, 3, 1], [2.5, 3.5, 5]), 12);
  expect(figures.change).toBeCloseTo(Math.sqrt((1.5 ** 2 + 0.5 ** 2 + 4 ** 2) / 3) / Math.sqrt(1.25), 12);
});

test('a patch of the second run serves one of the first alone', () => {
  const first = [patch('a', 2, 0, 0), patch('a', 1, 2, 0)];
  expect(rankFigures('x', [], first, [patch('a', 2, 1, 0)], 2)).toMatchObject({ matched: 1, unmatched: 1 });
});
