// The trainer through the addon: steps off the event loop, exact resumption, weights that load as a model, clear errors. Numbers: verify and the C++ tests.
import { unetOf } from '../../src/models/denoiser.js';
import path from 'node:path';

import { openModel, type ModelFolder } from '../../src/models/index.js';
import {
  Engine,
  float32,
  readSafetensors,
  readSafetensorsHeader,
  type Tensor,
  type Trainer,
  type TrainerOptions,
  type TrainingBatch,
} from '../../src/engine/index.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const scratch = temporaryFolder();
const settings: TrainerOptions = {
  learningRate: 1e-3,
  seed: 5,
  lrSchedule: 'linear',
  warmup: 2,
  totalSteps: 10,
  maxGradientNorm: 1,
  emaDecay: 0.9,
  minSnr: 5,
};
const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
let model: ModelFolder;
let reference: Record<string, Tensor>;
let batch: TrainingBatch;
const trainers: Trainer[] = [];

const make = async (options = settings, on = engine): Promise<Trainer> => {
  const trainer = await on.createTrainer(model.source, tensor('cond.out.labels'), options);
  trainers.push(trainer);
  return trainer;
};
const tensor = (name: string): Tensor => {
  const found = reference[name];
  if (!found) throw new Error(`no ${name}`);
  return found;
};
const data = (found: Tensor | undefined): number[] => Array.from(float32(found ?? tensor('absent')));

beforeAll(async () => {
  reference = readSafetensors(path.join(GOLDEN, 'tiny-fold-golden/golden.safetensors'));
  model = await openModel(path.join(GOLDEN, 'tiny-fold'));
  batch = { x0: tensor('train.in.x0'), conditions: [0, 1, 2, 3] };
});
afterAll(async () => {
  await Promise.all(trainers.map((trainer) => trainer.dispose()));
  await engine.dispose();
});

test('a training resumes exactly, and exports a UNet', async () => {
  const whole = await make();
  const steps = [];
  for (let i = 0; i < 4; i++) steps.push(await whole.step([batch]));
  expect(steps.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
  expect(steps.map(({ learningRate }) => learningRate)).toEqual([0.5e-3, 1e-3, 1e-3, expect.closeTo(7e-3 / 8, 9)]);

  const state = path.join(scratch, 'state.safetensors');
  const first = await make();
  await first.step([batch]);
  await first.step([batch]);
  await first.save(state);
  const second = await make();
  expect(await second.load(state)).toBe(2);
  expect([await second.step([batch]), await second.step([batch])]).toEqual(steps.slice(2));
  const names = ['conv_in.weight', 'class_embedding.weight'];
  expect(await second.tensors('weights', names)).toEqual(await whole.tensors('weights', names));
  const averages = await whole.tensors('averages', names);
  expect(averages).not.toEqual(await whole.tensors('weights', names));

  const file = path.join(scratch, 'unet.safetensors');
  await whole.exportWeights(file, true);
  expect(readSafetensors(file, names)).toEqual(averages);
  const stored = readSafetensorsHeader(unetOf(model.source).files[0] ?? '').tensors;
  const shapes = (tensors: typeof stored): Record<string, number[]> =>
    Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]));
  expect(shapes(readSafetensorsHeader(file).tensors)).toEqual(shapes(stored));
  await engine.loadModel({ ...model.source, unet: { ...unetOf(model.source), files: [file] } });
});

test('gradients are there between accumulate and update, and a validation trains nothing', async () => {
  const trainer = await make();
  expect(await trainer.tensors('gradients', ['conv_in.bias'])).toEqual({});
  const before = await trainer.evaluate(batch, 1);
  expect(await trainer.evaluate(batch, 1)).toBe(before);
  expect(await trainer.evaluate(batch, 2n)).not.toBe(before);
  await trainer.accumulate(
    {
      x0: tensor('train.in.x0'),
      conditions: [0, 1, 2, 3],
      noise: tensor('train.in.noise'),
      timesteps: [1, 20, 500, 999],
    },
    4,
  );
  const { 'conv_in.bias': gradient } = await trainer.tensors('gradients', ['conv_in.bias']);
  expect(Math.max(...data(gradient).map(Math.abs))).toBeGreaterThan(1e-5);
  await expect(trainer.save(path.join(scratch, 'half.safetensors'))).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('between steps'),
  });
  await trainer.update();
  expect(await trainer.tensors('gradients', ['conv_in.bias'])).toEqual({});
});

