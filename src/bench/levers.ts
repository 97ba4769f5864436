// The engine's levers by name, and where each means something. Data alone: the command line's options load nothing.
import type { Lever, Precision } from '../native/types';

/** Those of the engine, and cuDNN's benchmark mode, which bench has on. */
export type BenchLever = Lever | 'tune';

interface Meaning {
  /** where it is there to be left out */
  on?: 'cpu' | 'cuda';
  /** it does nothing in another precision */
  precisions?: readonly Precision[];
  /** it is seen in scoring calls alone */
  scansAlone?: true;
}

export const MEANINGS: Record<BenchLever, Meaning> = {
  graphs: { on: 'cuda' },
  'prepacked-weights': { on: 'cpu' },
  winograd: { on: 'cpu', precisions: ['fp32'] },
  'group-norm': {},
  'layer-norm': {},
  geglu: {},
  additions: {},
  'shared-prefix': {},
  'cached-keys': {},
  'block-attention': { on: 'cpu' },
  'cudnn-attention': { on: 'cuda', precisions: ['fp16', 'bf16'] },
  'host-cache': { on: 'cpu' },
  'pinned-uploads': { on: 'cuda', scansAlone: true },
  'encode-tf32': { on: 'cuda', precisions: ['fp16', 'bf16'], scansAlone: true },
  'encode-ahead': { on: 'cuda', scansAlone: true },
  tune: { on: 'cuda' },
};

export const LEVERS = Object.keys(MEANINGS) as BenchLever[];
