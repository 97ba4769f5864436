// The memory of a training: what AdamW keeps, and what a backward pass needs of the forward pass.
import type { Dtype, ModelSource, UNetConfig } from '../../engine/types.js';
import { tokenNumbers } from '../../pipeline/batch.js';
import { layersOf } from '../../models/parameters.js';

/** A measured peak is 1.5 (tiny) to 1.7 (small) times the bytes counted here (docs/results/cpu.md): gradients of activations, and workspaces. */
const PEAK = 1.7;

/**
 * Bytes of a denoiser's weights, gradients, two moments of AdamW and moving average, all fp32. With LoRA only the weights count: the updates are small.
 */
export function stateBytes(parameters: number, { lora, average }: { lora: boolean; average: boolean }): number {
  return 4 * parameters * (lora ? 1 : average ? 5 : 4);
}

/**
 * Bytes of activations that a backward pass through a denoiser needs at its peak, without gradient checkpointing.
 *
 * Counted per layer, in numbers per cell: a ResNet keeps the inputs of two norms, two activations and two convolutions; self-attention its norm's and
 * projections' inputs, Q, K, V and result; a transformer layer that twice (K and V of the text left out) and 14 widths of its feed-forward. A block of a
 * diffusion transformer keeps, per token, 20 widths: each of its two norms before and after modulation, Q, K, V and result, what is gated, and 8 of its
 * feed-forward. PEAK was not measured for these.
 *
 * @param rows, columns of the denoiser's input
 */
export function activationBytes(
  { unet, transformer }: Pick<ModelSource, 'unet' | 'transformer'>,
  rows: number,
  columns: number,
  batch: number,
  dtype: Dtype,
): number {
  const bytes = PEAK * batch * (dtype === 'fp32' ? 4 : 2);
  if (transformer)
    return bytes * 20 * transformer.config.numLayers * tokenNumbers(transformer.config, { rows, columns });
  return unet ? bytes * unetNumbers(unet.config, rows, columns) : 0;
}

function unetNumbers(config: UNetConfig, rows: number, columns: number): number {
  const cells = (level: number): number => Math.ceil(rows / 2 ** level) * Math.ceil(columns / 2 ** level);
  let numbers = 3 * (config.blockOutChannels[0] ?? 0) * cells(0);
  for (const { from, to, level, attention } of layersOf(config)) {
    numbers += 3 * (from + to) * cells(level);
    if (attention === 'self') numbers += 6 * to * cells(level);
    if (attention === 'cross') numbers += (3 + 24 * (config.transformerLayers[level] ?? 1)) * to * cells(level);
  }
  return numbers;
}
