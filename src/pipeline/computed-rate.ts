// UNet calls per second of a CPU that nothing was measured on, from counted operations.
import type { Dtype } from '../engine/types.js';
import type { ModelFolder } from '../models/index.js';
import { operations } from '../models/operations.js';
import { usableCores } from '../engine/cores.js';
import type { Shape } from './batch.js';

/** Operations per second and core of a CPU: SD 1.5 at 64 x 64 latents on an Intel Xeon with AMX (docs/results/cpu.md). */
const CORE = { bf16: (2 * 803.3e9) / 3.11 / 2, fp32: (2 * 803.3e9) / 9.04 / 2 } as const;
/** Of that: small models, and CPUs without AMX, reach less. */
const CORE_FRACTION = [0.5, 1] as const;

/** Training reaches this fraction of the rate of a scan's UNet calls: its optimizer and its backward pass move more bytes. An assumption. */
export const TRAINING_OF_A_SCAN = 0.5;

/** Operations per second, from and to. */
export function speedOfCpu(cores: number, dtype: Dtype): readonly [number, number] {
  const each = dtype === 'fp32' ? CORE.fp32 : CORE.bf16;
  return [CORE_FRACTION[0] * cores * each, CORE_FRACTION[1] * cores * each];
}

/** UNet calls per second of this machine's CPU, at least. */
export function rateOfCpu(
  { source }: Pick<ModelFolder, 'source'>,
  shape: Shape,
  dtype: Dtype,
  threads: number | undefined,
): number {
  const [least] = speedOfCpu(threads ?? usableCores(), dtype);
  return least / operations(source, shape.rows, shape.columns);
}

/** Training steps per second of this machine's CPU, at least. */
export function trainingRateOfCpu(operationsPerStep: number, dtype: Dtype, threads: number | undefined): number {
  const [least] = speedOfCpu(threads ?? usableCores(), dtype);
  return (TRAINING_OF_A_SCAN * least) / operationsPerStep;
}
