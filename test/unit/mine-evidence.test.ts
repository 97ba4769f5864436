// Images held out from clustering: which they are, what may be learned, and clusters learned from a part of the patches.
import { ImageList } from '../../src/data/index.js';
import { Engine, fromFloat32 } from '../../src/engine/index.js';
import { cluster } from '../../src/pipeline/cluster.js';
import { discriminants } from '../../src/stages/mine/discriminant.js';
import { HeldOut, untested } from '../../src/stages/mine/evidence.js';
import { uniform } from '../helpers/synthetic-run.js';

const images = (labels: Record<string, number>): ImageList =>
  ImageList.from(
    Object.entries(labels).flatMap(([label, count]) =>
      Array.from({ length: count }, (_, i) => {
        const path = `${label}/series${Math.floor(i / 4)}/${i}.png`;
        return { path, label, file: `/${path}`, bytes: 1 };
      }),
    ),
  );
const alone = (path: string): string => path;

test('at most a quarter of a label is held out, and never learned from', () => {
  const list = images({ a: 40, b: 400, c: 12 });
  const held = HeldOut.choose(list, 50, 0, alone);
  const [a, b] = [held.of('a'), held.of('b')];
  expect([a?.own.length, a?.others.length, a?.count]).toEqual([10, 30, 40]);
  expect(b?.own.length).toBe(50);
  expect(held.of('c')).toBeUndefined(); // three images of twelve are too few
  expect(a?.others.every(({ label }) => label === 'b')).toBe(true);
  const learned = [...list].filter(({ path, label }) => label === 'a' && held.mayLearn('a', path, label));
  expect(learned).toHaveLength(30);
  expect(learned.some(({ path }) => a?.own.some((one) => one.path === path))).toBe(false);
  expect(HeldOut.choose(list, 50, 0, alone).of('a')).toEqual(a);
  expect(HeldOut.choose(list, 50, 1, alone).of('a')).not.toEqual(a);
  expect(HeldOut.choose(list, 0, 0, alone).of('a')).toBeUndefined();
});

test('nothing is learned from other images of a held-out series', () => {
  const series = (path: string): string => path.split('/').slice(0, 2).join('/');
  const list = images({ a: 80, b: 80 });
  const held = HeldOut.choose(list, 10, 0, series);
  const own = new Set(held.of('a')?.own.map(({ path }) => series(path)));
  expect(own.size).toBe(3); // ten images of series of four
  for (const { path, label } of list)
    if (label === 'a') expect(held.mayLearn('a', path, label)).toBe(!own.has(series(path)));
});

test('with one label there is nothing to compare with', () => {
  expect(HeldOut.choose(images({ a: 100 }), 50, 0, alone).of('a')).toBeUndefined();
});

test('labels whose clusters are not tested are named, with what helps', () => {
  const note = (counts: Record<string, number>, wanted = 50, holdout = 0): string[] => {
    const list = images(counts);
    const held = HeldOut.choose(list, wanted, 0, alone);
    return untested(held, Object.keys(counts), list.countByLabel(), { wanted, holdout });
  };
  expect(note({ a: 20, b: 20 })).toEqual([]);
  expect(note({ a: 19, b: 19 }, 0)).toEqual([]);
  expect(note({ a: 19, b: 40, c: 40 })).toEqual([
    'Clusters of "a" are not tested: a label needs 20 images for that. Add images.',
  ]);
  expect(note({ a: 19, b: 19 }, 50, 0.2)).toEqual([
    'Clusters of "a", "b" are not tested: a label needs 20 images for that. Add images or use all of them (--holdout 0).',
  ]);
  expect(note({ a: 19, b: 40 })).toEqual([
    expect.stringContaining('"a"'),
    'Clusters of "b" are not tested: this needs 20 images of another label to compare with.',
  ]);
  expect(note({ a: 40, b: 40 }, 4)).toEqual([expect.stringContaining('at least 5 of each label')]);
});

test('patches that k-means does not learn from go to the nearest center', async () => {
  const next = uniform(2);
  // three groups on a circle; the last third of the patches is not learned from, and one of them lies far out
  const angles = Array.from({ length: 60 }, (_, i) => (i % 3) * 2 + 0.1 * next());
  const values = Float32Array.from(angles.flatMap((angle) => [Math.cos(angle), Math.sin(angle)]));
  values.set([3, 3], 2 * 59);
  const learnFrom = Array.from({ length: 40 }, (_, i) => i);
  const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
  try {
    const typicalities = angles.map((_, i) => 1 - i / 100);
    const options = { clusters: 3, restarts: 5, seed: 0 };
    const part = await cluster(engine, { values, width: 2 }, typicalities, { ...options, learnFrom });
    const few = await cluster(engine, { values: values.slice(0, 80), width: 2 }, typicalities.slice(0, 40), options);
    const sorted = (centers: Float32Array): number[] =>
      [...centers].map((value) => Math.round(1e4 * value)).sort((a, b) => a - b);
    expect(sorted(part.centers)).toEqual(sorted(few.centers)); // the far one moved none of them
    expect(part.clusters.reduce((sum, { size }) => sum + size, 0)).toBe(60);
    part.assignment.slice(0, 59).forEach((label, i) => expect(label).toBe(part.assignment[i % 3]));
    part.distances.forEach((distance, i) => {
      const [x, y] = [0, 1].map(
        (f) => (values[2 * i + f] as number) - (part.centers[2 * (part.assignment[i] as number) + f] as number),
      ) as [number, number];
      expect(distance).toBeCloseTo(Math.hypot(x, y), 4);
    });
  } finally {
    await engine.dispose();
  }
});

test('a discriminant looks past what varies in all windows', () => {
  const next = uniform(4);
  // the first feature varies a lot everywhere; the second tells the element apart
  const window = (nuisance: number, element: number): number[] => [10 * nuisance, element + 0.05 * next()];
  const background = Array.from({ length: 300 }, () => window(next(), 0));
  const tensor = fromFloat32([300, 2], Float32Array.from(background.flat()));
  const center = Float32Array.from([9, 1]);
  const [u, v] = discriminants([tensor], center, 2) as unknown as [number, number];
  const score = ([x, y]: number[]): number => u * (x as number) + v * (y as number);
  const elsewhere = window(0.1, 1); // the element where the nuisance is unlike the center's
  const likeCenter = window(0.9, 0); // no element, but near to the center
  expect(score(elsewhere)).toBeGreaterThan(score(likeCenter));
  const distance = ([x, y]: number[]): number => Math.hypot((x as number) - 9, (y as number) - 1);
  expect(distance(elsewhere)).toBeGreaterThan(distance(likeCenter));
  const flat = fromFloat32([5, 2], new Float32Array(10));
  expect([...discriminants([flat], center, 2)].every(Number.isFinite)).toBe(true);
});
