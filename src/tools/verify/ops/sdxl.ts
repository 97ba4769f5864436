// Stable Diffusion XL: two text encoders, a UNet that is conditioned on pooled text and image sizes, and typicality with them.
import { fromFloat32, int64Numbers, toFloat32 } from '../../../engine/tensor.js';
import type { Tensor } from '../../../engine/types.js';
import { encodePrompts, prepareConditions } from '../../../models/index.js';
import { side, texts } from '../params.js';
import { observedBlocks } from './models.js';
import type { Op } from './op.js';
import { typicalityUnder } from './typicality.js';

/** As written prompts, the empty one too. The text encoders compute in fp32 whatever the precision of the rest. */
export const sdxlTextOp: Op = {
  async run({ engine, model, params, call }) {
    const { text, pooled } = await encodePrompts(await engine(), await model(), texts(params, 'prompts'), call);
    return { outputs: { prompt_embeds: text, ...(pooled && { pooled }) } };
  },
};

/** Rows of an F32 tensor. */
function rowsOf(tensor: Tensor, rows: readonly number[]): Tensor {
  const flat = toFloat32(tensor);
  const size = flat.length / side(tensor, 0);
  const chosen = new Float32Array(rows.length * size);
  rows.forEach((row, i) => chosen.set(flat.subarray(row * size, (row + 1) * size), i * size));
  return fromFloat32([rows.length, ...tensor.shape.slice(1)], chosen);
}

export const sdxlUnetOp: Op = {
  reducible: true,
  async run({ engine, input, outputs, call }) {
    const running = await engine();
    const rows = int64Numbers(input('cond_index'));
    // Each input has time ids of its own, so each has a condition of its own.
    const conditions = await running.prepareConditions(
      { text: rowsOf(input('prompt_embeds'), rows), pooled: rowsOf(input('pooled'), rows), timeIds: input('time_ids') },
      call,
    );
    const pass = { x: input('x'), timesteps: int64Numbers(input('t')), conditionIndex: [...rows.keys()] };
    return { outputs: await observedBlocks(running, conditions, pass, outputs, call) };
  },
};

export const sdxlTypicalityOp: Op = {
  reducible: true,
  compound: true,
  async run(context) {
    const prompts = texts(context.params, 'prompts');
    const conditions = await prepareConditions(await context.engine(), await context.model(), prompts, context.call);
    return typicalityUnder(context, conditions, prompts.length);
  },
};
