// Plug-and-Play diffusion features (Tumanyan et al., CVPR 2023) as section 5.1 of the paper uses them: an image is inverted with DDIM under its own
// label, then sampled under others, while injected features and self-attention of the source keep its structure.
//
// At each sampling step, the batch has one source row per image (the inversion's latent of that timestep, under the negative condition) and the rows of
// its targets. In the first steps, the output of a second convolution in the source row replaces that of the target rows; in the first of these steps,
// so do the queries and keys of self-attention.
import { DiffmineError } from '../../util/errors.js';
import { ddimStep } from '../../engine/index.js';
import { float32, fromFloat32 } from '../../engine/tensor.js';
import type { ScheduleConfig, Tensor } from '../../engine/types.js';
import { invertDdim, samplingTimesteps } from '../../models/ddim.js';
import type { Hooks } from '../../util/hooks.js';
import { translationTimesteps } from './timesteps.js';

/** At each path the output of row r is replaced by that of row source[r]. */
export interface Injection {
  paths: string[];
  source: number[];
}

/** The model's output for x F32 [n, C, h, w] at `timesteps` [n] under the conditions `rows` [n], with what is injected: F32 [n, C, h, w]. */
export type InjectedDenoise = (x: Tensor, timesteps: number[], rows: number[], inject?: Injection) => Promise<Tensor>;

/** Parameters of a translation, besides model, image and labels. */
export interface PlugAndPlay {
  inversionSteps: number;
  /** sampling steps; their timesteps are among the inversion's */
  steps: number;
  /** module paths replaced in the first `featureSteps` */
  features: readonly string[];
  featureSteps: number;
  /** module paths replaced in the first `attentionSteps` */
  attention: readonly string[];
  attentionSteps: number;
  /** timesteps [begin, end) in which guidance acts (Kynkäänniemi et al. 2024); outside it only the condition is computed. Default: all */
  guided?: readonly [number, number];
}

/** An inverted image. */
export interface Inverted {
  /** x at the inversion's end, [C, h, w]: what every target starts from */
  end: Float32Array;
  /** x of the inversion at each sampling timestep, [C, h, w] */
  saved: ReadonlyMap<number, Float32Array>;
}

export interface Target {
  /** the row of its condition */
  row: number;
  /** negative + guidance (condition - negative); with 1, only the condition is computed */
  guidance: number;
}

export interface Source extends Inverted {
  /** row of the negative condition, which the source row uses as well */
  negative: number;
  targets: readonly Target[];
}

/** Cancelled between steps. */
export interface PlugAndPlayHooks extends Pick<Hooks, 'signal'> {
  /** number of UNet calls just made */
  onUnetCalls?: (unetCalls: number) => void;
  /** x of a source's target after the sampling step from `t` */
  onStep?: (source: number, target: number, t: number, x: Float32Array) => void;
}

/**
 * Inverts images of the same shape, x0 F32 [B, C, h, w], each under the condition `rows` [B] of its own label, without guidance and without clipping.
 *
 * @throws INVALID_ARGUMENT for steps that do not fit; CANCELLED; NUMERICS; what `denoise` throws
 */
export async function invertImages(
  schedule: ScheduleConfig,
  settings: Pick<PlugAndPlay, 'inversionSteps' | 'steps'>,
  x0: Tensor,
  rows: number[],
  denoise: InjectedDenoise,
  hooks: PlugAndPlayHooks = {},
): Promise<Inverted[]> {
  const wanted = new Set(translationTimesteps(schedule, settings.inversionSteps, settings.steps));
  const saved = rows.map(() => new Map<number, Float32Array>());
  const size = float32(x0).length / Math.max(1, rows.length);
  const part = (x: Tensor, i: number): Float32Array => float32(x).slice(i * size, (i + 1) * size);
  const end = await invertDdim(schedule, { steps: settings.inversionSteps, x0, rows }, denoise, {
    signal: hooks.signal,
    onStep: (t, x) => {
      if (wanted.has(t)) saved.forEach((kept, i) => kept.set(t, part(x, i)));
      hooks.onUnetCalls?.(rows.length);
    },
  });
  if (!float32(end).every(Number.isFinite))
    throw new DiffmineError('NUMERICS', 'The inversion is not finite.', 'Check the model, or use `dtype` fp32.');
  return saved.map((kept, i) => ({ end: part(end, i), saved: kept }));
}