test('the average predicts as a model with its exported weights does, and leaves the weights alone', async () => {
  const trainer = await make({ learningRate: 1e-2, emaDecay: 0.5, tBegin: 100, tEnd: 300, wideFraction: 0.2 });
  await trainer.step([batch]);
  await trainer.step([batch]);
  const input = { x: tensor('train.in.x0'), timesteps: [3, 200, 500, 999], conditions: [0, 1, 2, 3] };
  const loss = await trainer.evaluate(batch, 5);
  expect(Math.abs((await trainer.evaluate(batch, 5, true)) - loss)).toBeGreaterThan(1e-6);
  const output = await trainer.predict(input, true);
  expect(output.shape).toEqual(input.x.shape);
  expect(await trainer.evaluate(batch, 5)).toBe(loss);
  expect(await trainer.predict(input)).not.toEqual(output);

  const file = path.join(scratch, 'averages.safetensors');
  await trainer.exportWeights(file, true);
  const other = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
  await other.loadModel({ ...model.source, unet: { ...unetOf(model.source), files: [file] } });
  const prepared = await other.prepareConditions(tensor('cond.out.labels'));
  const { sample } = await other.unetForward(prepared, {
    x: input.x,
    timesteps: input.timesteps,
    conditionIndex: input.conditions,
  });
  const want = data(sample);
  expect(Math.max(...data(output).map((value, i) => Math.abs(value - (want[i] ?? NaN))))).toBeLessThan(5e-5);
  await other.dispose();
  await expect(trainer.predict({ ...input, timesteps: [1] })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('input.timesteps'),
  });
});

test('low-rank updates, with checkpointing: the file they are exported to, merged at load, predicts as the trainer does', async () => {
  const trainer = await make({ learningRate: 1e-2, lora: { rank: 2, alpha: 4 }, checkpointing: true });
  const input = { x: tensor('train.in.x0'), timesteps: [3, 200, 500, 999], conditions: [0, 1, 2, 3] };
  const base = data(await trainer.predict(input));
  for (let i = 0; i < 3; i++) expect((await trainer.step([batch])).skipped).toBe(false);
  const want = data(await trainer.predict(input));
  const away = (from: number[], to: number[]): number =>
    Math.max(...from.map((value, i) => Math.abs(value - (to[i] ?? NaN))));
  expect(away(want, base)).toBeGreaterThan(1e-4);

  const file = path.join(scratch, 'pytorch_lora_weights.safetensors');
  await trainer.exportWeights(file, false);
  const { tensors } = readSafetensorsHeader(file);
  expect(Object.keys(tensors).every((name) => /^unet\..+\.to_(q|k|v|out\.0)\.lora_[AB]\.weight$/.test(name))).toBe(
    true,
  );
  const predict = async (scale: number): Promise<number[]> => {
    const other = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
    await other.loadModel({ ...model.source, unet: { ...unetOf(model.source), lora: { file, scale } } });
    const prepared = await other.prepareConditions(tensor('cond.out.labels'));
    const { sample } = await other.unetForward(prepared, {
      x: input.x,
      timesteps: input.timesteps,
      conditionIndex: input.conditions,
    });
    await other.dispose();
    return data(sample);
  };
  expect(away(await predict(1), want)).toBeLessThan(5e-5);
  expect(away(await predict(0), base)).toBeLessThan(5e-5);
  await expect(make({ learningRate: 1, lora: { rank: 0, alpha: 4 } })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringMatching(/rank/),
  });
});

test('wrong arguments, a diverging batch, a disposed trainer and another engine are errors with a code', async () => {
  const trainer = await make({ learningRate: 1e-3 });
  const invalid = (message: RegExp): object => ({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(message) });
  await expect(make({ learningRate: -1 })).rejects.toMatchObject(invalid(/learning rate/));
  await expect(make({ learningRate: 1, lrSchedule: 'cosine' })).rejects.toMatchObject(invalid(/total steps/));
  await expect(make({ learningRate: 1, tEnd: 1001 })).rejects.toMatchObject(invalid(/options.tEnd/));
  await expect(trainer.update()).rejects.toMatchObject(invalid(/no gradients/));
  await expect(trainer.step([{ ...batch, conditions: [0, 1, 2, 9] }])).rejects.toMatchObject(
    invalid(/condition .*outside/),
  );
  await expect(trainer.step([{ ...batch, timesteps: [1] }])).rejects.toMatchObject(invalid(/batch.timesteps/));
  await expect(trainer.tensors('weights', ['surprise'])).rejects.toMatchObject(invalid(/surprise/));
  await expect(trainer.load(unetOf(model.source).files[0] ?? '')).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  const weights = await trainer.tensors('weights', ['conv_in.bias']);
  const broken = { ...tensor('train.in.x0'), data: tensor('train.in.x0').data.slice() };
  new DataView(broken.data.buffer).setUint32(0, 0x7fc00000, true);
  await expect(trainer.step([{ ...batch, x0: broken }])).rejects.toMatchObject({
    code: 'NUMERICS',
    message: expect.stringContaining('diverged'),
  });
  expect(await trainer.tensors('weights', ['conv_in.bias'])).toEqual(weights);

  const other = new Engine({ device: 'cpu', dtype: 'bf16', threads: 1 });
  const theirs = await make({ learningRate: 1e-3 }, other);
  expect((await theirs.step([batch])).loss).toBeCloseTo((await trainer.step([batch])).loss, 1);
  await theirs.dispose();
  await expect(theirs.update()).rejects.toMatchObject(invalid(/disposed/));
  trainers.pop();
  await other.dispose();
});
