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
  /** measured rounds */
  repeats: number;
  threads?: number;
  /** optimizations that are disabled in all measurements */
  disable?: BenchOptimization[];
  /** optimizations to measure one by one; those that do not apply to the device and dtype are skipped */
  ablate?: BenchOptimization[];
  /** also time scoring calls and the other stages; default true */
  stages?: boolean;
}
