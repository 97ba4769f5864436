// Counts the floating-point operations of one UNet call from its config.
//
// Counted as 2 x multiply-accumulates of convolutions, linear layers and attention, of a whole forward pass for one input under one condition,
// even if an engine reuses results (keys and values of the prompts, layers that do not depend on the condition). So rates of different engines,
// and of one engine before and after such an optimization, are comparable. Norms, activations and additions are left out: below 0.1 % of the arithmetic.
import type { ModelSource, UNetConfig } from '../engine/types.js';
import { addedWidth } from './parameters.js';
import { transformerOperations } from './transformer-size.js';

/** Tokens of a prompt. */
const TOKENS = 77;

export interface OperationCounts {
  /** 3 x 3 convolutions, those that halve and double the size included */
  convolutions: number;
  /** GEGLU and the layer after it */
  feedForward: number;
  /** scores and weighted sums of attention over the image */
  selfAttention: number;
  /** its Q, K, V and O */
  selfProjections: number;
  /** into and out of a transformer */
  transformerProjections: number;
  /** Q and O of attention to the text */
  crossProjections: number;
  /** K and V of the text: the same for every image of a label */
  textProjections: number;
  /** scores and weighted sums of attention to the text */
  crossAttention: number;
  /** 1 x 1 convolutions beside ResNets that change the channels */
  shortcuts: number;
  /** of the timestep, and of what is embedded beside it */
  embeddings: number;
}

/**
 * Operations of one UNet call by kind, for an input of height x width cells.
 *
 * @param config as src/models reads it
 */
export function operationCounts(config: UNetConfig, height: number, width: number): OperationCounts {
  const counts: OperationCounts = {
    convolutions: 0,
    feedForward: 0,
    selfAttention: 0,
    selfProjections: 0,
    transformerProjections: 0,
    crossProjections: 0,
    textProjections: 0,
    crossAttention: 0,
    shortcuts: 0,
    embeddings: 0,
  };
  const channels = config.blockOutChannels;
  const first = channels[0] ?? 0;
  const levels = channels.length;
  const time = 4 * first;
  // A convolution that halves pads 1 on all sides: odd sizes are rounded up.
  const cells = (level: number): number => Math.ceil(height / 2 ** level) * Math.ceil(width / 2 ** level);
  const linear = (from: number, to: number, rows: number): number => 2 * from * to * rows;
  const convolution = (from: number, to: number, rows: number): void =>
    void (counts.convolutions += linear(9 * from, to, rows));

  const attention = (width: number, rows: number): void => {
    counts.selfProjections += 4 * linear(width, width, rows);
    counts.selfAttention += 4 * rows * rows * width;
  };
  const transformer = (width: number, layers: number, rows: number): void => {
    counts.transformerProjections += 2 * linear(width, width, rows);
    for (let i = 0; i < layers; i++) {
      attention(width, rows);
      counts.crossProjections += 2 * linear(width, width, rows);
      counts.textProjections += 2 * linear(config.crossAttentionDim, width, TOKENS);
      counts.crossAttention += 4 * rows * TOKENS * width;
      counts.feedForward += linear(width, 8 * width, rows) + linear(4 * width, width, rows);
    }
  };
  const layer = (kind: string, from: number, to: number, level: number): void => {
    const rows = cells(level);
    convolution(from, to, rows);
    convolution(to, to, rows);
    if (from !== to) counts.shortcuts += linear(from, to, rows);
    counts.embeddings += linear(time, config.scaleShift ? 2 * to : to, 1);
    if (kind.startsWith('CrossAttn')) transformer(to, config.transformerLayers[level] ?? 1, rows);
    else if (kind.startsWith('Attn')) attention(to, rows);
  };

  convolution(config.inChannels, first, cells(0));
  counts.embeddings += linear(first, time, 1) + linear(time, time, 1);
  if (config.addedEmbedding)
    counts.embeddings += linear(addedWidth(config.addedEmbedding), time, 1) + linear(time, time, 1);
  const skips = [first];
  let now = first;
  channels.forEach((to, level) => {
    for (let i = 0; i < config.layersPerBlock; i++, now = to) {
      layer(config.downBlockTypes[level] ?? '', now, to, level);
      skips.push(to);
    }
    if (level + 1 < levels) {
      convolution(to, to, cells(level + 1));
      skips.push(to);
    }
  });
  const crosses = config.midBlockType.endsWith('CrossAttn');
  layer(crosses ? 'CrossAttn' : '', now, now, levels - 1);
  if (crosses) layer('', now, now, levels - 1);
  channels.toReversed().forEach((to, block) => {
    const level = levels - 1 - block;
    for (let i = 0; i <= config.layersPerBlock; i++, now = to)
      layer(config.upBlockTypes[block] ?? '', now + (skips.pop() ?? 0), to, level);
    if (level > 0) convolution(to, to, cells(level - 1));
  });
  convolution(first, config.outChannels, cells(0));
  return counts;
}

/** Operations of one UNet call. */
export function operations(source: Pick<ModelSource, 'unet' | 'transformer'>, height: number, width: number): number {
  if (source.transformer) return transformerOperations(source.transformer.config, height, width);
  if (!source.unet) return 0;
  return Object.values(operationCounts(source.unet.config, height, width) as unknown as Record<string, number>).reduce(
    (sum, count) => sum + count,
    0,
  );
}

/** Patches of an image: the places of a k x k window in height x width pixels, stride 1. 201,601 for 64 in 512 x 512. */
export function patchCount(height: number, width: number, patch: number): number {
  return Math.max(0, height - patch + 1) * Math.max(0, width - patch + 1);
}

/**
 * Operations of a training step: forward, back to the weights (which LoRA spares) and back to the input, and with gradient checkpointing forward again.
 *
 * @param batch images of the step
 * @param rows height of an input, in cells; columns its width
 */
export function trainingOperations(
  denoiser: Pick<ModelSource, 'unet' | 'transformer'>,
  { rows, columns }: { rows: number; columns: number },
  { batch, lora, checkpointing }: { batch: number; lora: boolean; checkpointing: boolean },
): number {
  const passes = 1 + (lora ? 0 : 1) + 1 + (checkpointing ? 1 : 0);
  return passes * batch * operations(denoiser, rows, columns);
}
