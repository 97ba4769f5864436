// Tensors, devices, and how an engine is set up.
import type { Hooks } from '../../util/hooks.js';

export type DType = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'U8' | 'BOOL';

/** A dense row-major tensor. `data` has the bytes, little-endian: element count x element size. */
export interface Tensor {
  dtype: DType;
  shape: number[];
  data: Uint8Array;
}

export type Dtype = 'fp32' | 'bf16' | 'fp16';

export interface DeviceInfo {
  /** 'cpu', 'cuda:0' */
  id: string;
  name: string;
  /** bytes */
  memoryTotal: number;
  memoryFree: number;
  /** '9.0'; empty on a CPU */
  computeCapability: string;
  /** default number of OpenMP threads of an engine; 0 on a GPU */
  threads: number;
  /** ATen's, such as 'AVX512'; empty on a GPU */
  cpuCapability: string;
  /** dtypes that engines support on this device; fp16 on a CPU only if oneDNN supports it */
  dtypes: Dtype[];
  /** of these, what the hardware multiplies in; others are emulated and slow */
  nativeDtypes: Dtype[];
}

export interface BuildInfo {
  /** the LibTorch that the addon was compiled for, and the one it runs with: '2.13.0' */
  libtorchCompiled: string;
  libtorchLoaded: string;
  cuda: boolean;
  /** optimizations that an engine can `disable` */
  optimizations: Optimization[];
}

/** Options of every asynchronous call. Progress is of type "load", "encode", "score", "features" or "cluster". */
export type CallOptions = Pick<Hooks, 'signal' | 'onProgress'>;

/** An optimization of the engine. Optimizations change results only by rounding; cpp/core/engine_options.h describes them. */
export type Optimization =
  | 'graphs'
  | 'prepacked-weights'
  | 'winograd'
  | 'group-norm'
  | 'geglu'
  | 'shared-prefix'
  | 'cached-keys'
  | 'block-attention'
  | 'cudnn-attention'
  | 'cpu-caching-allocator'
  | 'pinned-uploads'
  | 'encode-tf32'
  | 'encode-ahead';

export interface EngineOptions {
  /** 'cpu', 'cuda', 'cuda:1' */
  device: string;
  dtype: Dtype;
  /** number of OpenMP threads; 0: OMP_NUM_THREADS, else one per usable core */
  threads?: number;
  /**
   * CUDA: turn on cuDNN's benchmark mode, which measures the convolution algorithms for each new shape and picks the fastest. Another process may pick
   * another one, with different rounding; without it, convolutions are deterministic. Default false. No effect on a CPU
   */
  tune?: boolean;
  /** seconds that an idle engine on a CPU keeps the memory of freed activations; default 10 */
  idleSeconds?: number;
  /** optimizations to disable, to measure their effect */
  disable?: Optimization[];
}

/** Sustained rates of a device, to which measured speeds are compared. */
export interface MachineRates {
  /** operations (2 x multiply-adds) per second of a large matmul */
  matmul: number;
  /** bytes per second, read and written, of a copy larger than any cache */
  copy: number;
  /** number of the engine's OpenMP threads */
  threads: number;
}
