// Diffusion transformers (DiT, Stable Diffusion 3) and flows against diffusers.
import { flowSteps } from '../../../engine/index.js';
import { fromFloat32, fromInt64, int64Numbers, toFloat32 } from '../../../engine/tensor.js';
import type { Tensor } from '../../../engine/types.js';
import { DiffmineError } from '../../../util/errors.js';
import { encodePrompts } from '../../../models/index.js';
import { T5_TOKENS } from '../../../models/conditions.js';
import { number, numbers, side, texts } from '../params.js';
import type { Op, OpContext } from './op.js';
import { typicalityUnder } from './typicality.js';

/** [B, C, h, w] -> tokens [B, h w, C], as diffusers' blocks give them. */
function tokens(image: Tensor): Tensor {
  const [rows, channels, cells] = [side(image, 0), side(image, 1), side(image, 2) * side(image, 3)];
  const values = toFloat32(image);
  const moved = new Float32Array(values.length);
  for (let i = 0; i < moved.length; i++) {
    const [row, cell, channel] = [Math.floor(i / (channels * cells)), Math.floor(i / channels) % cells, i % channels];
    moved[i] = values[(row * channels + channel) * cells + cell] ?? NaN;
  }
  return fromFloat32([rows, cells, channels], moved);
}

/** block3 -> transformer_blocks.3 */
const blockPath = (name: string): string => name.replace(/^block(\d+)$/, 'transformer_blocks.$1');

/** Prediction and learned variance, and the outputs of blocks. */
export const ditOp: Op = {
  reducible: true,
  async run({ engine, input, outputs, call }) {
    const running = await engine();
    const labels = input('class_labels');
    const conditions = await running.prepareConditions(labels, call);
    const blocks = outputs.filter((name) => name.startsWith('block'));
    const { observed } = await running.unetForward(
      conditions,
      {
        x: input('x'),
        timesteps: int64Numbers(input('t')),
        conditionIndex: [...Array(side(labels, 0)).keys()],
        observe: ['proj_out', ...blocks.map(blockPath)],
      },
      call,
    );
    const seen = blocks.flatMap((name) => {
      const output = observed[blockPath(name)];
      return output ? [[name, tokens(output)] as const] : [];
    });
    const { proj_out: sample } = observed;
    return { outputs: { ...(sample && { sample }), ...Object.fromEntries(seen) } };
  },
};

export const ditTypicalityOp: Op = {
  reducible: true,
  compound: true,
  async run(context) {
    const labels = numbers(context.params, 'class_labels');
    const engine = await context.engine();
    const conditions = await engine.prepareConditions(fromInt64([labels.length], labels), context.call);
    return typicalityUnder(context, conditions, labels.length);
  },
};

/** The prompts' embeddings, those of T5 (zeros in its place without it) with as many tokens as the case or another of its manifest says. */
async function sd3Text({ engine, model, params, shared, call }: OpContext): ReturnType<typeof encodePrompts> {
  const tokens = number({ tokens: shared('max_sequence_length') }, 'tokens', T5_TOKENS);
  return encodePrompts(await engine(), await model(), texts(params, 'prompts'), call, tokens);
}

/** The text encoders compute in fp32 whatever the precision of the rest. */
export const sd3TextOp: Op = {
  async run(context) {
    const { text, pooled } = await sd3Text(context);
    return { outputs: { prompt_embeds: text, ...(pooled && { pooled }) } };
  },
};

/** T5's token ids, as many as sd3_text's. */
export const t5TokenizeOp: Op = {
  async run({ model, params }) {
    const { t5Tokenizer, path } = await model();
    if (!t5Tokenizer) throw new DiffmineError('CHECK_FAILED', `${path} has no T5.`);
    return {
      outputs: {
        input_ids: t5Tokenizer.encode(texts(params, 'prompts'), number(params, 'max_sequence_length', T5_TOKENS)),
      },
    };
  },
};

export const t5TextOp: Op = {
  async run({ engine, input, call }) {
    return { outputs: { last_hidden_state: await (await engine()).encodeT5(input('input_ids'), call) } };
  },
};

export const sd3TransformerOp: Op = {
  reducible: true,
  async run({ engine, input, call }) {
    const running = await engine();
    const conditions = await running.prepareConditions({ text: input('prompt_embeds'), pooled: input('pooled') }, call);
    const { sample } = await running.unetForward(
      conditions,
      {
        x: input('x'),
        timesteps: [...toFloat32(input('t'))],
        conditionIndex: int64Numbers(input('cond_index')),
      },
      call,
    );
    return { outputs: { sample } };
  },
};

export const sd3TypicalityOp: Op = {
  reducible: true,
  compound: true,
  async run(context) {
    const engine = await context.engine();
    const conditions = await engine.prepareConditions(await sd3Text(context), context.call);
    return typicalityUnder(context, conditions, texts(context.params, 'prompts').length);
  },
};

export const flowTimestepsOp: Op = {
  async run({ params, schedule }) {
    const own = await schedule();
    const { timesteps, sigmas } = flowSteps(
      { ...own, shift: number(params, 'shift', own.shift) },
      number(params, 'num_inference_steps'),
    );
    const tensor = (values: number[]): Tensor => fromFloat32([values.length], Float32Array.from(values));
    return { outputs: { timesteps: tensor(timesteps), sigmas: tensor(sigmas) } };
  },
};
