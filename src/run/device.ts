// Which device a name means: `auto` is the first GPU this build can use, else the CPU; anything else must be there.
import { DiffmineError } from '../errors';
import { buildInfo, devices as listDevices } from '../native';
import type { DeviceInfo, Precision } from '../native/types';

/**
 * @param name 'auto', 'cpu', 'cuda' or 'cuda:N'
 * @throws DEVICE_UNAVAILABLE where it is not there, or cannot do the precision; INVALID_ARGUMENT for another name
 */
export function chooseDevice(name: string, precision: Precision): DeviceInfo {
  if (!/^(auto|cpu|cuda(:\d+)?)$/.test(name)) {
    throw new DiffmineError('INVALID_ARGUMENT', `There is no device ${JSON.stringify(name)}.`, 'Give auto, cpu, cuda or cuda:N.');
  }
  const devices = listDevices();
  const wanted = name === 'cuda' ? 'cuda:0' : name;
  const device = devices.find(({ id }) => (wanted === 'auto' ? id.startsWith('cuda') : id === wanted)) ?? (wanted === 'auto' ? devices.find(({ id }) => id === 'cpu') : undefined);
  if (!device) {
    const hint = buildInfo().cuda ? `Devices here: ${devices.map(({ id }) => id).join(', ')}.` : 'This build is for CPUs only; `diffmine setup --cuda` makes one for NVIDIA GPUs.';
    throw new DiffmineError('DEVICE_UNAVAILABLE', `The device ${wanted} is not available.`, hint);
  }
  if (device.id === 'cpu' && precision === 'fp16') {
    throw new DiffmineError('DEVICE_UNAVAILABLE', 'fp16 on a CPU is some hundred times slower than bf16.', 'Use --dtype bf16 or --dtype fp32.');
  }
  return device;
}
