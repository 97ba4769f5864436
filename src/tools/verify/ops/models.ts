// Text encoder, VAE and UNet against their references.
import { DiffmineError } from '../../../util/errors.js';
import { fromFloat32, fromInt64, int64Numbers, toFloat32 } from '../../../engine/tensor.js';
import type { Conditions, Engine } from '../../../engine/index.js';
import type { CallOptions, Tensor, UNetForwardInput } from '../../../engine/types.js';
import type { Op } from './op.js';
import { number, imageOf, texts } from '../params.js';

export const clipTokenizeOp: Op = {
  async run({ model, params }) {
    const { tokenizers, path } = await model();
    const [tokenizer] = tokenizers ?? [];
    if (!tokenizer) throw new DiffmineError('CHECK_FAILED', `${path} has no tokenizer.`);
    return { outputs: { input_ids: tokenizer.encode(texts(params, 'prompts')) } };
  },
};

/** The text encoder computes in fp32 whatever the precision of the rest. */
export const clipTextOp: Op = {
  async run({ engine, input, call }) {
    return { outputs: { last_hidden_state: (await (await engine()).encodeText([input('input_ids')], call)).text } };
  },
};

/** The label ids of a class-conditional model, in order; the last is the null class. */
export const classLabelsOp: Op = {
  async run({ model }) {
    const { labels = [] } = await model();
    return { outputs: { labels: fromInt64([labels.length + 1], [...labels.keys(), labels.length]) } };
  },
};

export const vaeEncodeOp: Op = {
  async run({ engine, input, params, call }) {
    const { mean, logvar } = await (await engine()).vaeEncode([imageOf(input('image_u8'))], call);
    const scale = number(params, 'scaling_factor');
    const [m, v, eps] = [toFloat32(mean), toFloat32(logvar), toFloat32(input('eps'))];
    const sample = Float32Array.from(
      m,
      (value, i) => (value + Math.exp(0.5 * (v[i] ?? NaN)) * (eps[i] ?? NaN)) * scale,
    );
    return { outputs: { mean, logvar, sample_scaled: fromFloat32(mean.shape, sample) } };
  },
};

export const vaeDecodeOp: Op = {
  async run({ engine, input, call }) {
    return { outputs: { image: await (await engine()).vaeDecode(input('latent'), call) } };
  },
};

/** down0_resnet1 -> down_blocks.0.resnets.1, up1 -> up_blocks.1, ...: the golden names of the UNet's modules as paths. */
function modulePath(name: string): string {
  if (name === 'time_emb') return 'time_embedding';
  if (name === 'mid') return 'mid_block';
  const found = /^(down|up)(\d+)(?:_(resnet|attn)(\d+))?$/.exec(name);
  if (!found) return name;
  const [, way, block, kind, layer] = found;
  const inner = kind === undefined ? '' : `.${kind === 'attn' ? 'attentions' : 'resnets'}.${layer}`;
  return `${way}_blocks.${block}${inner}`;
}

/** A forward pass: its sample, and the modules that the case's other outputs name. */
export async function observedBlocks(
  engine: Engine,
  conditions: Conditions,
  pass: UNetForwardInput,
  outputs: readonly string[],
  call: CallOptions,
): Promise<Record<string, Tensor>> {
  const watched = outputs.filter((name) => name !== 'sample');
  const { sample, observed } = await engine.unetForward(
    conditions,
    { ...pass, observe: watched.map(modulePath) },
    call,
  );
  const seen = watched.flatMap((name) => {
    const tensor = observed[modulePath(name)];
    return tensor ? [[name, tensor] as const] : [];
  });
  return { sample, ...Object.fromEntries(seen) };
}

export const unetOp: Op = {
  reducible: true,
  async run({ engine, input, outputs, call }) {
    const running = await engine();
    const conditions = await running.prepareConditions(input('cond'), call);
    const pass = {
      x: input('x'),
      timesteps: int64Numbers(input('t')),
      conditionIndex: int64Numbers(input('cond_index')),
    };
    return { outputs: await observedBlocks(running, conditions, pass, outputs, call) };
  },
};
