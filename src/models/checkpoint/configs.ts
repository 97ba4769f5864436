// Configurations of the parts of an original checkpoint, which has none: sizes are those of the tensors, the rest is what the published models have.
import type { ScheduleConfig, TextEncoderConfig, UNetConfig, VaeConfig } from '../../engine/types.js';
import { DiffmineError } from '../../util/errors.js';
import type { Weights } from '../weights.js';

export type Prediction = Exclude<ScheduleConfig['prediction'], 'flow'>;

/** A head of attention in 2.x. In 1.x every layer has eight. */
const HEAD = 64;
const HEADS = 8;
const GROUPS = 32;

/** Typed access to the shapes of a part's tensors. */
class Shapes {
  private readonly tensors: Record<string, { shape: number[] }>;

  constructor(
    private readonly owner: string,
    { headers }: Weights,
  ) {
    this.tensors = headers[0]?.tensors ?? {};
  }

  has(name: string): boolean {
    return this.tensors[name] !== undefined;
  }

  of(name: string): number[] {
    const found = this.tensors[name];
    if (found) return found.shape;
    throw new DiffmineError(
      'MODEL_INVALID',
      `The checkpoint's ${this.owner} has no tensor '${name}'.`,
      'Is the checkpoint complete? This is the name that diffusers has for it.',
    );
  }

  /** How many numbers from 0 on a name with # exists for. */
  count(name: string): number {
    let count = 0;
    while (this.has(name.replace('#', String(count)))) count += 1;
    return count;
  }
}

/** @param pooled of SDXL: the width of its pooled text */
export function unetConfigOf(weights: Weights, prediction: Prediction, pooled?: number): UNetConfig {
  const shapes = new Shapes('UNet', weights);
  const blocks = shapes.count('down_blocks.#.resnets.0.conv1.weight');
  const each = Array.from({ length: blocks }, (_, i) => i);
  const blockOutChannels = each.map((i) => shapes.of(`down_blocks.${i}.resnets.0.conv1.weight`)[0] as number);
  const attends = (way: string, i: number): boolean => shapes.has(`${way}_blocks.${i}.attentions.0.proj_in.weight`);
  const mid = 'mid_block.attentions.0';
  const useLinearProjection = shapes.of(`${mid}.proj_in.weight`).length === 2;
  return {
    inChannels: shapes.of('conv_in.weight')[1] as number,
    outChannels: shapes.of('conv_out.weight')[0] as number,
    blockOutChannels,
    downBlockTypes: each.map((i) => (attends('down', i) ? 'CrossAttnDownBlock2D' : 'DownBlock2D')),
    upBlockTypes: each.map((i) => (attends('up', i) ? 'CrossAttnUpBlock2D' : 'UpBlock2D')),
    midBlockType: 'UNetMidBlock2DCrossAttn',
    layersPerBlock: shapes.count('down_blocks.0.resnets.#.conv1.weight'),
    attentionHeadDim: blockOutChannels.map((channels) => (useLinearProjection ? Math.max(1, channels / HEAD) : HEADS)),
    transformerLayers: each.map((i) =>
      Math.max(
        1,
        shapes.count(`${i === blocks - 1 ? mid : `down_blocks.${i}.attentions.0`}.transformer_blocks.#.norm1.weight`),
      ),
    ),
    crossAttentionDim: shapes.of(`${mid}.transformer_blocks.0.attn2.to_k.weight`)[1] as number,
    normNumGroups: GROUPS,
    normEps: 1e-5,
    useLinearProjection,
    // as the published folders of 2.1 have it
    upcastAttention: useLinearProjection && prediction === 'v_prediction',
    scaleShift: false,
    numClassEmbeds: 0,
    flipSinToCos: true,
    freqShift: 0,
    pixelFold: 1,
    ...(pooled !== undefined && { addedEmbedding: addedEmbedding(shapes, pooled) }),
  };
}

/** @param pooled width of the pooled text, beside which six numbers are embedded */
function addedEmbedding(shapes: Shapes, pooled: number): { pooled: number; size: number } {
  return { pooled, size: ((shapes.of('add_embedding.linear_1.weight')[1] as number) - pooled) / 6 };
}

/** @param scalingFactor of the latents; no file says it */
export function vaeConfigOf(weights: Weights, scalingFactor = 0.18215): VaeConfig {
  const shapes = new Shapes('VAE', weights);
  const blocks = shapes.count('encoder.down_blocks.#.resnets.0.conv1.weight');
  return {
    inChannels: 3,
    outChannels: 3,
    latentChannels: shapes.of('decoder.conv_in.weight')[1] as number,
    blockOutChannels: Array.from(
      { length: blocks },
      (_, i) => shapes.of(`encoder.down_blocks.${i}.resnets.0.conv1.weight`)[0] as number,
    ),
    layersPerBlock: shapes.count('encoder.down_blocks.0.resnets.#.conv1.weight'),
    normNumGroups: GROUPS,
    shiftFactor: 0,
    scalingFactor,
    useQuantConv: shapes.has('quant_conv.weight'),
    usePostQuantConv: shapes.has('post_quant_conv.weight'),
    midBlockAddAttention: shapes.has('encoder.mid_block.attentions.0.to_q.weight'),
  };
}

/** The end of a text in CLIP's vocabulary. */
const END_OF_TEXT = 49407;

/** @param xl its last layer but one is used, and of OpenCLIP the pooled text */
export function textConfigOf(weights: Weights, encoder: 'clip' | 'openclip', xl = false): TextEncoderConfig {
  const shapes = new Shapes('text encoder', weights);
  const [vocabSize = 0, hiddenSize = 0] = shapes.of('text_model.embeddings.token_embedding.weight');
  return {
    vocabSize,
    hiddenSize,
    intermediateSize: shapes.of('text_model.encoder.layers.0.mlp.fc1.weight')[0] as number,
    numHiddenLayers: shapes.count('text_model.encoder.layers.#.layer_norm1.weight'),
    numAttentionHeads: Math.max(1, hiddenSize / HEAD),
    maxPositionEmbeddings: shapes.of('text_model.embeddings.position_embedding.weight')[0] as number,
    layerNormEps: 1e-5,
    hiddenAct: encoder === 'clip' ? 'quick_gelu' : 'gelu',
    ...(xl && { penultimate: true }),
    ...(xl &&
      encoder === 'openclip' && {
        projection: {
          dim: shapes.of('text_projection.weight')[0] as number,
          eosTokenId: Math.min(END_OF_TEXT, vocabSize - 1),
        },
      }),
  };
}

export const scheduleOf = (prediction: Prediction): ScheduleConfig => ({
  betaSchedule: 'scaled_linear',
  trainTimesteps: 1000,
  betaStart: 0.00085,
  betaEnd: 0.012,
  prediction,
  setAlphaToOne: false,
  stepsOffset: 1,
  clipSample: false,
  clipSampleRange: 1,
});
