// Deterministic sampling (DDIM, Song et al. 2021, eta = 0; of flows Euler's method) with classifier-free guidance, and DDIM's inversion. The caller provides the model's output:
// from an engine, or from a trainer during training.
import { DiffmineError } from '../util/errors.js';
import { ddimInvertStep, ddimStep, ddimTimesteps, drawNoise, flowStep, flowSteps } from '../engine/index.js';
import { concatenate, stack } from '../engine/join.js';
import { float32, fromFloat32 } from '../engine/tensor.js';
import type { ScheduleConfig, Tensor } from '../engine/types.js';
import type { Hooks, Progress } from '../util/hooks.js';

/** The noise stream of sampling. */
const SAMPLING = 4;
/** Model UNet calls per pass, unless asked otherwise. */
const BATCH = 16;

/** The model's output, F32 `[n, C, h, w]`, for x of the same shape at `timesteps` `[n]` under the conditions `rows` `[n]`. */
export type Denoise = (x: Tensor, timesteps: number[], rows: number[]) => Promise<Tensor>;

export interface DdimRequest {
  steps: number;
  /** null + guidance (condition - null); 1 evaluates the condition alone, 0 the null condition alone */
  guidance: number;
  seed: number | bigint;
  /** [C, h, w] of an image as the model denoises it */
  shape: readonly number[];
  /** an image each: the row of its condition */
  rows: readonly number[];
  /** the row of the null condition; not read where guidance is 1 */
  nullRow: number;
  /** image i starts from the noise of sample first + i; default 0 */
  first?: number;
  /** instead of `first`: the sample of each image's noise */
  samples?: readonly number[];
  /** instead of noise: F32 [rows, C, h, w] */
  start?: Tensor;
  /** model UNet calls per pass (a guided image takes two); default 16 */
  batch?: number;
  /** default 'leading' */
  spacing?: string;
}

/** Cancelled between steps; progress is in steps of images. */
export interface DdimHooks extends Pick<Hooks<Progress<'sample'>>, 'signal' | 'onProgress'> {
  /** x after the step from `t`, of the images from `first` on */
  onStep?: (t: number, x: Tensor, first: number) => void;
}

/**
 * Timesteps of `steps` sampling steps, descending, spaced as diffusers does: "leading" (i (T / steps) + steps_offset), "trailing" (from the end,
 * down by T / steps) or "linspace" (from T - 1 to 0, both included). Those of flows are spaced by their shift.
 *
 * @throws INVALID_ARGUMENT for steps that do not fit the schedule, or another spacing
 */
