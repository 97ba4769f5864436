// Chooses the devices and the number of processes of sharded work.
import { DiffmineError } from '../util/errors.js';
import { devices as listDevices } from '../engine/index.js';
import type { DeviceInfo, Dtype } from '../engine/types.js';
import { findDevice, withDtype } from '../runs/device.js';
import { chooseDtype, type DtypeChoice, type DtypeContext } from '../runs/dtype.js';
import { usableCores } from '../engine/cores.js';
import { byteSize } from '../util/bytes.js';
import type { SplitOptions } from './options.js';

type Asked = Pick<SplitOptions, 'device' | 'devices' | 'workers' | 'queue'>;

type Devices = [DeviceInfo, ...DeviceInfo[]];

/**
 * The devices asked for: one, or those of `devices` in order, a process each; and the dtype that all of them compute in.
 *
 * @param context its onLog is told what `auto` has chosen
 * @throws DEVICE_UNAVAILABLE if a device is not there or cannot compute in the dtype; INVALID_ARGUMENT for a mixture of kinds (their results differ by
 *   rounding), or together with `device` or `workers`
 */
export function chooseDevices(
  options: Asked & { dtype: DtypeChoice },
  context: DtypeContext = {},
): { devices: Devices; dtype: Dtype } {
  const devices = findDevices(options, context.onLog);
  const [first] = devices;
  if (options.devices === undefined && (options.device ?? 'auto') === 'auto')
    context.onLog?.(`Device: ${first.id} (${first.name}).`);
  const dtype = chooseDtype(options.dtype, first, context);
  for (const device of devices) withDtype(device, dtype);
  return { devices, dtype };
}

/** Memory that a batch is chosen for where the GPU is elsewhere, bytes. */
const ELSEWHERE = 16 * 2 ** 30;

/** What a run that workers of a queue do on their GPUs is planned for. */
function deviceElsewhere(id: string): DeviceInfo {
  return {
    id,
    name: 'a GPU of the workers',
    memoryTotal: ELSEWHERE,
    memoryFree: ELSEWHERE,
    computeCapability: '',
    threads: 0,
    cpuCapability: '',
    dtypes: ['fp32', 'fp16', 'bf16'],
    nativeDtypes: ['fp32', 'fp16', 'bf16'],
  };
}

/** Whether a GPU is meant that only the workers of a queue have: whoever begins the run needs none. */
function isElsewhere({ device, queue }: Asked): boolean {
  return queue !== undefined && /^cuda(:\d+)?$/.test(device ?? '') && !listDevices().some(({ id }) => id !== 'cpu');
}

function findDevices({ device = 'auto', devices, workers, queue }: Asked, onLog?: DtypeContext['onLog']): Devices {
  if (devices === undefined) {
    if (!isElsewhere({ device, queue })) return [findDevice(device)];
    onLog?.(
      `There is no GPU here: the run is planned for GPUs of the workers with ${byteSize(ELSEWHERE)} of free memory. Set \`batch\` for others.`,
    );
    return [deviceElsewhere(device === 'cuda' ? 'cuda:0' : device)];
  }
  if (device !== 'auto')
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`devices\` ${devices.join(',')} and \`device\` ${device} contradict each other.`,
      'Give one of them.',
    );
  if (workers !== undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      '`devices` already sets the number of processes: one per device.',
      'Leave `workers` out. A device named twice gets two processes.',
    );
  const [first, ...others] = devices.map(findDevice);
  if (!first)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      '`devices` names no device.',
      'Separate devices by commas, such as 0,1 for the first two GPUs.',
    );
  if (others.some(({ id }) => (id === 'cpu') !== (first.id === 'cpu'))) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`devices\` ${devices.join(',')} mixes CPU and GPUs, whose results differ by rounding.`,
      'Name GPUs only, or cpu only.',
    );
  }
  return [first, ...others];
}

/** Engines that share the memory of one of the devices, at most. */
export function enginesTogether(devices: readonly DeviceInfo[], { workers = 1 }: Asked): number {
  if (devices.length === 1) return devices[0]?.id === 'cpu' ? workers : 1;
  return Math.max(...devices.map(({ id }) => devices.filter((other) => other.id === id).length));
}

/** The devices of the worker processes, at most `shards` of them; undefined if this process computes by itself. */
export function processesOf(options: Asked, device: DeviceInfo, shards: number): string[] | undefined {
  if (options.devices) return options.devices.slice(0, Math.max(1, shards));
  const workers = Math.min(options.workers ?? 1, shards);
  if (workers < 2) return undefined;
  // on a machine with several GPUs `cuda` and `auto` give each worker the next one
  const gpus =
    ['cuda', 'auto', undefined].includes(options.device) && device.id !== 'cpu'
      ? listDevices().filter(({ id }) => id.startsWith('cuda'))
      : [];
  return Array.from({ length: workers }, (_, index) => gpus[index % gpus.length]?.id ?? device.id);
}

/** CPU threads of one engine among `engines`. */
export function threadsOf({ threads }: Pick<SplitOptions, 'threads'>, engines: number): number {
  if (threads !== undefined) return threads;
  return Math.max(1, Math.floor(usableCores() / engines));
}
