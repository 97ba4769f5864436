// Resolves device names: `auto` is the first GPU that this build can use, else the CPU; any other device must exist.
import { DiffmineError } from '../util/errors.js';
import { autoDtype, type DtypeOption, type Purpose } from '../engine/dtype.js';
import { buildInfo, devices as listDevices } from '../engine/index.js';
import type { DeviceInfo, Dtype } from '../engine/types.js';
import type { Hooks } from '../util/hooks.js';

/**
 * @param name 'auto', 'cpu', 'cuda' or 'cuda:N'
 * @throws DEVICE_UNAVAILABLE if it is not there; INVALID_ARGUMENT for another name
 */
export function findDevice(name: string): DeviceInfo {
  if (!/^(auto|cpu|cuda(:\d+)?)$/.test(name)) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `There is no device ${JSON.stringify(name)}.`,
      'Give auto, cpu, cuda or cuda:N.',
    );
  }
  const devices = listDevices();
  const wanted = name === 'cuda' ? 'cuda:0' : name;
  const device =
    devices.find(({ id }) => (wanted === 'auto' ? id.startsWith('cuda') : id === wanted)) ??
    (wanted === 'auto' ? devices.find(({ id }) => id === 'cpu') : undefined);
  if (!device) {
    const hint = buildInfo().cuda
      ? `Devices here: ${devices.map(({ id }) => id).join(', ')}.`
      : 'This build supports only CPUs; `diffmine setup --cuda` builds one for NVIDIA GPUs.';
    throw new DiffmineError('DEVICE_UNAVAILABLE', `The device ${wanted} is not available.`, hint);
  }
  return device;
}

/**
 * As findDevice.
 *
 * @throws DEVICE_UNAVAILABLE also if it cannot compute in the dtype
 */
export function chooseDevice(name: string, dtype: Dtype): DeviceInfo {
  const device = findDevice(name);
  if (!device.dtypes.includes(dtype)) {
    throw new DiffmineError(
      'DEVICE_UNAVAILABLE',
      `${dtype} is not supported on this CPU (${device.name}): oneDNN has no ${dtype} for it, and convolutions without oneDNN take hundreds of times as long as in fp32.`,
      `Use ${device.dtypes.map((dtype) => `\`dtype\` ${dtype}`).join(' or ')}.`,
    );
  }
  return device;
}

/** The dtype that an option means on a device. */
export interface Precision {
  dtype: Dtype;
  /** why `auto` chose it; undefined where the option names it */
  autoDtype: string | undefined;
}

/**
 * What `auto` means on the device, or in work that is resumed: the dtype it began with.
 *
 * @param recorded dtype of the work in `--out`, if there is any
 * @param onLog told what `auto` has chosen
 * @throws DEVICE_UNAVAILABLE where resumed work cannot go on with its dtype here
 */
export function choosePrecision(
  asked: DtypeOption,
  device: DeviceInfo,
  {
    purpose = 'ranking',
    recorded,
    onLog,
  }: { purpose?: Purpose; recorded?: Dtype | undefined; onLog?: Hooks['onLog'] } = {},
): Precision {
  if (asked !== 'auto') return { dtype: asked, autoDtype: undefined };
  const { dtype, reason } = autoDtype(device, purpose);
  if (recorded === undefined || recorded === dtype) {
    onLog?.(`Dtype: ${dtype} (${reason}).`);
    return { dtype, autoDtype: reason };
  }
  if (!device.dtypes.includes(recorded))
    throw new DiffmineError(
      'DEVICE_UNAVAILABLE',
      `This work began in ${recorded}, which ${device.name} cannot compute in. Another dtype would change its results.`,
      'Resume it on a device like the one it began on, or give `out` another folder.',
    );
  onLog?.(`Dtype: ${recorded}, as this work began. New work here would use ${dtype} (${reason}).`);
  return { dtype: recorded, autoDtype: reason };
}

/**
 * As chooseDevice, for training.
 *
 * @throws DEVICE_UNAVAILABLE also for fp16 on a CPU, whose gradients of convolutions LibTorch makes without oneDNN
 */
export function chooseTrainingDevice(name: string, dtype: Dtype): DeviceInfo {
  const device = chooseDevice(name, dtype);
  if (device.id === 'cpu' && dtype === 'fp16') {
    throw new DiffmineError(
      'DEVICE_UNAVAILABLE',
      'fp16 cannot be trained on a CPU: gradients of convolutions take hundreds of times as long as in fp32.',
      'Use `dtype` fp32 or `dtype` bf16.',
    );
  }
  return device;
}
