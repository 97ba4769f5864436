// The estimate of a training: counts against what a training does, and what is refused.
import { join } from 'node:path';
import { unetOfSize } from '../../src/stages/train/sizes.js';
import { operations } from '../../src/models/operations.js';
import { parameterCount } from '../../src/models/parameters.js';
import { findDevice } from '../../src/runs/device.js';
import { autoDtype } from '../../src/runs/dtype.js';
import { estimateTraining } from '../../src/tools/estimate/train.js';
import { architecture } from '../../src/tools/estimate/architectures.js';
import { activationBytes } from '../../src/tools/estimate/training-memory.js';
import { trainingText } from '../../src/cli/commands/estimate-train.js';
import { significant } from '../../src/web/html.js';
import { GOLDEN } from '../helpers/folders.js';

const unet = unetOfSize('tiny', { classes: 3 });

test('without weights or a GPU: steps, operations, memory, hours and price', async () => {
  const found = await estimateTraining({
    like: 'sd15',
    images: 1000,
    epochs: 4,
    trainBatch: 16,
    holdout: 0.2,
    device: 'a100',
    dtype: 'fp16',
    perHour: 2,
  });
  expect(found).toMatchObject({ images: 1000, steps: 200, trainBatch: 16, size: 512, device: 'a100', dtype: 'fp16' });
  // weights, gradients and two moments of 860 million parameters in fp32
  expect(found.parameters / 859.5e6).toBeCloseTo(1, 3);
  expect(found.memory.state).toBe(16 * found.parameters);
  expect(found.memory.fits).toBe(found.memory.total <= 80e9);
  // forward and twice that backward, for 16 images
  expect(found.operations / (3 * 16 * 803.3e9)).toBeCloseTo(1, 2);
  expect(found.rateFrom).toBe('computed');
  expect(found.hours).toBeCloseTo(200 / (found.rate ?? NaN) / 3600, 9);
  expect(found.hoursAtMost ?? 0).toBeGreaterThan(found.hours ?? Infinity);
  expect(found.price).toBeCloseTo(2 * (found.hours ?? NaN), 9);
});

test('disk and least memory: checkpoints of weights, moments and average; one image per pass', async () => {
  const of = (more: object = {}) => estimateTraining({ like: 'sd15', images: 100, device: 'a100', ...more });
  const [plain, average, half, lora] = [
    await of(),
    await of({ keep: 4, ema: 0.999 }),
    await of({ saveDtype: 'fp16' }),
    await of({ loraRank: 8 }),
  ];
  const { parameters, memory, disk } = plain;
  expect(disk).toMatchObject({ checkpoint: 12 * parameters, kept: 3 });
  // with VAE and text encoder, 1.07 billion parameters
  expect((disk?.model ?? NaN) / (4 * 1.066e9)).toBeCloseTo(1, 2);
  expect(disk?.total).toBe(3 * 12 * parameters + (disk?.model ?? NaN));
  expect(disk?.peak).toBe(4 * 12 * parameters);
  expect(average.disk).toMatchObject({ checkpoint: 16 * parameters, kept: 5 });
  expect(half.disk?.model).toBe((disk?.model ?? NaN) / 2);
  expect(lora.disk).toBeNull();
  const one = await of({ trainBatch: 1 });
  expect(memory.least.fp32).toBe(one.memory.total + 1e9);
  expect(memory.least.half).toBeLessThan(memory.least.fp32);
  expect(trainingText(plain)).toMatch(/^GPU memory: +at least 18 GB in fp32, 16 GB in fp16 or bf16 /m);
  expect(trainingText(plain)).toMatch(
    /^disk: +35 GB, 41 GB while a checkpoint is written \(computed: 3 checkpoints of 10 GB, model 4\.3 GB\)$/m,
  );
});

test('numbers for people have no exponents', async () => {
  const found = await estimateTraining({ like: 'demo', images: 180, steps: 20_000, trainBatch: 8, rate: 2841 });
  expect(trainingText(found)).toContain('20,000 of 8 images at 64 px, 890 epochs of 180 images');
  expect(trainingText(found)).toContain('at 2,840 steps per second (given)');
  expect([2.841e6, 0.0000012345, 10, 0].map((value) => significant(value, 2))).toEqual([
    '2,800,000',
    '0.0000012',
    '10',
    '0.0',
  ]);
});

