// LoRA of diffusion transformers: gradients are those of peft and PyTorch's autograd, files in three conventions give one prediction, and trainings run to the end.
import path from 'node:path';
import { Engine, readSafetensors, writeSafetensors } from '../../src/engine/index.js';
import type { Trainer } from '../../src/engine/index.js';
import { fromFloat32, int64Numbers, toFloat32 } from '../../src/engine/tensor.js';
import type { ConditionInput, Tensor } from '../../src/engine/types.js';
import { openModel, type ModelFolder } from '../../src/models/index.js';
import { train } from '../../src/stages/train/train.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const scratch = temporaryFolder();
/** Made by scripts/golden/lora.py, whose rank and alpha these are. */
const DATA = path.join(__dirname, '..', 'data', 'lora');
const [RANK, ALPHA] = [3, 5];
const KINDS = ['dit', 'sd35'] as const;
type Tensors = Record<string, Tensor>;

const open = (kind: string, lora: string[] = []): Promise<ModelFolder> =>
  openModel(path.join(GOLDEN, `tiny-${kind}`), lora.length > 0 ? { lora } : {});

function conditionsOf(golden: Tensors): ConditionInput {
  const { labels, text, pooled } = golden;
  return labels ?? { text: text as Tensor, pooled: pooled as Tensor };
}

/** Largest difference, as a fraction of the largest reference value. */
function difference(got: Tensor | undefined, wanted: Tensor | undefined): number {
  const [a, b] = [toFloat32(got as Tensor), toFloat32(wanted as Tensor)];
  expect(a.length).toBe(b.length);
  const scale = Math.max(1e-6, ...b.map(Math.abs));
  return Math.max(...a.map((value, i) => Math.abs(value - (b[i] as number)))) / scale;
}

/** A training that has the reference's updates, before its first step. */
async function trainerOf(engine: Engine, kind: string, golden: Tensors, checkpointing: boolean): Promise<Trainer> {
  const { source } = await open(kind);
  const trainer = await engine.createTrainer(source, conditionsOf(golden), {
    learningRate: 1e-3,
    lora: { rank: RANK, alpha: ALPHA },
    checkpointing,
  });
  const state: Tensors = {};
  for (const [name, tensor] of Object.entries(golden)) {
    if (!/^transformer_blocks\..*lora_[AB]\.weight$/.test(name)) continue;
    state[`weight.${name}`] = tensor;
    for (const moment of ['first', 'second'])
      state[`${moment}_moment.${name}`] = fromFloat32(tensor.shape, new Float32Array(tensor.data.length / 4));
  }
  const file = path.join(scratch, `${kind}-${checkpointing}.safetensors`);
  writeSafetensors(file, state, { format: 'diffmine-training-1', step: '0', alpha: ALPHA.toFixed(6) });
  // refused unless these are the tensors that are trained, and all of them
  expect(await trainer.load(file)).toBe(0);
  return trainer;
}

describe.each(KINDS)('%s', (kind) => {
  let golden: Tensors;
  beforeAll(() => {
    golden = readSafetensors(path.join(DATA, `${kind}.safetensors`));
  });

  test.each([false, true])(
    'loss and gradients are those of peft (gradient checkpointing: %s)',
    async (checkpointing) => {
      const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
      try {
        const trainer = await trainerOf(engine, kind, golden, checkpointing);
        const { x0, noise, t, rows } = golden as Record<string, Tensor>;
        const batch = {
          x0: x0 as Tensor,
          noise: noise as Tensor,
          timesteps: int64Numbers(t as Tensor),
          conditions: int64Numbers(rows as Tensor),
        };
        await trainer.accumulate(batch, 2);
        const names = Object.keys(golden).flatMap((name) => (name.startsWith('grad.') ? [name.slice(5)] : []));
        expect(names.length).toBeGreaterThan(20);
        const gradients = await trainer.tensors('gradients', names);
        const far = names.filter((name) => !(difference(gradients[name], golden[`grad.${name}`]) < 1e-3));
        expect(far).toEqual([]);
        expect((await trainer.update()).loss).toBeCloseTo(toFloat32(golden.loss as Tensor)[0] as number, 5);
        // and the file that is written is read as the same model
        const file = path.join(scratch, `${kind}-trained.safetensors`);
        await trainer.exportWeights(file, false, 'fp32');
        expect(Object.keys(readSafetensors(file)).every((name) => name.startsWith('transformer.'))).toBe(true);
        const input = { x: noise as Tensor, timesteps: [310, 740], conditions: [0, 1] };
        const trained = await trainer.predict(input);
        await trainer.dispose();
        await engine.loadModel((await open(kind, [file])).source);
        const conditions = await engine.prepareConditions(conditionsOf(golden));
        const { sample } = await engine.unetForward(conditions, { ...input, conditionIndex: [0, 1] });
        expect(difference(sample, trained)).toBeLessThan(1e-4);
      } finally {
        await engine.dispose();
      }
    },
  );
});

