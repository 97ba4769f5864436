// Which images are held out: a function of their names alone, so that `train` and `scan` agree and added images move no others.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { heldOut } from '../../src/data/holdout.js';
import { ImageListBuilder, openDataset, type ImageList } from '../../src/data/index.js';
import { DEFAULT_RANGE } from '../../src/models/denoiser.js';
import { scoredRange, trainingOf } from '../../src/models/training.js';
import type { ModelFolder } from '../../src/models/index.js';
import { unseen } from '../../src/pipeline/resolve.js';
import { temporaryFolder } from '../helpers/folders.js';

const scratch = temporaryFolder();

function list(...images: [path: string, label: string][]): ImageList {
  const builder = new ImageListBuilder();
  for (const [name, label] of images) builder.add({ path: name, file: `/d/${name}`, label, bytes: 1, mtime: 1 });
  return builder.build().images;
}
const numbered = (label: string, count: number): [string, string][] =>
  Array.from({ length: count }, (_, i) => [`${label}/${i}.png`, label]);

describe('held-out images', () => {
  test('are about the fraction of each label', () => {
    const chosen = heldOut(list(...numbered('a', 2000), ...numbered('b', 2000)), 0.2);
    const of = (label: string): number => [...chosen].filter((name) => name.startsWith(`${label}/`)).length;
    expect(of('a') / 2000).toBeCloseTo(0.2, 1);
    expect(of('b') / 2000).toBeCloseTo(0.2, 1);
  });

  test('stay where they are when images are added, and a larger fraction contains a smaller one', () => {
    const few = heldOut(list(...numbered('a', 40)), 0.2);
    const more = heldOut(list(...numbered('a', 80), ...numbered('b', 9)), 0.2);
    expect([...few]).toEqual([...more].filter((name) => name.startsWith('a/') && Number(/\d+/.exec(name)) < 40));
    const larger = heldOut(list(...numbered('a', 40)), 0.5);
    expect([...few].filter((name) => !larger.has(name))).toEqual([]);
    expect(larger.size).toBeGreaterThan(few.size);
  });

  test('are never all of a label, and those of two labels are held out under both', () => {
    expect(heldOut(list(...numbered('a', 40)), 0.999999).size).toBe(39);
    expect(heldOut(list(['a/1.png', 'a']), 0.999999).size).toBe(0);
    const both = heldOut(
      list(...numbered('a', 50), ...numbered('a', 50).map(([name]) => [name, 'b'] as [string, string])),
      0.3,
    );
    expect(both).toEqual(heldOut(list(...numbered('a', 50)), 0.3));
  });
});

describe('a model folder', () => {
  const model = (name: string, record?: object): ModelFolder => {
    const folder = path.join(scratch, name);
    mkdirSync(folder, { recursive: true });
    if (record) writeFileSync(path.join(folder, 'train.json'), JSON.stringify(record));
    return { path: folder } as ModelFolder;
  };
  const record = (settings: object, fingerprint = 'f'): object => ({
    format: 'diffmine-train-2',
    settings: { trainTRange: [0, 1], dataset: '/elsewhere', ...settings },
    dataset: { fingerprint },
  });

  test('tells which timesteps to score; an explicit range and the default of the paper stay', async () => {
    const told: string[] = [];
    const narrow = model('narrow', record({ trainTRange: [0.05, 0.4] }));
    expect(await scoredRange(undefined, narrow, (line) => told.push(line))).toEqual([0.05, 0.4]);
    expect(told).toEqual([expect.stringMatching(/0\.05 to 0\.4.*trained on/)]);
    expect(await scoredRange([0.2, 0.3], narrow)).toEqual([0.2, 0.3]);
    expect(await scoredRange(undefined, model('whole', record({})))).toEqual(DEFAULT_RANGE);
    expect(await scoredRange(undefined, model('foreign'))).toEqual(DEFAULT_RANGE);
    const other = model('other', { format: 'something else' });
    expect(await trainingOf(other)).toBeUndefined();
    expect(await scoredRange(undefined, other)).toEqual(DEFAULT_RANGE);
  });

  test('tells which images it has not seen, for its own dataset only', async () => {
    const place = path.join(scratch, 'photos');
    for (const [name] of [...numbered('a', 20), ...numbered('b', 20)]) {
      mkdirSync(path.join(place, path.dirname(name)), { recursive: true });
      writeFileSync(path.join(place, name), 'x');
    }
    const dataset = await openDataset(place);
    const expected = heldOut(dataset.images, 0.3);
    expect(expected.size).toBeGreaterThan(0);
    const log: string[] = [];
    const onLog = (line: string): void => void log.push(line);
    const names = ({ images }: { images: ImageList }): string[] => [...images].map((image) => image.path);

    const held = model('held', record({ holdout: 0.3, dataset: place }));
    const own = await unseen(dataset, undefined, held, onLog);
    expect(own.holdout).toBe(0.3);
    expect(new Set(names(own.dataset))).toEqual(expected);
    expect(log.join('\n')).toMatch(/holdout` 0\.3, as the model was trained; 0 uses all images/);
    // found by its images too, where it was moved
    const moved = model('moved', record({ holdout: 0.3 }, dataset.fingerprint));
    expect((await unseen(dataset, undefined, moved)).holdout).toBe(0.3);

    log.length = 0;
    expect((await unseen(dataset, 0, held, onLog)).dataset.images.length).toBe(40);
    expect(log.join('\n')).toMatch(/also those that the model was trained on/);
    log.length = 0;
    await unseen(dataset, 0.5, held, onLog);
    expect(log.join('\n')).toMatch(/some of these images are among those it was trained on/);

    const validated = model('validated', record({ holdout: null, dataset: place }));
    expect((await unseen(dataset, undefined, validated)).dataset).toBe(dataset);
    expect((await unseen(dataset, undefined, model('another', record({ holdout: 0.3 })))).dataset).toBe(dataset);
    await expect(unseen(dataset, 1e-9, held)).rejects.toMatchObject({ code: 'DATASET_INVALID' });
  });
});
