// Courses over ordered labels: their shape, how clear they are, and fractions with standard errors.
import { orderedLabels } from '../../src/data/label-order.js';
import { courseOf, fractionOf } from '../../src/metrics/trend.js';
import { Random } from '../../src/util/random.js';

const errors = (n: number, error = 0.04): number[] => new Array<number>(n).fill(error);

test.each([
  ['rising', [0.05, 0.1, 0.2, 0.22, 0.4, 0.5], 5],
  ['falling', [0.5, 0.45, 0.3, 0.2, 0.1, 0.05], 0],
  ['passing', [0.05, 0.2, 0.5, 0.3, 0.1, 0.05], 2],
  ['steady', [0.21, 0.19, 0.2, 0.2, 0.18, 0.22], 5],
])('a %s course', (shape, values, peak) => {
  const course = courseOf(values, errors(6), 1);
  expect(course.shape).toBe(shape);
  if (shape !== 'steady') {
    expect(course.peak).toBe(peak);
    expect(course.clarity).toBeGreaterThan(6);
    // twice the errors, half as clear
    expect(courseOf(values, errors(6, 0.08), 1).clarity).toBeCloseTo(course.clarity / 2, 6);
  }
});

test('a constant with noise is steady in about 95 of 100 cases', () => {
  const random = new Random('course test');
  let steady = 0;
  for (let i = 0; i < 200; i++) {
    const values = errors(8, 0.3).map((value) => value + 0.04 * random.normal());
    if (courseOf(values, errors(8), i).shape === 'steady') steady += 1;
  }
  expect(steady).toBeGreaterThan(178); // 190 expected, four standard deviations
});

test('a fraction has the standard error of its groups', () => {
  const found = [true, true, true, false, false, false, false, false];
  const alone = fractionOf(found, [...found.keys()].map(String));
  expect(alone.fraction).toBe(0.375);
  expect(alone.error).toBeCloseTo(Math.sqrt((0.375 * 0.625) / 7), 12);
  // images of one group that agree are one observation: three of four groups of two
  const pairs = fractionOf(
    [true, true, false, false, false, false, false, false],
    ['a', 'a', 'b', 'b', 'c', 'c', 'd', 'd'],
  );
  expect(pairs.error).toBeCloseTo(Math.sqrt((0.25 * 0.75) / 3), 12);
  expect(fractionOf([false, false], ['a', 'b']).error).toBeGreaterThan(0.2);
});

test('labels that are numbers, years, decades or ranges have an order', () => {
  expect(orderedLabels(['1930s', '1900s', '1910s'])?.map(({ label }) => label)).toEqual(['1900s', '1910s', '1930s']);
  expect(orderedLabels(['1950-1959', '1940–49', '1930'])?.map(({ position }) => position)).toEqual([1930, 1940, 1950]);
  expect(orderedLabels(['0.5', '-2', '10'])?.map(({ position }) => position)).toEqual([-2, 0.5, 10]);
  for (const labels of [
    ['a', 'b', 'c'],
    ['1900s', '1910s'],
    ['1900', '1900s', '1910'],
    ['1900', '1910', 'none'],
    ['1 a', '2 b', '3 c'],
  ])
    expect(orderedLabels(labels)).toBeNull();
});
