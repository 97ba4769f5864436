// Schedules, noising and DDIM against diffusers' schedulers; the DDIM loops put the UNet and the single steps together.
import { addNoise, ddimInvertStep, ddimStep, ddimTimesteps, schedule } from '../../native/index';
import { fromFloat32, fromInt64, int64Numbers, toFloat32 } from '../../native/tensor';
import type { ScheduleConfig, Tensor } from '../../native/types';
import type { Op, OpContext } from '../ops';
import { number, text } from '../params';

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
    const spacing = text(params, 'timestep_spacing', 'leading');
    if (spacing !== 'leading') return Promise.resolve({ notChecked: `timestep spacing "${spacing}"` });
    const steps = ddimTimesteps(scheduleOfParams(params), number(params, 'num_inference_steps'));
    return Promise.resolve({ outputs: { timesteps: fromInt64([steps.length], steps) } });
  },
};

export const addNoiseOp: Op = {
  async run(context) {
    const { noisy, velocity } = addNoise(await context.schedule(), context.input('x0'), context.input('noise'), int64Numbers(context.input('t')));
    return { outputs: { noisy, velocity } };
  },
};

export const ddimStepOp: Op = {
  async run(context) {
    const config = await context.schedule();
    const steps = number(context.params, 'num_inference_steps');
    const all = ddimTimesteps(config, steps);
    const { prevSample, predX0 } = ddimStep(config, steps, number(context.params, 't'), context.input('sample'), context.input('model_output'));
    return { outputs: { prev_sample: prevSample, pred_x0: predX0, timesteps: fromInt64([all.length], all) } };
  },
};

/** x through `timesteps`, each step by `advance` of the UNet's output at (x, t); the states after each step, stacked. */
async function walk(
  context: OpContext, start: Tensor, timesteps: number[], guidance: number | null, advance: (t: number, x: Tensor, output: Tensor) => Tensor,
): Promise<{ outputs: Record<string, Tensor> }> {
  const engine = await context.engine();
  const cond = await engine.prepareConditions(context.input('cond'), context.call);
  const uncond = guidance === null ? undefined : await engine.prepareConditions(context.input('uncond'), context.call);
  const forward = async (x: Tensor, t: number, conditions: typeof cond): Promise<Tensor> =>
    (await engine.unetForward(conditions, { x, timesteps: [t], conditionIndex: [0] }, context.call)).sample;
  let x = start;
  const states: Tensor[] = [];
  for (const t of timesteps) {
    let output = await forward(x, t, cond);
    if (uncond && guidance !== null) {
      const [c, u] = [toFloat32(output), toFloat32(await forward(x, t, uncond))];
      output = fromFloat32(output.shape, Float32Array.from(u, (value, i) => value + guidance * ((c[i] ?? NaN) - value)));
    }
    x = advance(t, x, output);
    states.push(x);
  }
  const trajectory = new Float32Array(states.length * toFloat32(start).length);
  states.forEach((state, i) => trajectory.set(toFloat32(state), i * (trajectory.length / states.length)));
  return {
    outputs: { latent: x, trajectory: fromFloat32([states.length, ...start.shape], trajectory), timesteps: fromInt64([timesteps.length], timesteps) },
  };
}

export const ddimInvertOp: Op = {
  reducible: true,
  compound: true,
  async run(context) {
    const config = await context.schedule();
    const steps = number(context.params, 'num_inference_steps');
    const ascending = ddimTimesteps(config, steps).reverse();
    return walk(context, context.input('x0'), ascending, null, (t, x, output) => ddimInvertStep(config, steps, t, x, output));
  },
};

export const ddimSampleOp: Op = {
  reducible: true,
  compound: true,
  async run(context) {
    const config = await context.schedule();
    const steps = number(context.params, 'num_inference_steps');
    const guidance = context.params['guidance'] === null ? null : number(context.params, 'guidance');
    return walk(context, context.input('xT'), ddimTimesteps(config, steps), guidance, (t, x, output) => ddimStep(config, steps, t, x, output).prevSample);
  },
};
