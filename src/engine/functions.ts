// What the native core computes without a model: schedules, noise, devices, safetensors files.
import { call } from './call.js';
import { withThreads } from './cores.js';
import type {
  BuildInfo,
  DeviceInfo,
  FlowSteps,
  SafetensorsHeader,
  SamplerName,
  ScheduleConfig,
  Tensor,
} from './types.js';

/** The LibTorch that the addon was compiled for, and the one that it runs with. */
export function buildInfo(): BuildInfo {
  return call((addon) => addon.buildInfo());
}

/** All usable devices, the CPU first. */
export function devices(): DeviceInfo[] {
  return call((addon) => addon.devices().map(withThreads));
}

/** The schedule's betas and cumulated alphas, F32 [T]. */
export function schedule(config: ScheduleConfig): { betas: Tensor; alphasCumprod: Tensor } {
  return call((addon) => addon.schedule(config));
}

/** Noises x0 with noise, F32 `[B, ...]`, at `timesteps` `[B]`. The model's input, and the velocity for v-prediction. */
export function addNoise(
  config: ScheduleConfig,
  x0: Tensor,
  noise: Tensor,
  timesteps: number[],
): { noisy: Tensor; velocity: Tensor } {
  return call((addon) => addon.addNoise(config, x0, noise, timesteps));
}

/** The timesteps and noise levels of `steps` Euler steps of a flow. */
export function flowSteps(config: ScheduleConfig, steps: number): FlowSteps {
  return call((addon) => addon.flowSteps(config, steps));
}

/** One Euler step of a flow, from noise level `sigma` to `next`. */
export function flowStep(sigma: number, next: number, sample: Tensor, modelOutput: Tensor): Tensor {
  return call((addon) => addon.flowStep(sigma, next, sample, modelOutput));
}

/** The timesteps of a DDIM schedule of `steps` steps, descending. */
export function ddimTimesteps(config: ScheduleConfig, steps: number): number[] {
  return call((addon) => addon.ddimTimesteps(config, steps));
}

/** One DDIM step (eta = 0) from `t` to the previous level. */
export function ddimStep(
  config: ScheduleConfig,
  steps: number,
  t: number,
  sample: Tensor,
  modelOutput: Tensor,
): { prevSample: Tensor; predX0: Tensor } {
  return call((addon) => addon.ddimStep(config, steps, t, sample, modelOutput));
}

/** One DDIM inversion step to `t`. */
export function ddimInvertStep(
  config: ScheduleConfig,
  steps: number,
  t: number,
  sample: Tensor,
  modelOutput: Tensor,
): Tensor {
  return call((addon) => addon.ddimInvertStep(config, steps, t, sample, modelOutput));
}

/** Standard normal noise F32 [count, ...shape] of the samples from firstSample on: a pure function of seed, sample, stream and position. */
export function drawNoise(
  seed: number | bigint,
  firstSample: number,
  count: number,
  shape: number[],
  stream: number,
): Tensor {
  return call((addon) => addon.drawNoise(seed, firstSample, count, shape, stream));
}

/** Timesteps of `samples` samples in [tBegin, tEnd). */
export function drawTimesteps(
  sampler: SamplerName,
  seed: number | bigint,
  samples: number,
  tBegin: number,
  tEnd: number,
): number[] {
  return call((addon) => addon.drawTimesteps(sampler, seed, samples, tBegin, tEnd));
}

/**
 * The header of a safetensors file: its tensors and metadata.
 *
 * @throws WEIGHTS_INVALID if it is malformed, IO if it cannot be read
 */
export function readSafetensorsHeader(path: string): SafetensorsHeader {
  return call((addon) => addon.readSafetensorsHeader(path));
}

/** Reads the named tensors of a safetensors file, or all. Errors as in readSafetensorsHeader; INVALID_ARGUMENT for a missing name. */
export function readSafetensors(path: string, names?: string[]): Record<string, Tensor> {
  return call((addon) => addon.readSafetensors(path, names));
}

/**
 * Writes a safetensors file under a temporary name, then renames it.
 *
 * @throws IO if it cannot be written; no partial file is left
 */
export function writeSafetensors(
  path: string,
  tensors: Record<string, Tensor>,
  metadata?: Record<string, string>,
): void {
  call((addon) => addon.writeSafetensors(path, tensors, metadata));
}
