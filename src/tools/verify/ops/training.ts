// Training steps against torch's: losses, gradients before the first step, and parameters after the last.
import { fromFloat32, int64Numbers, toFloat32 } from '../../../engine/tensor.js';
import type { Tensor } from '../../../engine/types.js';
import type { Op } from './op.js';
import { number, numbers, side, texts } from '../params.js';

const GRADIENT = 'grad.';

export const trainOp: Op = {
  reducible: true,
  compound: true,
  async run({ engine, model, input, outputs, params, dtype, call }) {
    if (dtype === 'fp16') return { notChecked: 'training is in fp32 or bf16' };
    const steps = number(params, 'steps');
    const after = `after${steps}.`;
    const named = texts(params, 'grad_norm_names');
    const [beta1, beta2] = numbers(params, 'betas');
    const clipped = params['max_grad_norm'] === null ? {} : { maxGradientNorm: number(params, 'max_grad_norm') };
    const { source } = await model();
    const trainer = await (
      await engine()
    ).createTrainer(
      source,
      input('cond'),
      {
        learningRate: number(params, 'lr'),
        epsilon: number(params, 'eps'),
        weightDecay: number(params, 'weight_decay'),
        ...(beta1 === undefined ? {} : { beta1 }),
        ...(beta2 === undefined ? {} : { beta2 }),
        ...clipped,
      },
      call,
    );
    try {
      const x0 = input('x0');
      const batch = {
        x0,
        conditions: int64Numbers(input('cond_index')),
        noise: input('noise'),
        timesteps: int64Numbers(input('t')),
      };
      const wanted = (prefix: string): string[] =>
        outputs.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
      let gradients: Record<string, Tensor> = {};
      const done = [];
      for (let step = 0; step < steps; step++) {
        await trainer.accumulate(batch, side(x0, 0), call);
        if (step === 0)
          gradients = await trainer.tensors('gradients', [...new Set([...named, ...wanted(GRADIENT)])], call);
        done.push(await trainer.update(call));
      }
      const weights = await trainer.tensors('weights', wanted(after), call);
      const norm = (tensor: Tensor | undefined): number =>
        tensor ? Math.sqrt(toFloat32(tensor).reduce((sum, value) => sum + value * value, 0)) : NaN;
      const list = (values: number[]): Tensor => fromFloat32([values.length], Float32Array.from(values));
      const prefixed = (prefix: string, tensors: Record<string, Tensor>): [string, Tensor][] =>
        Object.entries(tensors).map(([name, tensor]) => [prefix + name, tensor]);
      return {
        outputs: {
          loss: list(done.map(({ loss }) => loss)),
          total_grad_norm: list(done.map(({ gradientNorm }) => gradientNorm)),
          grad_norms: list(named.map((name) => norm(gradients[name]))),
          ...Object.fromEntries([...prefixed(GRADIENT, gradients), ...prefixed(after, weights)]),
        },
      };
    } finally {
      await trainer.dispose();
    }
  },
};
