// Labels that are one condition to a model: said, or refused where all that would be scored is 0. Labels are compared after NFC.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { resolveCotypicality } from '../../src/stages/cotypicality/resolve.js';
import { distinctLabels, findLabel } from '../../src/data/labels.js';
import { clashes, classIds, conditionKeys, difference, openModel, type ModelFolder } from '../../src/models/index.js';
import { int64Numbers } from '../../src/engine/tensor.js';
import { resolveRequest } from '../../src/stages/sample/request.js';
import type { MapOptions, ScanOptions } from '../../src/stages/scan/options.js';
import { resolveOptions } from '../../src/stages/scan/resolve.js';
import { openBase } from '../../src/stages/train/open-base.js';
import { resolveTranslation } from '../../src/stages/translate/resolve.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const root = temporaryFolder();
const TEXT = path.join(GOLDEN, 'tiny-sd15');
const IMAGE = path.join(GOLDEN, 'mini-dataset', '1920', '1920_0.png');
const [NFC, NFD] = ['Köln'.normalize('NFC'), 'Köln'.normalize('NFD')];
const error = (code: string, message: RegExp, hint?: RegExp) =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(message) as unknown,
    ...(hint && { hint: expect.stringMatching(hint) as unknown }),
  });

let count = 0;
/** A dataset with one image of each label, as a table: every label is possible, on every file system. */
function dataset(...labels: string[]): string {
  const folder = path.join(root, `data${++count}`);
  mkdirSync(folder);
  const rows = labels.map((label, i) => {
    cpSync(IMAGE, path.join(folder, `${i}.png`));
    return JSON.stringify({ image: `${i}.png`, label });
  });
  const file = path.join(folder, 'images.jsonl');
  writeFileSync(file, `${rows.join('\n')}\n`);
  return file;
}
/** A class model of these labels. */
function classModel(...labels: string[]): string {
  const folder = path.join(root, `model${++count}`);
  cpSync(path.join(GOLDEN, 'tiny-fold'), folder, { recursive: true });
  const file = path.join(folder, 'model_index.json');
  writeFileSync(
    file,
    JSON.stringify({
      ...(JSON.parse(readFileSync(file, 'utf8')) as object),
      id2label: Object.fromEntries(labels.map((label, id) => [id, label])),
    }),
  );
  return folder;
}
async function scanOf(
  options: Partial<ScanOptions> & MapOptions & { dataset: string },
): Promise<{ told: string[]; resolved: Awaited<ReturnType<typeof resolveOptions>> }> {
  const told: string[] = [];
  const resolved = await resolveOptions(
    { model: TEXT, size: 'source', patch: 16, batch: 8, device: 'cpu', dtype: 'fp32', ...options },
    'test',
    { onLog: (sentence) => told.push(sentence) },
  );
  return { told, resolved };
}
const oneCondition = (told: string[]): string[] => told.filter((sentence) => sentence.includes('to this model'));

describe('what labels differ in', () => {
  let model: ModelFolder;
  beforeAll(async () => {
    model = await openModel(TEXT);
  });
  const long = 'a very long prompt about nothing at all, '.repeat(20);
  test.each([
    [['Paris', 'paris'], /upper and lower case/],
    [[NFC, NFD], /only in Unicode normalization/],
    [['New York', 'New  York'], /white space/],
    [['New York', 'New\u00a0York '], /white space/],
    [[`${NFD} A`, `${NFC}  a`], /case, white space or Unicode normalization/],
    [[`${long} 1920`, `${long} 1950`], /after the first 75 tokens/],
    [['a - b', 'a-b'], /same tokens/],
    [['same', 'same'], /texts are the same/],
  ])('%j', (names, why) => {
    expect(new Set(conditionKeys(model, names)).size).toBe(1);
    expect(difference(model, names)).toMatch(why);
  });

  test('warns once about each group, and not about distinct labels', () => {
    const labels = ['Paris', 'paris', 'London', 'PARIS', 'Oslo', 'oslo', 'other'];
    expect(clashes(model, labels, labels)).toEqual([
      expect.stringMatching(/"Paris", "paris", "PARIS" are one prompt/),
      expect.stringMatching(/"Oslo", "oslo" are one prompt/),
    ]);
    expect(clashes(model, ['1920', '1950', '1980'], ['a', 'b', 'c'])).toEqual([]);
    expect(clashes(model, ['1920', '1950'], ['a car', 'a car'])).toEqual([]);
    expect(clashes(model, ['living_room', 'living room', 'x'], ['living room', 'living room', 'x'])).toEqual([
      expect.stringMatching(/texts are the same/),
    ]);
    const many = Array.from({ length: 20 }, (_, i) => [`label${i}`, `Label${i}`]).flat();
    expect(clashes(model, many, many)).toHaveLength(6);
  });
});

