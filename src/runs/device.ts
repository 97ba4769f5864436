// Resolves device names: `auto` is the first GPU that this build can use, else the CPU; any other device must exist.
import { DiffmineError } from '../util/errors.js';
import { buildInfo, devices as listDevices } from '../engine/index.js';
import type { DeviceInfo, Dtype } from '../engine/types.js';

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
  return withDtype(findDevice(name), dtype);
}

/** @throws DEVICE_UNAVAILABLE if the device cannot compute in the dtype */
export function withDtype(device: DeviceInfo, dtype: Dtype): DeviceInfo {
  if (!device.dtypes.includes(dtype)) {
    throw new DiffmineError(
      'DEVICE_UNAVAILABLE',
      `${dtype} is not supported on this CPU (${device.name}): oneDNN has no ${dtype} for it, and convolutions without oneDNN take hundreds of times as long as in fp32.`,
      `Use ${device.dtypes.map((dtype) => `\`dtype\` ${dtype}`).join(' or ')}.`,
    );
  }
  return device;
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