test('LoRA, checkpointing and accumulation change what they save', async () => {
  const of = (more: object) => estimateTraining({ like: 'sd15', images: 100, device: 'a100', ...more });
  const [plain, lora, checkpointed, accumulated] = [
    await of({}),
    await of({ loraRank: 8 }),
    await of({ gradientCheckpointing: true }),
    await of({ gradientAccumulationSteps: 8 }),
  ];
  expect(lora.memory.state).toBe(plain.memory.state / 4);
  expect(lora.operations / plain.operations).toBeCloseTo(2 / 3, 9);
  expect(checkpointed.operations / plain.operations).toBeCloseTo(4 / 3, 9);
  expect(accumulated.memory.activations).toBeCloseTo(plain.memory.activations / 8, 0);
  expect(accumulated.operations).toBe(plain.operations);
});

test('of a size: its defaults, with a moving average; without a rate no hours', async () => {
  const dataset = join(GOLDEN, 'mini-dataset');
  const found = await estimateTraining({ new: 'tiny', dataset, trainBatch: 4, calibrate: false });
  expect(found).toMatchObject({ steps: 1000, trainBatch: 4, size: 32 });
  expect(found.dtype).toBe(autoDtype(findDevice('auto'), 'training').dtype);
  expect(found.images).toBeGreaterThan(0);
  expect(found.parameters).toBe(parameterCount(unet));
  expect(found.operations).toBe(3 * 4 * operations({ unet: { config: unet, files: [] } }, 16, 16));
  expect(found.memory.state).toBe(20 * found.parameters);
  expect(found.hours).toBeUndefined();
});

test('a LoRA of a transformer: operations and weights of its layers', async () => {
  const [dit, sd3] = await Promise.all(
    (['dit', 'sd3'] as const).map((like) => estimateTraining({ like, images: 100, loraRank: 16, device: 'h100' })),
  );
  expect(dit).toMatchObject({ size: 256, steps: 5000, trainBatch: 8 });
  // DiT-XL/2 has 675 million parameters, and in diffusers embeddings of its own in each of 28 blocks; it takes 119 billion multiply-accumulates.
  // A LoRA's step is forward, and of backward the part to the input.
  expect((dit?.parameters ?? 0) / 750e6).toBeCloseTo(1, 1);
  expect((dit?.operations ?? 0) / (2 * 8 * 2 * 118.6e9)).toBeCloseTo(1, 1);
  expect(dit?.memory.state).toBe(4 * (dit?.parameters ?? 0));
  expect(sd3?.size).toBe(1024);
  expect((sd3?.parameters ?? 0) / 2.03e9).toBeCloseTo(1, 1);
  expect(sd3?.hours).toBeGreaterThan(dit?.hours ?? Infinity);
  const own = await estimateTraining({ from: join(GOLDEN, 'tiny-sd35'), images: 10, loraRank: 4, rate: 2 });
  expect(own.hours).toBeCloseTo(5000 / 2 / 3600, 9);
  await expect(estimateTraining({ like: 'dit', images: 10 })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('only a LoRA is trained') as string,
  });
});

test('activations grow with batch and cells, and halve in bf16', () => {
  const { transformer } = architecture('dit').source;
  for (const source of [
    { unet: { config: unet, files: [] } },
    { transformer: transformer as NonNullable<typeof transformer> },
  ]) {
    const one = activationBytes(source, 16, 16, 1, 'fp32');
    expect(one).toBeGreaterThan(0);
    expect(activationBytes(source, 16, 16, 8, 'fp32')).toBe(8 * one);
    expect(activationBytes(source, 32, 32, 1, 'fp32')).toBe(4 * one);
    expect(activationBytes(source, 16, 16, 1, 'bf16')).toBe(one / 2);
  }
});

test.each([
  [{}, 'What is trained is not known.'],
  [{ like: 'sd15', new: 'tiny' }, 'What is trained is not known.'],
  [{ like: 'sd15', epochs: 2 }, '`epochs` needs the number of images.'],
  [{ like: 'sd15', epochs: 2, steps: 3 }, 'both set the length'],
  [{ like: 'sd15', images: 3, dataset: 'photos' }, 'contradict each other'],
  [{ like: 'sd15', images: 3, gradientAccumulationSteps: 3 }, 'equal passes'],
] as const)('%j is refused', async (options, words) => {
  await expect(estimateTraining(options)).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining(words) as string,
  });
});
