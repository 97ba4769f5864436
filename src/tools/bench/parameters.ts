// Counts the parameters of a UNet from its config, to predict the memory of a training before anything is allocated.
import type { UNetConfig } from '../../engine/types.js';

const linear = (from: number, to: number): number => (from + 1) * to;
const convolution = (from: number, to: number): number => (9 * from + 1) * to;
const norm = (channels: number): number => 2 * channels;

/** GroupNorm, projections in and out, and layers of self-attention, cross-attention and GEGLU feed-forward. */
function transformer(channels: number, layers: number, text: number): number {
  const attention = (width: number): number => 2 * channels * channels + 2 * width * channels + channels;
  const layer =
    3 * norm(channels) +
    attention(channels) +
    attention(text) +
    linear(channels, 8 * channels) +
    linear(4 * channels, channels);
  return norm(channels) + 2 * linear(channels, channels) + layers * layer;
}

/** Numbers that SDXL embeds beside the timestep: the pooled text and six time ids. */
export const addedWidth = ({ pooled, size }: NonNullable<UNetConfig['addedEmbedding']>): number => pooled + 6 * size;

/** The parameters of the UNet that `config` describes. */
export function parameterCount(config: UNetConfig): number {
  const channels = config.blockOutChannels;
  const first = channels[0] ?? 0;
  const levels = channels.length;
  const time = 4 * first;
  const layer = (kind: string, from: number, to: number, level: number): number => {
    const resnet =
      norm(from) +
      convolution(from, to) +
      linear(time, config.scaleShift ? 2 * to : to) +
      norm(to) +
      convolution(to, to) +
      (from === to ? 0 : linear(from, to));
    if (kind.startsWith('CrossAttn'))
      return resnet + transformer(to, config.transformerLayers[level] ?? 1, config.crossAttentionDim);
    return resnet + (kind.startsWith('Attn') ? norm(to) + 4 * linear(to, to) : 0);
  };
  let sum =
    convolution(config.inChannels, first) + linear(first, time) + linear(time, time) + config.numClassEmbeds * time;
  if (config.addedEmbedding) sum += linear(addedWidth(config.addedEmbedding), time) + linear(time, time);
  const skips = [first];
  let now = first;
  channels.forEach((to, level) => {
    for (let i = 0; i < config.layersPerBlock; i++, now = to) {
      sum += layer(config.downBlockTypes[level] ?? '', now, to, level);
      skips.push(to);
    }
    if (level + 1 < levels) {
      sum += convolution(to, to);
      skips.push(to);
    }
  });
  const crosses = config.midBlockType.endsWith('CrossAttn');
  sum += layer(crosses ? 'CrossAttn' : '', now, now, levels - 1) + (crosses ? layer('', now, now, levels - 1) : 0);
  channels.toReversed().forEach((to, block) => {
    const level = levels - 1 - block;
    for (let i = 0; i <= config.layersPerBlock; i++, now = to)
      sum += layer(config.upBlockTypes[block] ?? '', now + (skips.pop() ?? 0), to, level);
    if (level > 0) sum += convolution(to, to);
  });
  return sum + norm(first) + convolution(first, config.outChannels);
}
