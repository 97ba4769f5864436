// Schedules, noising and DDIM against diffusers' schedulers; src/models/ddim.ts puts the UNet and the single steps together.
import { addNoise, ddimStep, ddimTimesteps, schedule } from '../../../engine/index.js';
import { fromInt64, int64Numbers, tensor } from '../../../engine/tensor.js';
import type { ScheduleConfig, Tensor } from '../../../engine/types.js';
import { invertDdim, sampleDdim, samplingTimesteps, type Denoise } from '../../../models/ddim.js';
import type { Op, OpContext } from './op.js';
import { number, text } from '../params.js';

/** A schedule as the case's params describe it, diffusers' defaults for the rest. */
function scheduleOfParams(params: Record<string, unknown>): ScheduleConfig {
  return {
    betaSchedule: text(params, 'beta_schedule', 'linear') as ScheduleConfig['betaSchedule'],
    trainTimesteps: number(params, 'num_train_timesteps', 1000),
    betaStart: number(params, 'beta_start', 0.0001),
    betaEnd: number(params, 'beta_end', 0.02),
    prediction: 'epsilon',
    setAlphaToOne: true,
    stepsOffset: number(params, 'steps_offset', 0),
    clipSample: true,
    clipSampleRange: 1,
  };
}

export const scheduleOp: Op = {
  async run({ params }) {
    const { betas, alphasCumprod } = schedule(scheduleOfParams(params));
    return Promise.resolve({ outputs: { betas, alphas_cumprod: alphasCumprod } });
  },
};

export const ddimTimestepsOp: Op = {
  async run({ params }) {
    const steps = samplingTimesteps(
      scheduleOfParams(params),
      number(params, 'num_inference_steps'),
      text(params, 'timestep_spacing', 'leading'),
    );
    return Promise.resolve({ outputs: { timesteps: fromInt64([steps.length], steps) } });
  },
};

export const addNoiseOp: Op = {
  async run(context) {
    const { noisy, velocity } = addNoise(
      await context.schedule(),
      context.input('x0'),
      context.input('noise'),
      int64Numbers(context.input('t')),
    );
    return { outputs: { noisy, velocity } };
  },
};

export const ddimStepOp: Op = {
  async run(context) {
    const config = await context.schedule();
    const steps = number(context.params, 'num_inference_steps');
    const all = ddimTimesteps(config, steps);
    const { prevSample, predX0 } = ddimStep(
      config,
      steps,
      number(context.params, 't'),
      context.input('sample'),
      context.input('model_output'),
    );
    return { outputs: { prev_sample: prevSample, pred_x0: predX0, timesteps: fromInt64([all.length], all) } };
  },
};

/** An engine that denoises under the case's `cond` (row 0) and, if it has one, `uncond` (row 1). */
async function denoiser(context: OpContext, guided: boolean): Promise<Denoise> {
  const engine = await context.engine();
  const inputs = [context.input('cond'), ...(guided ? [context.input('uncond')] : [])];
  const [, ...shape] = context.input('cond').shape;
  const conditions = await engine.prepareConditions(
    tensor('F32', [inputs.length, ...shape], Buffer.concat(inputs.map(({ data }) => data))),
    context.call,
  );
  return async (x, timesteps, conditionIndex) =>
    (await engine.unetForward(conditions, { x, timesteps, conditionIndex }, context.call)).sample;
}

/** What a case says of its way from noise to image or back: its end, the states after each step, the timesteps. */
async function walked(
  run: (onStep: (t: number, x: Tensor) => void) => Promise<Tensor>,
): Promise<{ outputs: Record<string, Tensor> }> {
  const timesteps: number[] = [];
  const states: Tensor[] = [];
  const latent = await run((t, x) => {
    timesteps.push(t);
    states.push(x);
  });
  return {
    outputs: {
      latent,
      trajectory: tensor('F32', [states.length, ...latent.shape], Buffer.concat(states.map(({ data }) => data))),
      timesteps: fromInt64([timesteps.length], timesteps),
    },
  };
}

export const ddimInvertOp: Op = {
  reducible: true,
  compound: true,
  async run(context) {
    const config = await context.schedule();
    const denoise = await denoiser(context, false);
    return walked(async (onStep) =>
      invertDdim(
        config,
        { steps: number(context.params, 'num_inference_steps'), x0: context.input('x0'), rows: [0] },
        denoise,
        { onStep },
      ),
    );
  },
};

export const ddimSampleOp: Op = {
  reducible: true,
  compound: true,
  async run(context) {
    const config = await context.schedule();
    const guidance = context.params['guidance'] === null ? 1 : number(context.params, 'guidance');
    const start = context.input('xT');
    const denoise = await denoiser(context, guidance !== 1);
    const request = {
      steps: number(context.params, 'num_inference_steps'),
      guidance,
      seed: 0,
      shape: start.shape.slice(1),
      rows: [0],
      nullRow: 1,
      start,
    };
    return walked(async (onStep) => sampleDdim(config, request, denoise, { onStep }));
  },
};
