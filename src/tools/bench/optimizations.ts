// The names of the engine's optimizations, and the devices they apply to. Only data, so that the command line can list them without loading anything.
import type { Optimization, Dtype } from '../../engine/types.js';

/** Those of the engine, and cuDNN's benchmark mode, which bench has on. */
export type BenchOptimization = Optimization | 'tune';

interface Meaning {
  /** if it can be disabled */
  on?: 'cpu' | 'cuda';
  /** it does nothing in another dtype */
  dtypes?: readonly Dtype[];
  /** it shows in scoring calls alone */
  scansAlone?: true;
}

export const MEANINGS: Record<BenchOptimization, Meaning> = {
  graphs: { on: 'cuda' },
  'prepacked-weights': { on: 'cpu' },
  winograd: { on: 'cpu', dtypes: ['fp32', 'fp16'] },
  'group-norm': {},
  geglu: {},
  'shared-prefix': {},
  'cached-keys': {},
  'block-attention': { on: 'cpu' },
  'cudnn-attention': { on: 'cuda', dtypes: ['fp16', 'bf16'] },
  'cpu-caching-allocator': { on: 'cpu' },
  'pinned-uploads': { on: 'cuda', scansAlone: true },
  'encode-tf32': { on: 'cuda', dtypes: ['fp16', 'bf16'], scansAlone: true },
  'encode-ahead': { on: 'cuda', scansAlone: true },
  tune: { on: 'cuda' },
};

export const OPTIMIZATIONS = Object.keys(MEANINGS) as BenchOptimization[];
