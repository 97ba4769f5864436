// The time of a training, told before its first step.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { trainingOperations } from '../../src/models/operations.js';
import { expectedTime, rememberTraining, type TrainCost } from '../../src/stages/train/cost.js';
import { SIZES, unetOfSize } from '../../src/stages/train/sizes.js';

const folder = mkdtempSync(join(tmpdir(), 'diffmine-test-'));
const before = process.env.DIFFMINE_CACHE;
beforeAll(() => {
  process.env.DIFFMINE_CACHE = folder;
});
afterAll(() => {
  if (before === undefined) delete process.env.DIFFMINE_CACHE;
  else process.env.DIFFMINE_CACHE = before;
  rmSync(folder, { recursive: true });
});

const { side, fold } = SIZES.small;
const denoiser = { unet: { config: unetOfSize('small', { classes: 3, fold }), files: [] } };
const cost: TrainCost = {
  base: { vaeFactor: 1, fold },
  denoiser,
  settings: {
    size: side,
    trainBatch: 16,
    gradientAccumulationSteps: 1,
    gradientCheckpointing: false,
    loraRank: 0,
  },
  parameters: 1000,
  device: 'cpu',
  dtype: 'fp32',
  threads: 2,
};
const none = { steps: 0, seconds: 0 };

test('computed from operations at first, from the last training like it afterwards, and from itself when it resumes', async () => {
  const computed = await expectedTime(cost, 4000, none);
  expect(computed).toMatchObject({ from: 'computed' });
  expect(computed?.seconds).toBeGreaterThan(60);
  // twice the steps, images or threads
  expect((await expectedTime(cost, 8000, none))?.seconds).toBeCloseTo(2 * (computed?.seconds as number));
  const larger = { ...cost, settings: { ...cost.settings, trainBatch: 32 } };
  expect((await expectedTime(larger, 4000, none))?.seconds).toBeCloseTo(2 * (computed?.seconds as number));
  expect((await expectedTime({ ...cost, threads: 4 }, 4000, none))?.seconds).toBeCloseTo(
    (computed?.seconds as number) / 2,
  );

  await rememberTraining(cost, { steps: 3, seconds: 100 }); // too few to be worth it
  expect(await expectedTime(cost, 4000, none)).toEqual(computed);
  await rememberTraining(cost, { steps: 100, seconds: 50 });
  expect(await expectedTime(cost, 4000, none)).toEqual({ seconds: 2000, from: 'earlier' });
  expect(await expectedTime(larger, 4000, none)).toMatchObject({ from: 'computed' });

  expect(await expectedTime(cost, 4000, { steps: 1000, seconds: 3000 })).toEqual({ seconds: 9000, from: 'itself' });
});

test('unknown on a GPU that no training ran on', async () => {
  const gpu = { ...cost, device: 'NVIDIA H100' };
  expect(await expectedTime(gpu, 100, none)).toBeUndefined();
  await rememberTraining(gpu, { steps: 20, seconds: 10 });
  expect(await expectedTime(gpu, 100, none)).toEqual({ seconds: 50, from: 'earlier' });
});

test('LoRA spares a pass, gradient checkpointing adds one', () => {
  const passes = (lora: boolean, checkpointing: boolean): number =>
    trainingOperations(denoiser, { rows: 16, columns: 16 }, { batch: 1, lora, checkpointing });
  const one = passes(false, false) / 3;
  expect([passes(true, false), passes(false, true), passes(true, true)].map((all) => all / one)).toEqual([2, 4, 3]);
});
