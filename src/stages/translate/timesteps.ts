// Which timesteps a translation inverts and samples at.
import { count } from '../../web/html.js';
import type { ScheduleConfig } from '../../engine/types.js';
import { samplingTimesteps } from '../../models/ddim.js';
import { DiffmineError } from '../../util/errors.js';

/** Number of steps for a fraction of K: int(K fraction), truncated as in the reference. */
export function stepsOfFraction(steps: number, fraction: number): number {
  return Math.trunc(steps * fraction);
}

/**
 * The sampling timesteps, descending. They must be among those of the inversion, which keeps the source's latents at them.
 *
 * @throws INVALID_ARGUMENT for steps that do not fit the schedule, or each other
 */
export function translationTimesteps(schedule: ScheduleConfig, inversionSteps: number, steps: number): number[] {
  const { trainTimesteps } = schedule;
  const inversion = fitting(schedule, inversionSteps, 'inversion');
  const sampling = fitting(schedule, steps, 'sampling');
  const kept = new Set(inversion);
  if (sampling.every((t) => kept.has(t))) return sampling;
  const [fine, coarse] = [Math.floor(trainTimesteps / inversionSteps), Math.floor(trainTimesteps / steps)];
  const why =
    coarse % fine !== 0
      ? `${steps} sampling steps are ${coarse} timesteps apart, which is not a multiple of the ${fine} of ${inversionSteps} inversion steps`
      : `the inversion ends at timestep ${inversion[0]}, the sampling begins at ${sampling[0]}`;
  throw new DiffmineError(
    'INVALID_ARGUMENT',
    `The inversion skips timesteps that sampling needs: ${why}.`,
    `Use ${pairNear(schedule, inversionSteps, steps)}: ${trainTimesteps} // \`inferenceSteps\` must be a multiple of ${trainTimesteps} // \`inversionSteps\`.`,
  );
}

/** Steps that fit each other: one of the two as it was asked for, the other the nearest that works. The same number of both always does. */
function pairNear(schedule: ScheduleConfig, inversionSteps: number, steps: number): string {
  const fit = (fine: number, coarse: number): boolean => {
    const kept = new Set(samplingTimesteps(schedule, fine));
    return samplingTimesteps(schedule, coarse).every((t) => kept.has(t));
  };
  const all = Array.from({ length: schedule.trainTimesteps }, (_, i) => i + 1);
  const usable = all.filter((n) => lastTimestep(schedule, n) < schedule.trainTimesteps);
  const nearest = (to: number, fits: (n: number) => boolean): number =>
    [...usable].sort((a, b) => Math.abs(a - to) - Math.abs(b - to)).find(fits) ?? to;
  const [inversion, sampling] = [
    nearest(inversionSteps, (n) => fit(n, steps)),
    nearest(steps, (n) => fit(inversionSteps, n)),
  ];
  return `\`inversionSteps\` ${inversion} with \`inferenceSteps\` ${steps}, or ${inversionSteps} with ${sampling}`;
}

const lastTimestep = ({ trainTimesteps, stepsOffset }: ScheduleConfig, steps: number): number =>
  Math.floor(trainTimesteps / steps) * (steps - 1) + stepsOffset;

function fitting(schedule: ScheduleConfig, steps: number, what: string): number[] {
  const last = lastTimestep(schedule, steps);
  if (
    Number.isSafeInteger(steps) &&
    steps >= 1 &&
    steps <= schedule.trainTimesteps &&
    last >= schedule.trainTimesteps
  ) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${steps} ${what} steps reach timestep ${last}, outside a schedule of ${schedule.trainTimesteps}.`,
      `Use at most ${count(steps - 1, 'step')}: this model's timesteps begin at ${schedule.stepsOffset}.`,
    );
  }
  return samplingTimesteps(schedule, steps);
}