describe('scan', () => {
  test('warns about labels with the same prompt, and scores them against null', async () => {
    const { told } = await scanOf({ dataset: dataset('Paris', 'paris', 'London') });
    expect(oneCondition(told)).toEqual([
      expect.stringMatching(/"Paris", "paris" are one prompt to this model: they differ only in upper and lower case/),
    ]);
  });
  test.each([
    ['others', ['Paris', 'paris'], /"Paris", "paris" are compared with labels that are the same/],
    ['paris', ['Paris', 'paris', 'London'], /label "Paris" is the same to this model as "paris" of `against`/],
    [NFD, [NFC, NFD], /"K.*ln" is the same .* Unicode normalization/],
  ])('--against %s of %j is refused: all would be 0', async (against, labels, message) => {
    await expect(scanOf({ dataset: dataset(...labels), against })).rejects.toEqual(error('INVALID_ARGUMENT', message));
    await expect(scanOf({ dataset: dataset(...labels), against, allLabels: true })).rejects.toEqual(
      error('INVALID_ARGUMENT', message),
    );
    await expect(scanOf({ dataset: dataset(...labels), against, localize: 'own' })).rejects.toEqual(
      error('INVALID_ARGUMENT', message),
    );
  });
  test.each([
    ['null', 'the null prompt'],
    ['others', 'all other labels'],
  ])('warns that --against %s is not the label of that name', async (against, means) => {
    const warning = `Warning: \`against\` ${against} means ${means}, not the label '${against}'`;
    const { told } = await scanOf({ dataset: dataset(against, 'b', 'c'), against });
    expect(told.filter((line) => line.startsWith(warning))).toHaveLength(1);
    for (const other of [{ against: 'b' }, {}])
      expect((await scanOf({ dataset: dataset(against, 'b', 'c'), ...other })).told.join('\n')).not.toContain(means);
  });
  test('warns about --against others with a third label', async () => {
    const { told } = await scanOf({ dataset: dataset('Paris', 'paris', 'London'), against: 'others' });
    expect(oneCondition(told)).toHaveLength(1);
  });
  test('a null prompt that is the prompt of a label is refused, unless something else is asked for', async () => {
    const options = { dataset: dataset('Photo', 'car'), prompt: '{label}', nullPrompt: 'photo' };
    await expect(scanOf(options)).rejects.toEqual(
      error('INVALID_ARGUMENT', /prompt of the label "Photo" is the null prompt "photo"/, /`nullPrompt`/),
    );
    for (const against of ['others', 'car']) expect(await scanOf({ ...options, against })).toBeDefined();
  });
  test.each([
    [
      'the same text',
      { prompt: 'A car.', nullPrompt: 'A car.' },
      ['1920', '1950'],
      /prompts of the labels "1920", "1950" are the null prompt "A car." .*texts are the same/,
    ],
    ['another case', { prompt: 'A CAR', nullPrompt: 'a car' }, ['1920'], /upper and lower case/],
    [
      'one of the labels',
      { prompt: '{label}', nullPrompt: 'photo' },
      ['Photo', 'car'],
      /prompt of the label "Photo" is the null prompt "photo"/,
    ],
    [
      'cut before the label',
      { prompt: `${'a car '.repeat(50)}{label}`, nullPrompt: 'a car '.repeat(50) },
      ['1920', '1950'],
      /after the first 75 tokens/,
    ],
  ])('a prompt that is the null prompt is refused: %s', async (_, prompts, labels, message) => {
    await expect(scanOf({ dataset: dataset(...labels), ...prompts, against: 'null' })).rejects.toEqual(
      error('INVALID_ARGUMENT', message, /`nullPrompt`/),
    );
    await expect(scanOf({ dataset: dataset(...labels), ...prompts, localize: 'own' })).rejects.toEqual(
      error('INVALID_ARGUMENT', message),
    );
  });
  test('the null prompt does not matter where labels are compared with labels', async () => {
    await expect(
      scanOf({ dataset: dataset('photo', 'car'), nullPrompt: 'photo', against: 'others' }),
    ).resolves.toBeDefined();
  });
});

