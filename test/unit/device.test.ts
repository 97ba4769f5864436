// Which device a name means, and which dtypes it takes: from lists of devices as the addon gives them.
import { devices } from '../../src/engine/index.js';
import type { DeviceInfo } from '../../src/engine/types.js';
import { chooseDevice, chooseTrainingDevice } from '../../src/runs/device.js';
import { autoDtype, chooseDtype, type Task } from '../../src/runs/dtype.js';
import { chooseDevices } from '../../src/pipeline/devices.js';

jest.mock('../../src/engine/index.js', () => ({
  ...jest.requireActual<object>('../../src/engine/index.js'),
  devices: jest.fn(),
  buildInfo: () => ({ cuda: false }),
}));

const device = (id: string, dtypes: DeviceInfo['dtypes'], name = id, nativeDtypes = dtypes): DeviceInfo => ({
  id,
  name,
  memoryTotal: 1e10,
  memoryFree: 1e10,
  computeCapability: '',
  cpuCapability: '',
  threads: 2,
  dtypes,
  nativeDtypes,
});
const listed = (...all: DeviceInfo[]): void => void jest.mocked(devices).mockReturnValue(all);
const plain = device('cpu', ['fp32', 'bf16'], 'Old CPU', ['fp32']);
const withHalf = device('cpu', ['fp32', 'bf16', 'fp16'], 'New CPU');
const card = device('cuda:0', ['fp32', 'bf16', 'fp16']);

test('a CPU takes fp16 where oneDNN has it, and elsewhere says why not', () => {
  listed(withHalf);
  expect(chooseDevice('cpu', 'fp16')).toBe(withHalf);
  expect(chooseDevice('auto', 'fp16')).toBe(withHalf);
  listed(plain);
  for (const name of ['cpu', 'auto']) {
    expect(() => chooseDevice(name, 'fp16')).toThrow(
      expect.objectContaining({
        code: 'DEVICE_UNAVAILABLE',
        message: expect.stringMatching(
          /^fp16 is not supported on this CPU \(Old CPU\): oneDNN has no fp16 for it/,
        ) as string,
        hint: 'Use `dtype` fp32 or `dtype` bf16.',
      }) as Error,
    );
  }
  for (const dtype of ['fp32', 'bf16'] as const) expect(chooseDevice('cpu', dtype)).toBe(plain);
});

test('fp16 is not trained on a CPU, though it may be scored there', () => {
  listed(withHalf);
  expect(() => chooseTrainingDevice('auto', 'fp16')).toThrow(
    expect.objectContaining({
      code: 'DEVICE_UNAVAILABLE',
      message: expect.stringContaining('gradients') as string,
    }) as Error,
  );
  expect(chooseTrainingDevice('cpu', 'bf16')).toBe(withHalf);
  listed(withHalf, card);
  expect(chooseTrainingDevice('auto', 'fp16')).toBe(card);
});

test('auto chooses the GPU, also for fp16, and an unknown name is refused', () => {
  listed(plain, card);
  expect(chooseDevice('auto', 'fp16')).toBe(card);
  expect(chooseDevice('cuda', 'fp16')).toBe(card);
  expect(chooseDevice('cpu', 'fp32')).toBe(plain);
  expect(() => chooseDevice('cpu', 'fp16')).toThrow(/not supported on this CPU/);
  expect(() => chooseDevice('cuda:1', 'fp32')).toThrow(
    expect.objectContaining({ code: 'DEVICE_UNAVAILABLE' }) as Error,
  );
  expect(() => chooseDevice('tpu', 'fp32')).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error);
});