export function samplingTimesteps(schedule: ScheduleConfig, steps: number, spacing = 'leading'): number[] {
  if (schedule.prediction === 'flow') return flowSteps(schedule, steps).timesteps;
  if (spacing === 'leading') return ddimTimesteps(schedule, steps);
  const { trainTimesteps } = schedule;
  if (!Number.isSafeInteger(steps) || steps < 1 || steps > trainTimesteps) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${steps} sampling steps do not fit a schedule of ${trainTimesteps} timesteps.`,
      `Use 1 to ${trainTimesteps} steps.`,
    );
  }
  if (spacing === 'trailing')
    return Array.from({ length: steps }, (_, i) => roundEven(trainTimesteps - (i * trainTimesteps) / steps) - 1);
  if (spacing === 'linspace')
    return Array.from({ length: steps }, (_, i) =>
      steps === 1 ? 0 : roundEven(((steps - 1 - i) * (trainTimesteps - 1)) / (steps - 1)),
    );
  throw new DiffmineError(
    'INVALID_ARGUMENT',
    `The timestep spacing ${JSON.stringify(spacing)} is not supported.`,
    'Supported: leading, trailing, linspace.',
  );
}

/** To the nearest whole number, halves to the even one: NumPy's rounding. */
function roundEven(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down;
}

/** x after the step number `step`, from `t`, with the model's output. */
type Stepper = (step: number, t: number, x: Tensor, output: Tensor) => Tensor;

function stepper(schedule: ScheduleConfig, steps: number): Stepper {
  if (schedule.prediction !== 'flow') return (_, t, x, output) => ddimStep(schedule, steps, t, x, output).prevSample;
  const { sigmas } = flowSteps(schedule, steps);
  return (step, _, x, output) => flowStep(sigmas[step] ?? 0, sigmas[step + 1] ?? 0, x, output);
}

/**
 * x0 F32 [rows, C, h, w]: latents, or pixels (folded where the model folds). An image depends on its noise and its condition alone; what shares
 * its pass changes no more than the rounding.
 *
 * @throws INVALID_ARGUMENT for a request that does not fit the schedule; CANCELLED after hooks.signal; NUMERICS for NaN or infinity; what `denoise` throws
 */
export async function sampleDdim(
  schedule: ScheduleConfig,
  request: DdimRequest,
  denoise: Denoise,
  hooks: DdimHooks = {},
): Promise<Tensor> {
  const { steps, guidance, seed, rows, nullRow, first = 0, samples, start, batch = BATCH } = request;
  const shape = [...request.shape];
  const size = shape.reduce((product, side) => product * side, 1);
  const timesteps = samplingTimesteps(schedule, steps, request.spacing);
  const next = stepper(schedule, steps);
  const one = guidance === 1 || guidance === 0;
  const together = Math.max(1, Math.floor(batch / (one ? 1 : 2)));
  const result = new Float32Array(rows.length * size);
  const given = start && float32(start);
  for (let begin = 0; begin < rows.length; begin += together) {
    const own = rows.slice(begin, begin + together);
    const nulls = own.map(() => nullRow);
    const noise = (i: number): Float32Array =>
      given
        ? given.subarray((begin + i) * size, (begin + i + 1) * size)
        : float32(drawNoise(seed, samples?.[begin + i] ?? first + begin + i, 1, shape, SAMPLING));
    let x = stack(own.map((_, i) => fromFloat32(shape, noise(i))));
    for (const [step, t] of timesteps.entries()) {
      if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Sampling was cancelled.');
      const evaluate = async (input: Tensor, conditions: number[]): Promise<Tensor> =>
        denoise(
          input,
          conditions.map(() => t),
          conditions,
        );
      let output: Tensor;
      if (one) output = await evaluate(x, guidance === 1 ? own : nulls);
      else if (2 * own.length <= batch)
        output = guided(await evaluate(concatenate([x, x]), [...own, ...nulls]), guidance);
      else output = guided(concatenate([await evaluate(x, own), await evaluate(x, nulls)]), guidance);
      x = next(step, t, x, output);
      hooks.onStep?.(t, x, begin);
      hooks.onProgress?.({
        type: 'sample',
        done: begin * steps + own.length * (step + 1),
        total: rows.length * steps,
      });
    }
    const values = float32(x);
    if (!values.every(Number.isFinite))
      throw new DiffmineError('NUMERICS', 'Sampled images are not finite.', 'Check the model; `dtype` fp32.');
    result.set(values, begin * size);
  }
  return fromFloat32([rows.length, ...shape], result);
}

/**
 * The noise that DDIM sampling would make x0 of: F32 [B, C, h, w], ascending through the timesteps of `steps` sampling steps under `rows` [B].
 * Each step asks the model at the timestep it goes to, as the reference does.
 */
export async function invertDdim(
  schedule: ScheduleConfig,
  request: { steps: number; x0: Tensor; rows: number[] },
  denoise: Denoise,
  hooks: DdimHooks = {},
): Promise<Tensor> {
  const { steps, rows } = request;
  const ascending = samplingTimesteps(schedule, steps).reverse();
  let x = request.x0;
  for (const [step, t] of ascending.entries()) {
    if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'The inversion was cancelled.');
    x = ddimInvertStep(
      schedule,
      steps,
      t,
      x,
      await denoise(
        x,
        rows.map(() => t),
        rows,
      ),
    );
    hooks.onStep?.(t, x, 0);
    hooks.onProgress?.({ type: 'sample', done: rows.length * (step + 1), total: rows.length * steps });
  }
  return x;
}

/** Classifier-free guidance (Ho and Salimans 2022): outputs F32 [2 B, ...], the conditions' first, then the null condition's -> F32 [B, ...]. */
function guided(outputs: Tensor, guidance: number): Tensor {
  const both = float32(outputs);
  const half = both.length / 2;
  const mixed = Float32Array.from({ length: half }, (_, i) => {
    const base = both[half + i] ?? NaN;
    return base + guidance * ((both[i] ?? NaN) - base);
  });
  return fromFloat32([(outputs.shape[0] ?? 0) / 2, ...outputs.shape.slice(1)], mixed);
}
