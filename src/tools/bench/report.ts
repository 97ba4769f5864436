// The benchmark report, `diffmine-bench-5` (docs/reference/formats/benchmark.md), and reading one as a baseline.
import { readFile } from 'node:fs/promises';

import { DiffmineError } from '../../util/errors.js';
import { parseJson } from '../../util/json.js';
import type { Dtype } from '../../engine/types.js';
import type { Spread } from './figures.js';
import type { BenchOptimization } from './optimizations.js';
import type { DiffusersInfo } from './diffusers.js';
import type { ReferenceBench } from './reference.js';
import type { TrainingBench } from './training.js';

export const BENCH_FORMAT = 'diffmine-bench-5';

/** Samples per image for rates of images and patches: the paper's N. */
export const SAMPLES = 100;

/** The unit that a stage's time is given per. */
export type Unit = 'image' | 'unetCall' | 'label';

export interface StageBench {
  seconds: Spread;
  per: Unit;
}

/** Times of diffusers' forward pass. */
export interface DiffusersBench {
  mode: string;
  seconds?: Spread;
  /** of the first forward pass, including compilation */
  firstSeconds?: number;
  /** its median divided by diffmine's: above 1, diffmine is faster */
  ratio?: number;
  /** why it was not measured */
  skipped?: string;
}

/** Speedup of one optimization: forward passes and scoring calls, alternating with an engine that has it disabled. */
export interface Ablation {
  /** `none` is the control, an engine with nothing disabled: its distance from 1 is the noise of the method */
  optimization: BenchOptimization | 'none';
  /** seconds without the optimization divided by seconds with it, of a forward pass and of a scoring call; above 1, it helps */
  pass?: Spread;
  scan?: Spread;
  /** why it was not measured */
  skipped?: string;
}

/** Images as a scan scores them: encoding, all samples, scores and selection. */
export interface ScanBench {
  /** of one call: `images` of `samples` each */
  seconds: Spread;
  images: number;
  samples: number;
  /** at N = 100, computed from a call's time: the fixed cost of an image plus N times the cost of its UNet calls */
  imagesPerSecond: number;
  patchesPerSecond: number;
  /** at N = 100 */
  secondsPerBillionPatches: number;
  /** fraction of the matmul rate of the same round; everything except the UNet's arithmetic counts as loss */
  utilization: Spread;
}

export interface Measured {
  /** of one forward pass of the UNet: label and null of batch / 2 inputs */
  seconds: Spread;
  /** of the first one, including the cost of benchmark mode and graphs */
  firstSeconds: number;
  unetCallsPerSecond: number;
  /** operations per second */
  flops: number;
  /** the machine's matmul rate in this cell's dtype, in the same rounds */
  matmul: Spread;
  /** bytes per second read and written by a copy */
  copy: Spread;
  /** fraction of the matmul rate of each round */
  utilization: Spread;
  /** bytes: of the process on a CPU, of the allocator on a GPU; cells are measured from the smallest */
  peakMemory: number;
  scan?: ScanBench;
  /** by name: decode, encode, noise, unet, score, select, features, cluster */
  stages?: Record<string, StageBench>;
  diffusersCells?: DiffusersBench[];
  ablations?: Ablation[];
}

/** One combination of dtype, size and batch. */
export interface Cell {
  dtype: Dtype;
  /** of the UNet: channels, height, width */
  input: [number, number, number];
  /** side of the scored image in pixels */
  pixels: number;
  /** side of a patch: an eighth of it */
  patch: number;
  /** UNet calls per forward pass */
  batch: number;
  /** of one UNet call */
  operations: number;
  /** absent if it was skipped */
  measured?: Measured;
  skipped?: string;
}

/** Time from the start of an engine to its first result. */
export interface Start {
  dtype: Dtype;
  /** reading or creating the weights, moving and packing them */
  loadSeconds: number;
  /** until the result of the first forward pass, including loading */
  firstResultSeconds: number;
}

export interface BenchReport {
  format: typeof BENCH_FORMAT;
  /** of diffmine */
  version: string;
  /** ISO 8601 */
  created: string;
  model: string;
  parameters: number;
  device: string;
  machine: { processor: string; threads: number; cpuCapability: string; computeCapability: string; libtorch: string };
  /** `disabled`: optimizations that were disabled throughout */
  settings: { repeats: number; disabled: BenchOptimization[] };
  diffusers?: DiffusersInfo;
  starts: Start[];
  cells: Cell[];
  training?: TrainingBench[];
  pipeline?: { dtype: Dtype; images: number; samples: number; seconds: number; imagesPerSecond: number };
  reference?: ReferenceBench;
}

/** 'fp16, 64 x 64, batch 128'. */
export function cellName({ dtype, input: [, height, width], batch }: Pick<Cell, 'dtype' | 'input' | 'batch'>): string {
  return `${dtype}, ${height} x ${width}, batch ${batch}`;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isSpread = (value: unknown): boolean =>
  isObject(value) && ['median', 'min', 'max'].every((name) => Number.isFinite(value[name]) && Number(value[name]) > 0);

function isCell(value: unknown): boolean {
  if (!isObject(value) || !['fp32', 'bf16', 'fp16'].includes(String(value['dtype']))) return false;
  const { input, batch, measured } = value;
  if (!Array.isArray(input) || input.length !== 3 || !input.every(Number.isSafeInteger) || !Number.isSafeInteger(batch))
    return false;
  if (measured === undefined) return typeof value['skipped'] === 'string';
  if (
    !isObject(measured) ||
    !isSpread(measured['utilization']) ||
    !isSpread(measured['seconds']) ||
    !isSpread(measured['matmul'])
  )
    return false;
  return measured['scan'] === undefined || (isObject(measured['scan']) && isSpread(measured['scan']['utilization']));
}

/**
 * A report of `diffmine bench`, to compare with.
 *
 * @throws IO if it cannot be read; INVALID_ARGUMENT if it is none, or of another version of the format
 */
export async function readBaseline(file: string): Promise<BenchReport> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new DiffmineError(
      'IO',
      `The baseline ${file} cannot be read: ${(cause as Error).message}.`,
      'Write one with: diffmine bench --out FILE.',
      { cause },
    );
  });
  let value: unknown;
  try {
    value = parseJson(text);
  } catch {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The baseline ${file} is not JSON.`,
      'Write one with: diffmine bench --out FILE.',
    );
  }
  if (!isObject(value) || value['format'] !== BENCH_FORMAT) {
    const format =
      isObject(value) && typeof value['format'] === 'string'
        ? `has the format ${JSON.stringify(value['format'])}`
        : 'is not a benchmark report';
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The baseline ${file} ${format}; expected ${BENCH_FORMAT}.`,
      'Write a new one with: diffmine bench --out FILE.',
    );
  }
  const { cells, model, device, machine, settings } = value;
  if (
    typeof model !== 'string' ||
    typeof device !== 'string' ||
    !isObject(machine) ||
    !isObject(settings) ||
    !Array.isArray(settings['disabled']) ||
    !Number.isSafeInteger(value['parameters']) ||
    !Array.isArray(cells) ||
    !cells.every(isCell)
  ) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The baseline ${file} is damaged: fields are missing.`,
      'Write a new one with: diffmine bench --out FILE.',
    );
  }
  return value as unknown as BenchReport;
}