/** A target of a source, in a pass with others. */
interface Item {
  source: number;
  target: number;
}

/** Rows of the largest forward pass: one per source, and one per target, or two with guidance. */
function rowsOf(sources: readonly Source[], items: readonly Item[]): number {
  return (
    new Set(items.map(({ source }) => source)).size +
    items.reduce((sum, item) => sum + (isGuided(sources, item) ? 2 : 1), 0)
  );
}

/** Guidance has no effect if the scale is 1, or if target and negative condition are the same. */
function isGuided(sources: readonly Source[], { source, target }: Item): boolean {
  const { negative, targets } = sources[source] as Source;
  const { row, guidance } = targets[target] as Target;
  return guidance !== 1 && row !== negative;
}

function guides({ guided }: PlugAndPlay, t: number): boolean {
  return !guided || (t >= guided[0] && t < guided[1]);
}

/** Groups all targets in order, as many as fit into `batch` rows (at least one). Targets of one source are only split if they do not fit. */
function passes(sources: readonly Source[], batch: number): Item[][] {
  const all: Item[][] = [];
  for (const [source, { targets }] of sources.entries()) {
    const own = targets.map((_, target) => ({ source, target }));
    const last = all.at(-1);
    if (last && rowsOf(sources, [...last, ...own]) <= batch) {
      last.push(...own);
      continue;
    }
    let current: Item[] = [];
    for (const item of own) {
      if (current.length > 0 && rowsOf(sources, [...current, item]) > batch) {
        all.push(current);
        current = [];
      }
      current.push(item);
    }
    if (current.length > 0) all.push(current);
  }
  return all;
}

/** Number of UNet calls that `samplePlugAndPlay` makes. */
export function samplingUnetCalls(
  schedule: ScheduleConfig,
  settings: PlugAndPlay,
  sources: readonly Source[],
  batch: number,
): number {
  const { steps } = settings;
  const injected = injectedSteps(settings);
  const guidedSteps = samplingTimesteps(schedule, steps).filter((t) => guides(settings, t)).length;
  return passes(sources, batch).reduce((sum, items) => {
    const parts = new Set(items.map(({ source }) => source)).size;
    return (
      sum +
      steps * items.length +
      guidedSteps * items.filter((item) => isGuided(sources, item)).length +
      injected * parts
    );
  }, 0);
}

/** Number of steps with injection: later steps need no source row. */
function injectedSteps({ features, featureSteps, attention, attentionSteps }: PlugAndPlay): number {
  return Math.max(features.length > 0 ? featureSteps : 0, attention.length > 0 ? attentionSteps : 0);
}

/**
 * Translates each source, to one x0 [C, h, w] per target. Targets do not interact: sharing a forward pass changes only the rounding, and one source row
 * is used by all its targets in the pass.
 *
 * @param shape [C, h, w] of all of them
 * @param batch rows of a forward pass; a single guided target needs three
 * @throws INVALID_ARGUMENT, CANCELLED; NUMERICS for NaN or infinity; what `denoise` throws
 */
