// Plug-and-Play translation against the reference: numbers of steps that fit, inversion, and sampling under other prompts.
import { DiffmineError } from '../../../util/errors.js';
import { ddimTimesteps } from '../../../engine/index.js';
import { float32, fromFloat32, fromInt64, tensor } from '../../../engine/tensor.js';
import type { ScheduleConfig, Tensor } from '../../../engine/types.js';
import {
  invertImages,
  samplePlugAndPlay,
  type InjectedDenoise,
  type PlugAndPlay,
} from '../../../stages/translate/plug-and-play.js';
import { stepsOfFraction, translationTimesteps } from '../../../stages/translate/timesteps.js';
import { queriesAndKeys } from '../../../stages/translate/sites.js';
import type { Op } from './op.js';
import { number, texts } from '../params.js';

export const pnpTimestepsOp: Op = {
  async run({ params }) {
    const pairs = params['pairs'];
    if (!Array.isArray(pairs))
      throw new DiffmineError('CHECK_FAILED', 'The case\'s params lack "pairs", a list of pairs.');
    const schedule: ScheduleConfig = {
      betaSchedule: 'scaled_linear',
      trainTimesteps: number(params, 'num_train_timesteps', 1000),
      betaStart: 0.00085,
      betaEnd: 0.012,
      prediction: 'epsilon',
      setAlphaToOne: false,
      stepsOffset: number(params, 'steps_offset', 1),
      clipSample: false,
      clipSampleRange: 1,
    };
    const fits = (inversion: number, sampling: number): boolean => {
      try {
        return translationTimesteps(schedule, inversion, sampling).length === sampling;
      } catch {
        return false;
      }
    };
    const steps = (pairs as [number, number][]).map(([inversion, sampling]) => ({
      fits: fits(inversion, sampling),
      largest: [inversion, sampling].map((count) => Math.max(...ddimTimesteps(schedule, count))),
    }));
    return Promise.resolve({
      outputs: {
        subset: fromInt64(
          [steps.length],
          steps.map((one) => Number(one.fits)),
        ),
        largest: fromInt64(
          [steps.length, 2],
          steps.flatMap((one) => one.largest),
        ),
      },
    });
  },
};

export const pnpTranslateOp: Op = {
  reducible: true,
  compound: true,
  async run(context) {
    const { params, call } = context;
    const [engine, schedule, model] = [await context.engine(), await context.schedule(), await context.model()];
    const prompts = ['cond_source', 'cond_negative', 'cond_targets'].map((name) => context.input(name));
    const [, ...embedding] = (prompts[0] as Tensor).shape;
    const count = (prompts[2] as Tensor).shape[0] ?? 0;
    const conditions = await engine.prepareConditions(
      tensor('F32', [2 + count, ...embedding], Buffer.concat(prompts.map(({ data }) => data))),
      call,
    );
    const denoise: InjectedDenoise = async (x, timesteps, conditionIndex, inject) =>
      (await engine.unetForward(conditions, { x, timesteps, conditionIndex, ...(inject ? { inject } : {}) }, call))
        .sample;

    const steps = number(params, 'num_inference_steps');
    const settings: PlugAndPlay = {
      inversionSteps: number(params, 'num_inversion_steps'),
      steps,
      features: texts(params, 'feature_sites'),
      featureSteps: stepsOfFraction(steps, number(params, 'feature_fraction')),
      attention: queriesAndKeys(texts(params, 'attention_sites')),
      attentionSteps: stepsOfFraction(steps, number(params, 'attention_fraction')),
    };
    const x0 = context.input('latent0');
    const shape = x0.shape.slice(1);
    const watched = watch(denoise);
    const [inverted] = await invertImages(schedule, settings, x0, [0], watched.denoise, call);
    if (!inverted) throw new DiffmineError('CHECK_FAILED', 'The case has no latent0.');
    // the latent of a step is what the next one is asked about; of the last one the inversion's end
    const inversion = [...watched.seen.slice(1), inverted.end];
    const targets = Array.from({ length: count }, (_, target) => ({
      row: 2 + target,
      guidance: number(params, 'guidance'),
    }));
    const timesteps: number[] = [];
    const states: Float32Array[] = [];
    const onStep = (_: number, target: number, t: number, x: Float32Array): void => {
      if (target === 0) timesteps.push(t);
      states.push(x);
    };
    const [made = []] = await samplePlugAndPlay(
      schedule,
      settings,
      shape,
      [{ ...inverted, negative: 1, targets }],
      1 + 2 * count,
      denoise,
      { ...call, onStep },
    );
    const latent = join(made, [count], shape);
    const decoded = await engine.vaeDecode(
      fromFloat32(
        latent.shape,
        float32(latent).map((value) => value / (model.source.vae?.config.scalingFactor ?? 1)),
      ),
      call,
    );
    const ascending = ddimTimesteps(schedule, settings.inversionSteps).reverse();
    return {
      outputs: {
        inv_timesteps: fromInt64([ascending.length], ascending),
        inv_trajectory: join(inversion, [inversion.length], context.reference('inv_trajectory').shape.slice(1)),
        inv_latent: join([inverted.end], [1], shape),
        timesteps: fromInt64([timesteps.length], timesteps),
        trajectory: join(states, [steps, count], shape),
        latent,
        image: fromFloat32(
          decoded.shape,
          float32(decoded).map((value) => Math.min(1, Math.max(0, value / 2 + 0.5))),
        ),
      },
    };
  },
};

/** The same, keeping what it is asked about. */
function watch(denoise: InjectedDenoise): { denoise: InjectedDenoise; seen: Float32Array[] } {
  const seen: Float32Array[] = [];
  return {
    seen,
    denoise: async (x, ...rest) => {
      seen.push(float32(x).slice());
      return denoise(x, ...rest);
    },
  };
}

function join(parts: readonly Float32Array[], counts: number[], shape: readonly number[]): Tensor {
  return fromFloat32([...counts, ...shape], Float32Array.from(parts.flatMap((part) => [...part])));
}
