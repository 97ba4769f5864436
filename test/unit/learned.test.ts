// Whether a model has learned its labels, from losses.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { learnedOf, lossRatioOf, verdictOf, warnBarelyTrained } from '../../src/models/learned.js';
import { trainingOf, type Learned } from '../../src/models/training.js';
import { temporaryFolder } from '../helpers/folders.js';

/** `helped` of 100 images gain `gain`, the others lose a tenth of it. */
const pairs = (helped: number, gain: number): { label: string; loss: number; others: number }[] =>
  Array.from({ length: 100 }, (_, i) => ({
    label: i % 2 === 0 ? 'a' : 'b',
    loss: 0.1,
    others: 0.1 + (i < helped ? gain : -gain / 10),
  }));

test('the verdict needs a gain that is not chance, most images, and a loss that has leveled off', () => {
  expect(verdictOf(pairs(88, 0.001), 0.84)).toBe('yes');
  expect(verdictOf(pairs(88, 0.001), 0.41)).toBe('barely');
  expect(verdictOf(pairs(88, 0.001), null)).toBe('barely');
  expect(verdictOf(pairs(60, 0.001), 0.84)).toBe('barely');
  expect(verdictOf(pairs(5, 0.001), 0.84)).toBe('no');
  expect(verdictOf(pairs(88, -0.001), 0.84)).toBe('no');
  expect(verdictOf(pairs(100, 0.001).slice(0, 1), 0.84)).toBe('no');
});

const RECORD = {
  format: 'diffmine-train-2',
  settings: { dataset: 'photos', holdout: 0.2, trainTRange: [0.05, 0.4] },
  dataset: { fingerprint: 'f' },
};

const folder = temporaryFolder();

test('a damaged record of a training is an error, one of another program is not ours', async () => {
  const written = async (content: string): Promise<unknown> => {
    writeFileSync(path.join(folder, 'train.json'), content);
    return trainingOf({ path: folder });
  };
  expect(await written(JSON.stringify(RECORD))).toEqual(RECORD);
  for (const damaged of [
    { settings: undefined },
    { settings: { dataset: 'photos' } },
    { settings: { ...RECORD.settings, holdout: '0.2' } },
    { settings: { ...RECORD.settings, trainTRange: [0.1] } },
    { dataset: null },
    { learned: { verdict: 'perhaps', step: 1, helped: 1 } },
  ])
    await expect(written(JSON.stringify({ ...RECORD, ...damaged }))).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  for (const foreign of ['{', '[]', 'null', '{"epochs": 3}', '{"format": "other"}'])
    expect(await written(foreign)).toBeUndefined();
});

test('figures of all images, and of each label', () => {
  const { labels, ...all } = learnedOf(pairs(50, 0.1), { step: 7, samples: 8, lossRatio: 1 });
  expect(all).toMatchObject({ images: 100, helped: 0.5, step: 7, lossRatio: 1 });
  expect(all.loss).toBeCloseTo(0.1);
  expect(all.others).toBeCloseTo(0.145);
  expect(labels.map(({ label, images, helped }) => [label, images, helped])).toEqual([
    ['a', 50, 0.5],
    ['b', 50, 0.5],
  ]);
});

test('whether the loss has leveled off', () => {
  expect(lossRatioOf([9, 9, 4, 4, 9, 9, 1, 1])).toBe(0.25);
  expect(lossRatioOf([1, 1, 1])).toBeNull();
});

test('a model folder that has not learned its labels is warned about, others are not', async () => {
  const warned = async (name: string, learned?: Partial<Learned>): Promise<string[]> => {
    const model = path.join(folder, name);
    mkdirSync(model, { recursive: true });
    if (learned) writeFileSync(path.join(model, 'train.json'), JSON.stringify({ ...RECORD, learned }));
    const log: string[] = [];
    await warnBarelyTrained({ path: model }, (line) => log.push(line));
    return log;
  };
  expect(await warned('no', { verdict: 'no', step: 60, helped: 0.52 })).toEqual([
    expect.stringMatching(/has not learned its labels: after 60 steps, they help 52 %/),
  ]);
  expect(await warned('barely', { verdict: 'barely', step: 60, helped: 0.7 })).toHaveLength(1);
  expect(await warned('yes', { verdict: 'yes', step: 60, helped: 0.9 })).toEqual([]);
  expect(await warned('foreign')).toEqual([]);
});