describe('labels are compared after NFC', () => {
  test('findLabel and distinctLabels', () => {
    expect(findLabel([NFD], NFC)).toBe(NFD);
    expect(findLabel([NFD, NFC], NFC)).toBe(NFC);
    expect(findLabel([NFD], 'Koln')).toBeUndefined();
    expect(distinctLabels([NFD, 'a', NFC, 'b'])).toEqual([NFD, 'a', 'b']);
  });
  test('a class model knows both ways of writing, and says that two of them are one class', async () => {
    const model = classModel(NFC, 'Zürich', 'c');
    expect(int64Numbers(classIds(await openModel(model), [NFD, NFC, 'Zürich'.normalize('NFD')]))).toEqual([0, 0, 1]);
    expect(oneCondition((await scanOf({ dataset: dataset(NFD, 'c'), model })).told)).toEqual([]);
    expect(oneCondition((await scanOf({ dataset: dataset(NFD, NFC), model, against: 'null' })).told)).toEqual([
      expect.stringMatching(/are one class to this model: they differ only in Unicode normalization/),
    ]);
    await expect(scanOf({ dataset: dataset('Koln'), model })).rejects.toEqual(
      error('DATASET_INVALID', /does not have the label "Koln" of the dataset/, /'Köln'/),
    );
    // A model may have both: then each is the one that is written.
    expect(int64Numbers(classIds(await openModel(classModel(NFC, NFD, 'c')), [NFD, NFC]))).toEqual([1, 0]);
  });
  test('--against, and --labels of localize', async () => {
    const data = dataset(NFD, 'b');
    const { resolved } = await scanOf({ dataset: data, against: NFC });
    expect(resolved.draft.options.against).toBe(NFD);
    expect(resolved.draft.conditions).toEqual(['b']);
    const mapped = await scanOf({ dataset: data, localize: [NFC] });
    expect(mapped.resolved.draft.options.localize).toEqual([NFD]);
    expect(mapped.resolved.draft.conditions).toEqual([NFD]);
    const model = classModel(NFC, 'b', 'c');
    const others = await scanOf({ dataset: data, model, localize: 'all', against: 'others' });
    expect(others.resolved.labels).toEqual(expect.arrayContaining([NFD, 'b', 'c']));
    expect(others.resolved.labels).toHaveLength(3);
  });
  test('--to of translate: no image is translated to its own label', async () => {
    const { draft, images } = await resolveTranslation({
      dataset: dataset(NFD, 'b'),
      model: TEXT,
      out: path.join(root, 'out'),
      to: [NFC],
      device: 'cpu',
      dtype: 'fp32',
      batch: 8,
    });
    expect(draft.labels).toEqual([NFD]);
    expect(images.map(({ label }) => label)).toEqual(['b']);
  });
  test('--labels of sample', async () => {
    const { record } = await resolveRequest({
      model: classModel(NFC, 'b', 'c'),
      out: path.join(root, 'out'),
      labels: [NFD, NFC],
      device: 'cpu',
      dtype: 'fp32',
    });
    expect(record.labels.map(({ label }) => label)).toEqual([NFC]);
  });
});

