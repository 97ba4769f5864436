// Which device a name means, and which dtypes it takes: from lists of devices as the addon gives them.
import { devices } from '../../src/engine/index.js';
import type { DeviceInfo } from '../../src/engine/types.js';
import { chooseDevice, chooseTrainingDevice } from '../../src/runs/device.js';

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