describe('--dtype auto', () => {
  const cpu = device('cpu', ['fp32', 'bf16'], 'CPU with AMX');

  test.each<[string, DeviceInfo, Task, string, RegExp]>([
    ['a CPU that multiplies in bf16', cpu, 'ranking', 'bf16', /multiplies in bf16/],
    ['a CPU with fp16, too', withHalf, 'ranking', 'bf16', /multiplies in bf16/],
    ['another CPU', plain, 'ranking', 'fp32', /does not multiply in bf16/],
    ['a GPU', card, 'ranking', 'fp32', /fp16 is not measured on a GPU/],
    ['a CPU, a training from scratch', cpu, 'training', 'bf16', /multiplies in bf16/],
    ['another CPU, the same', plain, 'training', 'fp32', /does not multiply in bf16/],
    ['a GPU, the same', card, 'training', 'fp32', /training in fp16 is not measured on a GPU/],
    ['a CPU, fine-tuning', cpu, 'fine-tuning', 'fp32', /on fine-tuning is not measured/],
    ['a CPU, images', cpu, 'images', 'fp32', /on images is not measured/],
  ])('on %s', (_, where, task, dtype, reason) => {
    expect(autoDtype(where, task)).toEqual({ dtype, reason: expect.stringMatching(reason) as string });
    const told: string[] = [];
    expect(chooseDtype('auto', where, { task, onLog: (sentence) => told.push(sentence) })).toBe(dtype);
    expect(told).toEqual([`Dtype: ${dtype} (${autoDtype(where, task).reason}).`]);
  });

  test('a dtype that is named is used as it is', () => {
    const onLog = jest.fn();
    expect(chooseDtype('fp32', cpu, { recorded: 'bf16', onLog })).toBe('fp32');
    expect(onLog).not.toHaveBeenCalled();
  });

  test('a resumed run keeps its dtype on another device, and says so', () => {
    const told: string[] = [];
    const onLog = (sentence: string): void => void told.push(sentence);
    expect(chooseDtype('auto', plain, { recorded: 'bf16', onLog })).toBe('bf16');
    expect(chooseDtype('auto', cpu, { recorded: 'fp32', onLog })).toBe('fp32');
    expect(told).toEqual([
      'Dtype: bf16, as this run began, though Old CPU emulates it and will be slow. ' +
        'A new run here would use fp32 (this CPU does not multiply in bf16).',
      'Dtype: fp32, as this run began. A new run here would use bf16 (this CPU multiplies in bf16).',
    ]);
  });

  test('a run that began in a dtype this device lacks is not resumed here', () => {
    listed(plain);
    expect(() => chooseDevices({ device: 'cpu', dtype: 'auto' }, { recorded: 'fp16' })).toThrow(
      expect.objectContaining({
        code: 'DEVICE_UNAVAILABLE',
        message: expect.stringMatching(/^This run began in fp16, which Old CPU does not support/) as string,
        hint: expect.stringContaining('`out`') as string,
      }) as Error,
    );
  });

  test('all devices of a run compute in the same dtype', () => {
    listed(withHalf, card, device('cuda:1', ['fp32', 'fp16']));
    expect(chooseDevices({ devices: ['cuda:0', 'cuda:1'], dtype: 'auto' }).dtype).toBe('fp32');
    expect(chooseDevices({ devices: ['cpu', 'cpu'], dtype: 'auto' }).dtype).toBe('bf16');
    expect(() => chooseDevices({ devices: ['cuda:0', 'cuda:1'], dtype: 'bf16' })).toThrow(/bf16 is not supported/);
  });

  test('whoever begins a run for the GPUs of a queue needs none; elsewhere, and where there are some, the device must be there', () => {
    const told: string[] = [];
    listed(plain);
    const queued = { device: 'cuda', dtype: 'auto', queue: 'redis://head' } as const;
    const { devices: planned, dtype } = chooseDevices(queued, { onLog: (line) => told.push(line) });
    expect([planned.map(({ id }) => id), dtype]).toEqual([['cuda:0'], 'fp32']);
    expect(told[0]).toMatch(/^There is no GPU here: .* GPUs of the workers with 17 GB of free memory/);
    const missing = expect.objectContaining({ code: 'DEVICE_UNAVAILABLE' }) as Error;
    expect(() => chooseDevices({ device: 'cuda', dtype: 'auto' })).toThrow(missing);
    listed(plain, card);
    expect(() => chooseDevices({ ...queued, device: 'cuda:3' })).toThrow(missing);
    expect(chooseDevices(queued).devices).toEqual([card]);
  });
});
