// What `--dtype auto` means: the fastest dtype that a study in docs/results shows to be good enough for the task.
import type { DeviceInfo, Dtype } from '../engine/types.js';
import type { DTYPE_CHOICES } from '../options/names.js';
import { DiffmineError } from '../util/errors.js';
import type { Hooks } from '../util/hooks.js';

export type DtypeChoice = (typeof DTYPE_CHOICES)[number];

/**
 * What results are used for. A ranking may lose at most a tenth of what another seed costs it, and a model trained from scratch less than another seed;
 * docs/results/reduced-precision.md shows that for bf16 on a CPU. No study covers images that are sampled or translated, or the fine-tuning of a model.
 */
export type Task = 'ranking' | 'training' | 'fine-tuning' | 'images';

/** Depends only on what the device reports. `reason`: a clause, for messages. */
export function autoDtype(
  { id, nativeDtypes }: Pick<DeviceInfo, 'id' | 'nativeDtypes'>,
  task: Task,
): { dtype: Dtype; reason: string } {
  if (task === 'images' || task === 'fine-tuning')
    return { dtype: 'fp32', reason: `the effect of other dtypes on ${task} is not measured` };
  if (id !== 'cpu')
    return { dtype: 'fp32', reason: `${task === 'ranking' ? 'the ranking' : task} in fp16 is not measured on a GPU` };
  return nativeDtypes.includes('bf16')
    ? { dtype: 'bf16', reason: 'this CPU multiplies in bf16' }
    : { dtype: 'fp32', reason: 'this CPU does not multiply in bf16' };
}

export interface DtypeContext extends Pick<Hooks, 'onLog'> {
  task?: Task;
  /** of the work in `out`, if there is any: a resumed work keeps its dtype */
  recorded?: Dtype | undefined;
}

/**
 * The dtype that an option means on a device. `auto` keeps the dtype of resumed work, whatever the device would choose for new work.
 *
 * @throws DEVICE_UNAVAILABLE where the device cannot compute in the dtype of resumed work
 */
export function chooseDtype(
  asked: DtypeChoice,
  device: DeviceInfo,
  { task = 'ranking', recorded, onLog }: DtypeContext = {},
): Dtype {
  if (asked !== 'auto') return asked;
  const { dtype, reason } = autoDtype(device, task);
  if (recorded === undefined || recorded === dtype) {
    onLog?.(`Dtype: ${dtype} (${reason}).`);
    return dtype;
  }
  if (!device.dtypes.includes(recorded))
    throw new DiffmineError(
      'DEVICE_UNAVAILABLE',
      `This run began in ${recorded}, which ${device.name} does not support. Another dtype would change its results.`,
      'Resume it on a device like the one it began on, or give `out` another folder.',
    );
  const slow = device.nativeDtypes.includes(recorded) ? '' : `, though ${device.name} emulates it and will be slow`;
  onLog?.(`Dtype: ${recorded}, as this run began${slow}. A new run here would use ${dtype} (${reason}).`);
  return recorded;
}