describe('elsewhere', () => {
  test('sample', async () => {
    const told: string[] = [];
    await resolveRequest(
      {
        model: TEXT,
        out: path.join(root, 'out'),
        labels: ['Paris', 'paris', 'photo'],
        nullPrompt: 'Photo',
        device: 'cpu',
        dtype: 'fp32',
      },
      { onLog: (sentence) => told.push(sentence) },
    );
    expect(told).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/"Paris", "paris" are one prompt/),
        expect.stringMatching(/prompt of "photo" is the null prompt "Photo".*guidance has no effect/),
      ]),
    );
  });
  test('translate', async () => {
    const told: string[] = [];
    const options = {
      dataset: dataset('Paris', 'paris', 'photo'),
      model: TEXT,
      out: path.join(root, 'out'),
      nullPrompt: 'Photo',
      negative: 'null',
      device: 'cpu',
      dtype: 'fp32',
      batch: 8,
    } as const;
    await resolveTranslation(options, { onLog: (sentence) => told.push(sentence) });
    expect(told).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/"Paris", "paris" are one prompt .* changes nothing/),
        expect.stringMatching(/prompt of "photo" is the null prompt "Photo"/),
      ]),
    );
  });
  test('cotypicality: every label must be a distinct condition', async () => {
    const parallel = path.join(root, 'parallel');
    for (const [own, other] of [
      ['car', 'photo'],
      ['photo', 'car'],
    ]) {
      mkdirSync(path.join(parallel, own as string, '0'), { recursive: true });
      for (const name of ['source', other]) cpSync(IMAGE, path.join(parallel, own as string, '0', `${name}.png`));
    }
    const options = {
      parallel,
      model: TEXT,
      out: path.join(root, 'out'),
      device: 'cpu',
      dtype: 'fp32',
      batch: 8,
      patch: 16,
    } as const;
    await expect(resolveCotypicality(options, {})).resolves.toMatchObject({ labels: ['car', 'photo'] });
    await expect(resolveCotypicality({ ...options, nullPrompt: 'Photo' }, {})).rejects.toEqual(
      error(
        'INVALID_ARGUMENT',
        /prompt of "photo" is the null prompt "Photo" to this model \(they differ only in upper and lower case\)/,
      ),
    );
    const prompt = `${'a car '.repeat(50)}{label}`;
    await expect(resolveCotypicality({ ...options, prompt }, {})).rejects.toEqual(
      error(
        'INVALID_ARGUMENT',
        /"car", "photo" are one prompt to this model: they differ only after the first 75 tokens/,
      ),
    );
  });
  test('train', async () => {
    const named = { from: null, new: null, vae: null, textEncoder: null, fold: null };
    const told: string[] = [];
    const log = (sentence: string): void => void told.push(sentence);
    (await openBase({ ...named, from: TEXT })).checkLabels(
      ['Paris', 'paris', 'photo'],
      { prompt: '{label}', nullPrompt: 'Photo', size: 64 },
      log,
    );
    expect(told.splice(0)).toEqual([
      expect.stringMatching(/"Paris", "paris" are one prompt/),
      expect.stringMatching(/"photo" is the null prompt "Photo"/),
    ]);
    (await openBase({ ...named, new: 'tiny' })).checkLabels(
      [NFC, NFD, 'paris', 'Paris'],
      { prompt: null, nullPrompt: null, size: 32 },
      log,
    );
    expect(told).toEqual([expect.stringMatching(/are one class to this model: .* Unicode normalization/)]);
  });
});