export async function samplePlugAndPlay(
  schedule: ScheduleConfig,
  settings: PlugAndPlay,
  shape: readonly number[],
  sources: readonly Source[],
  batch: number,
  denoise: InjectedDenoise,
  hooks: PlugAndPlayHooks = {},
): Promise<Float32Array[][]> {
  const timesteps = translationTimesteps(schedule, settings.inversionSteps, settings.steps);
  const results: Float32Array[][] = sources.map(() => []);
  for (const items of passes(sources, batch)) {
    const parts = [...new Set(items.map(({ source }) => source))];
    let states = items.map(({ source }) => (sources[source] as Source).end);
    for (const [step, t] of timesteps.entries()) {
      if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'The translation was cancelled.');
      const paths = [
        ...(step < settings.featureSteps ? settings.features : []),
        ...(step < settings.attentionSteps ? settings.attention : []),
      ];
      const guided = guides(settings, t);
      const outputs = await evaluate(
        { sources, items, parts: paths.length > 0 ? parts : [], states, t, guided, paths, shape },
        denoise,
        hooks,
      );
      const x = float32(ddimStep(schedule, settings.steps, t, stack(states, shape), stack(outputs, shape)).prevSample);
      const size = x.length / items.length;
      states = items.map((_, i) => x.slice(i * size, (i + 1) * size));
      items.forEach(({ source, target }, i) => hooks.onStep?.(source, target, t, states[i] as Float32Array));
    }
    items.forEach(({ source, target }, i) => {
      const x = states[i] as Float32Array;
      if (!x.every(Number.isFinite))
        throw new DiffmineError(
          'NUMERICS',
          'Translated images are not finite.',
          'Use a lower `guidanceScale` or `dtype` fp32. If that does not help, check the model.',
        );
      (results[source] as Float32Array[])[target] = x;
    });
  }
  return results;
}

interface Step {
  sources: readonly Source[];
  items: readonly Item[];
  /** sources whose rows are computed; none if nothing is injected */
  parts: readonly number[];
  /** x of each item */
  states: readonly Float32Array[];
  t: number;
  guided: boolean;
  paths: string[];
  shape: readonly number[];
}

/** One forward pass with rows [sources, negatives of guided items, items], and the guided output of each item. */
async function evaluate(
  { sources, items, parts, states, t, guided, paths, shape }: Step,
  denoise: InjectedDenoise,
  hooks: PlugAndPlayHooks,
): Promise<Float32Array[]> {
  const rows: { x: Float32Array; condition: number; source: number }[] = parts.map((source, row) => {
    const { saved, negative } = sources[source] as Source;
    const x = saved.get(t);
    if (!x) throw new DiffmineError('INTERNAL', `The inversion kept no latent of timestep ${t}.`);
    return { x, condition: negative, source: row };
  });
  const add = (i: number, condition: number): number => {
    const place = parts.indexOf((items[i] as Item).source);
    return rows.push({ x: states[i] as Float32Array, condition, source: place }) - 1;
  };
  const negatives = items.map((item, i) =>
    guided && isGuided(sources, item) ? add(i, (sources[item.source] as Source).negative) : undefined,
  );
  const conditioned = items.map(({ source, target }, i) =>
    add(i, ((sources[source] as Source).targets[target] as Target).row),
  );
  const inject = parts.length > 0 ? { paths, source: rows.map(({ source }) => source) } : undefined;
  const output = float32(
    await denoise(
      stack(
        rows.map(({ x }) => x),
        shape,
      ),
      rows.map(() => t),
      rows.map(({ condition }) => condition),
      inject,
    ),
  );
  hooks.onUnetCalls?.(rows.length);

  const size = output.length / rows.length;
  const of = (row: number): Float32Array => output.subarray(row * size, (row + 1) * size);
  return items.map(({ source, target }, i) => {
    const label = of(conditioned[i] as number);
    const negative = negatives[i];
    if (negative === undefined) return label;
    const base = of(negative);
    const { guidance } = (sources[source] as Source).targets[target] as Target;
    return Float32Array.from(label, (value, k) => (base[k] ?? NaN) + guidance * (value - (base[k] ?? NaN)));
  });
}

/** n arrays of [C, h, w] as F32 [n, C, h, w]. */
function stack(parts: readonly Float32Array[], shape: readonly number[]): Tensor {
  const size = shape.reduce((product, side) => product * side, 1);
  const all = new Float32Array(parts.length * size);
  parts.forEach((part, i) => all.set(part, i * size));
  return fromFloat32([parts.length, ...shape], all);
}