describe('files for Stable Diffusion 3', () => {
  const predict = async (lora: string[]): Promise<Tensor> => {
    const golden = readSafetensors(path.join(DATA, 'sd35.safetensors'));
    const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
    try {
      await engine.loadModel((await open('sd35', lora)).source);
      const conditions = await engine.prepareConditions(conditionsOf(golden));
      const [x0, noise] = [golden.x0, golden.noise].map((one) => toFloat32(one as Tensor)) as [
        Float32Array,
        Float32Array,
      ];
      const t = int64Numbers(golden.t as Tensor);
      const size = x0.length / t.length;
      const x = x0.map((value, i) => {
        const sigma = (t[Math.floor(i / size)] as number) / 1000;
        return (1 - sigma) * value + sigma * (noise[i] as number);
      });
      const input = { x: fromFloat32((golden.x0 as Tensor).shape, x), timesteps: t };
      return (await engine.unetForward(conditions, { ...input, conditionIndex: int64Numbers(golden.rows as Tensor) }))
        .sample;
    } finally {
      await engine.dispose();
    }
  };

  test.each(['diffusers', 'kohya'])('in the names of %s', async (names) => {
    const { prediction } = readSafetensors(path.join(DATA, 'sd35.safetensors'));
    expect(difference(await predict([path.join(DATA, `sd35-${names}.safetensors`)]), prediction)).toBeLessThan(1e-4);
    expect(difference(await predict([]), prediction)).toBeGreaterThan(1e-2);
  });

  test('for other modules, or for a UNet, are refused with the names', async () => {
    await expect(open('sd35', [path.join(DATA, 'dit.safetensors')])).rejects.toMatchObject({
      code: 'MODEL_UNSUPPORTED',
    });
    const tensors = readSafetensors(path.join(DATA, 'sd35-kohya.safetensors'));
    for (const side of ['down', 'up'])
      tensors[`lora_unet_final_layer_linear.lora_${side}.weight`] = fromFloat32([1, 1], [1]);
    const file = path.join(scratch, 'final.safetensors');
    writeSafetensors(file, tensors);
    await expect(open('sd35', [file])).rejects.toMatchObject({
      code: 'MODEL_UNSUPPORTED',
      message: expect.stringContaining('lora_unet_final_layer_linear') as unknown,
    });
    await expect(
      openModel(path.join(GOLDEN, 'tiny-sd15'), { lora: [path.join(DATA, 'sd35-diffusers.safetensors')] }),
    ).rejects.toMatchObject({ code: 'MODEL_UNSUPPORTED' });
  });
});

describe('training', () => {
  const dataset = path.join(GOLDEN, 'mini-dataset');
  const common = { dataset, steps: 2, trainBatch: 2, threads: 1, device: 'cpu', dtype: 'fp32' } as const;

  test('of Stable Diffusion 3, with grids of images that are sampled in Euler steps', async () => {
    const out = path.join(scratch, 'trained');
    const from = path.join(GOLDEN, 'tiny-sd35');
    const prompt = "A car at the {label}'s.";
    const done = await train({
      ...common,
      from,
      out,
      prompt,
      loraRank: 2,
      size: 32,
      sampleEvery: 2,
      sampleInferenceSteps: 2,
      gradientCheckpointing: true,
    });
    expect(done.steps).toBe(2);
    const model = await openModel(out);
    expect(model.source.transformer?.lora).toMatchObject({ scale: 1 });
    const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
    try {
      await engine.loadModel(model.source);
    } finally {
      await engine.dispose();
    }
  });

  test('of all weights, and with Min-SNR weights, is refused', async () => {
    const from = path.join(GOLDEN, 'tiny-sd35');
    const out = path.join(scratch, 'refused');
    await expect(train({ ...common, from, out })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('only a LoRA is trained') as unknown,
    });
    await expect(train({ ...common, from, out, loraRank: 2, minSnr: 5 })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('flows') as unknown,
    });
  });
});
