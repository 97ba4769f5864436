// Counts the parameters of a UNet from its config, to predict the memory of a training before anything is allocated.
import type { UNetConfig } from '../engine/types.js';

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

/** A ResNet of a UNet, and what attends after it. */
export interface Layer {
  /** channels */
  from: number;
  to: number;
  /** the input is halved this often */
  level: number;
  attention: 'cross' | 'self' | 'none';
}

/** The layers of a UNet in the order of a forward pass. */
export function layersOf(config: UNetConfig): Layer[] {
  const channels = config.blockOutChannels;
  const levels = channels.length;
  const first = channels[0] ?? 0;
  const attention = (block = ''): Layer['attention'] =>
    block.startsWith('CrossAttn') ? 'cross' : block.startsWith('Attn') ? 'self' : 'none';
  const layers: Layer[] = [];
  const skips = [first];
  let now = first;
  channels.forEach((to, level) => {
    for (let i = 0; i < config.layersPerBlock; i++, now = to) {
      layers.push({ from: now, to, level, attention: attention(config.downBlockTypes[level]) });
      skips.push(to);
    }
    if (level + 1 < levels) skips.push(to);
  });
  const middle = { from: now, to: now, level: levels - 1 };
  if (config.midBlockType.endsWith('CrossAttn'))
    layers.push({ ...middle, attention: 'cross' }, { ...middle, attention: 'none' });
  else layers.push({ ...middle, attention: 'none' });
  channels.toReversed().forEach((to, block) => {
    for (let i = 0; i <= config.layersPerBlock; i++, now = to)
      layers.push({
        from: now + (skips.pop() ?? 0),
        to,
        level: levels - 1 - block,
        attention: attention(config.upBlockTypes[block]),
      });
  });
  return layers;
}

/** The parameters of the UNet that `config` describes. */
export function parameterCount(config: UNetConfig): number {
  const channels = config.blockOutChannels;
  const first = channels[0] ?? 0;
  const time = 4 * first;
  const layer = ({ from, to, level, attention }: Layer): number => {
    const resnet =
      norm(from) +
      convolution(from, to) +
      linear(time, config.scaleShift ? 2 * to : to) +
      norm(to) +
      convolution(to, to) +
      (from === to ? 0 : linear(from, to));
    if (attention === 'cross')
      return resnet + transformer(to, config.transformerLayers[level] ?? 1, config.crossAttentionDim);
    return resnet + (attention === 'self' ? norm(to) + 4 * linear(to, to) : 0);
  };
  let sum =
    convolution(config.inChannels, first) + linear(first, time) + linear(time, time) + config.numClassEmbeds * time;
  if (config.addedEmbedding) sum += linear(addedWidth(config.addedEmbedding), time) + linear(time, time);
  for (const one of layersOf(config)) sum += layer(one);
  // between levels: halving on the way down, doubling on the way up
  for (const to of channels.slice(0, -1)) sum += convolution(to, to);
  for (const to of channels.slice(1)) sum += convolution(to, to);
  return sum + norm(first) + convolution(first, config.outChannels);
}
