// The names of a DiT's classes, as ImageNet has them: several for a class, and one for several classes.
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { classFinder, readClassNames } from '../../src/models/class-names.js';
import { checkLabels, classIds, openModel, type ModelFolder } from '../../src/models/index.js';
import { int64Numbers } from '../../src/engine/tensor.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const NAMES = ['tench, Tinca tinca', 'crane', 'golden retriever', 'crane', 'maillot', 'maillot, tank suit'];
const ID2LABEL = Object.fromEntries(NAMES.map((name, id) => [id, name]));
const folder = path.join(temporaryFolder(), 'dit');

const error = (code: string, message: RegExp, hint?: RegExp) =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(message) as unknown,
    ...(hint && { hint: expect.stringMatching(hint) as unknown }),
  });

describe('class names', () => {
  const { labels, names } = readClassNames('model', ID2LABEL, 6);

  test('a class is called by its first name, by all where another has that, or by its number', () => {
    expect(labels).toEqual(['tench', '1', 'golden retriever', '3', '4', 'maillot, tank suit']);
    expect(names[0]).toEqual(['tench', 'Tinca tinca', 'tench, Tinca tinca']);
  });

  test.each([
    ['tench', [0]],
    ['Tinca tinca', [0]],
    ['tench, Tinca tinca', [0]],
    ['Golden_Retriever', [2]],
    ['tank suit', [5]],
    ['5', [5]],
    ['3', [3]],
    ['crane', [1, 3]],
    ['Crane', [1, 3]],
    ['maillot', [4, 5]],
    ['6', []],
    ['heron', []],
  ])('%s means %j', (name, ids) => {
    expect(classFinder({ labels, classNames: names })(name)).toEqual(ids);
  });

  test('without id2label classes are called by their numbers', () => {
    expect(readClassNames('model', undefined, 3)).toEqual({ labels: ['0', '1', '2'], names: [['0'], ['1'], ['2']] });
  });

  test.each([
    [{ 0: 'a', 1: 'b' }, /2 labels in id2label, but num_embeds_ada_norm = 3/],
    [{ 0: 'a', 1: 'b', 3: 'c' }, /no name for class 2/],
    [{ 0: 'a', 1: ' ', 2: 'c' }, /no name for class 1/],
    [{ 0: 'a', 1: 7, 2: 'c' }, /no name for class 1/],
  ])('%j is refused', (id2label, message) => {
    expect(() => readClassNames('model', id2label, 3)).toThrow(error('MODEL_INVALID', message));
  });
});

describe('a DiT folder', () => {
  let model: ModelFolder;
  beforeAll(async () => {
    cpSync(path.join(GOLDEN, 'tiny-dit'), folder, { recursive: true });
    const file = path.join(folder, 'model_index.json');
    writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, 'utf8')) as object), id2label: ID2LABEL }));
    model = await openModel(folder);
  });

  test('is a class-conditional latent model with a transformer', () => {
    expect(model).toMatchObject({
      kind: 'latent',
      conditioning: 'class',
      sampleSize: 64,
      vaeFactor: 8,
      sizeMultiple: 16,
      source: { transformer: { config: { kind: 'dit', numLayers: 3, numClasses: 6, patchSize: 2 } } },
    });
    expect(model.source.unet).toBeUndefined();
    expect(model.summary()).toMatchObject({ architecture: 'dit', prediction: 'epsilon' });
    expect(model.summary().parts).toHaveProperty('transformer');
  });

  test('matches labels to classes; the null class comes after them', () => {
    expect(int64Numbers(classIds(model, ['Tinca tinca', '3', null, 'maillot, tank suit']))).toEqual([0, 3, 6, 5]);
    expect(() => classIds(model, ['crane'])).toThrow(error('INVALID_ARGUMENT', /2 classes named 'crane'/, /1 or 3/));
    expect(() => classIds(model, ['tenche'])).toThrow(error('INVALID_ARGUMENT', /'tenche'/, /'tench'/));
    expect(() => checkLabels(model, ['tench', 'crane'], 'the dataset')).toThrow(
      error('DATASET_INVALID', /2 classes named 'crane', a label of the dataset/, /1 or 3/),
    );
    expect(() => checkLabels(model, ['tench', 'heron'], 'the dataset')).toThrow(
      error('DATASET_INVALID', /does not have the label "heron" of the dataset/),
    );
  });
});
