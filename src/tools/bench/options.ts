// Which forward passes are measured, and how often.
import type { Dtype } from '../../engine/types.js';
import type { BenchOptimization } from './optimizations.js';

export interface CellOptions {
  device: string;
  dtypes: Dtype[];
  /** sides of the UNet's input */
  latents: number[];
  /** UNet calls per forward pass */
  batches: number[];
  /** rounds that count */
  repeats: number;
  threads?: number;
  /** optimizations that are disabled in all that is measured */
  disable?: BenchOptimization[];
  /** optimizations to measure one by one: those of them that mean something on the device, in the dtype */
  ablate?: BenchOptimization[];
  /** scoring calls and the other stages too; default true */
  stages?: boolean;
}
