// Operations and parameters of diffusion transformers, counted from their configs as operations.ts and parameters.ts count those of UNets.
import type { TransformerConfig } from '../engine/types.js';

/** Tokens of a text beside the image's: 77 of CLIP, 256 of T5 or zeros in its place. */
export const JOINT_TOKENS = 333;

const SINUSOIDS = 256;

/** Operations of one call for an input of height x width cells, under one condition. */
export function transformerOperations(config: TransformerConfig, height: number, width: number): number {
  const d = config.numAttentionHeads * config.attentionHeadDim;
  const patch = config.patchSize ** 2;
  const image = Math.floor(height / config.patchSize) * Math.floor(width / config.patchSize);
  const linear = (from: number, to: number, rows: number): number => 2 * from * to * rows;
  const embedding = linear(SINUSOIDS, d, 1) + linear(d, d, 1);
  // A stream's attention projections and feed-forward, and attention among some tokens.
  const stream = (rows: number): number => 4 * linear(d, d, rows) + 2 * linear(d, 4 * d, rows);
  const attention = (rows: number): number => 4 * rows * rows * d;
  const ends = linear(patch * config.inChannels, d, image) + linear(d, patch * config.outChannels, image);
  const { numLayers: layers } = config;
  if (config.kind === 'dit') {
    const feedForward = config.activation === 'geglu' ? linear(d, 4 * d, image) : 0;
    const block = embedding + linear(d, 6 * d, 1) + stream(image) + attention(image) + feedForward;
    return ends + embedding + linear(d, 2 * d, 1) + layers * block;
  }
  const text = JOINT_TOKENS;
  const block = 2 * linear(d, 6 * d, 1) + stream(image) + stream(text) + attention(image + text);
  const last = -linear(d, 4 * d, 1) - linear(d, d, text) - 2 * linear(d, 4 * d, text); // no more of the text stream
  const dual = linear(d, 3 * d, 1) + 4 * linear(d, d, image) + attention(image);
  return (
    ends +
    embedding +
    linear(config.jointAttentionDim, d, text) +
    linear(config.pooledProjectionDim, d, 1) +
    linear(d, 3 * d, 1) +
    layers * block +
    last +
    config.dualAttentionLayers.length * dual
  );
}

/** Parameters, without positions, which are computed. */
export function transformerParameters(config: TransformerConfig): number {
  const d = config.numAttentionHeads * config.attentionHeadDim;
  const patch = config.patchSize ** 2;
  const linear = (from: number, to: number, bias = true): number => from * to + (bias ? to : 0);
  const embedding = linear(SINUSOIDS, d) + linear(d, d);
  const feedForward = linear(d, 4 * d) + linear(4 * d, d);
  const ends = linear(patch * config.inChannels, d) + linear(d, patch * config.outChannels);
  const { numLayers: layers } = config;
  if (config.kind === 'dit') {
    const gated = config.activation === 'geglu' ? linear(d, 4 * d) : 0;
    const norms = config.normElementwiseAffine ? 2 * d : 0;
    const attention = 3 * linear(d, d, config.attentionBias) + linear(d, d);
    const classes = (config.numClasses + 1) * d;
    return (
      ends +
      linear(d, 2 * d) +
      layers * (embedding + classes + linear(d, 6 * d) + attention + feedForward + gated + norms)
    );
  }
  const norms = config.qkNorm ? 2 * config.attentionHeadDim : 0;
  const attention = 4 * linear(d, d) + norms;
  const block = 2 * (linear(d, 6 * d) + attention + feedForward);
  const last = -linear(d, 4 * d) - linear(d, d) - feedForward;
  return (
    ends +
    embedding +
    linear(config.pooledProjectionDim, d) +
    linear(d, d) +
    linear(config.jointAttentionDim, d) +
    linear(d, 2 * d) +
    layers * block +
    last +
    config.dualAttentionLayers.length * (linear(d, 3 * d) + attention)
  );
}
