// Models trained without label dropout have no null condition: what compares with it or guides by it refuses, or says so.
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { nullAfter, nullConditionOf } from '../../src/models/null-condition.js';
import { scan } from '../../src/stages/scan/scan.js';
import { resolveOptions } from '../../src/stages/scan/resolve.js';
import { Scorer } from '../../src/stages/scan/scorer.js';
import { localize } from '../../src/stages/localize/localize.js';
import { resolveRequest } from '../../src/stages/sample/request.js';
import { resolveTranslation } from '../../src/stages/translate/resolve.js';
import { resolveCotypicality } from '../../src/stages/cotypicality/resolve.js';
import { train } from '../../src/stages/train/train.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const folder = temporaryFolder();
const at = (name: string): string => path.join(folder, name);
const IMAGES = path.join(GOLDEN, 'mini-dataset');
const model = at('model');
const one = at('one');
const both = at('both.csv');
const REFUSED = {
  code: 'INVALID_ARGUMENT',
  message: expect.stringContaining('has no null condition') as string,
  hint: expect.stringContaining('label dropout') as string,
};
const told = (lines: string[]) => ({ onLog: (line: string): void => void lines.push(line) });
const mentions = (lines: string[]): boolean => lines.some((line) => line.includes('has no null condition'));

beforeAll(async () => {
  await train({
    ...{ dataset: IMAGES, new: 'tiny', out: model, drop: 0, steps: 1, trainBatch: 2, holdout: 0, sampleEvery: 99 },
    ...{ device: 'cpu', threads: 1 },
  });
  const labels = readdirSync(IMAGES, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const [first, second] = labels.map(({ name }) => name) as [string, string];
  mkdirSync(one);
  cpSync(path.join(IMAGES, first), path.join(one, first), { recursive: true });
  const [image] = readdirSync(path.join(IMAGES, first));
  writeFileSync(
    both,
    `image,label\n${path.join(IMAGES, first, image ?? '')},${first}\n${path.join(IMAGES, first, image ?? '')},${first}|${second}\n`,
  );
});

const SCAN = { model, size: 32, samples: 2, device: 'cpu', threads: 1 } as const;

test('the training records it, and its image grids use no guidance', async () => {
  const record = JSON.parse(readFileSync(path.join(model, 'train.json'), 'utf8')) as {
    model: { nullCondition: string };
    settings: { sampleGuidanceScale: number };
  };
  expect(record.model.nullCondition).toBe('none');
  expect(record.settings.sampleGuidanceScale).toBe(1);
  expect(await nullAfter(0.1, null)).toBe('trained');
  expect(await nullAfter(0, model)).toBe('none');
  expect(await nullAfter(0, path.join(GOLDEN, 'tiny-sd15'))).toBe('base');
  // records of earlier versions tell by the dropout
  const older = at('older');
  mkdirSync(older);
  const before = { ...record, model: { ...record.model, nullCondition: undefined } };
  writeFileSync(path.join(older, 'train.json'), JSON.stringify(before));
  expect(await nullConditionOf({ path: older })).toBe('none');
});

test('a scan refuses the null condition as a default, and warns where it was asked for', async () => {
  for (const dataset of [one, both])
    await expect(resolveOptions({ ...SCAN, dataset }, '0')).rejects.toMatchObject({
      ...REFUSED,
      hint: expect.stringContaining('`against`') as string,
    });
  const lines: string[] = [];
  await resolveOptions({ ...SCAN, dataset: one, against: 'null' }, '0', told(lines));
  expect(mentions(lines)).toBe(true);
  const quiet: string[] = [];
  await resolveOptions({ ...SCAN, dataset: IMAGES }, '0', told(quiet)); // others
  await resolveOptions({ ...SCAN, dataset: one, untrained: true }, '0', told(quiet)); // random weights have no conditions at all
  expect(mentions(quiet)).toBe(false);
});

test('localize, Scorer, translate, cotypicality and sample', async () => {
  await expect(localize({ ...SCAN, dataset: IMAGES, out: at('maps') })).rejects.toMatchObject(REFUSED);
  await expect(Scorer.open({ model, size: 32, device: 'cpu' })).rejects.toMatchObject(REFUSED);
  await expect(resolveCotypicality({ model, parallel: at('none'), out: at('x') }, {})).rejects.toMatchObject(REFUSED);

  const translate = { model, dataset: IMAGES, out: at('parallel'), inversionSteps: 20, inferenceSteps: 5 };
  const [own, negative]: string[][] = [[], []];
  await resolveTranslation(translate, told(own as string[]));
  await resolveTranslation({ ...translate, negative: 'null' }, told(negative as string[]));
  expect([own, negative].map((lines) => mentions(lines as string[]))).toEqual([false, true]);

  const [plain, guided]: string[][] = [[], []];
  const request = { model, out: at('samples'), device: 'cpu' };
  expect((await resolveRequest(request, told(plain as string[]))).record.options.guidanceScale).toBe(1);
  expect(plain?.join()).toContain('without guidance');
  const asked = await resolveRequest({ ...request, guidanceScale: 2 }, told(guided as string[]));
  expect(asked.record.options.guidanceScale).toBe(2);
  expect(mentions(guided as string[])).toBe(true);
});

test('a model that was tuned without label dropout keeps the null condition it had: told, not refused', async () => {
  const tuned = at('tuned');
  cpSync(path.join(GOLDEN, 'tiny-sd15'), tuned, { recursive: true });
  writeFileSync(
    path.join(tuned, 'train.json'),
    JSON.stringify({
      format: 'diffmine-train-2',
      settings: { dataset: 'x', holdout: null, trainTRange: [0, 1], drop: 0 },
      dataset: { fingerprint: 'f' },
      model: { from: 'sd15', nullCondition: 'base' },
    }),
  );
  const lines: string[] = [];
  await resolveOptions({ ...SCAN, model: tuned, dataset: one }, '0', told(lines));
  expect(lines.join()).toContain('fine-tuned without label dropout');
});

test('other comparisons of such a model work', async () => {
  const summary = await scan({ ...SCAN, dataset: IMAGES, out: at('run') });
  expect(summary.complete).toBe(true);
});
