// How long an engine has worked, by its calls.
import { Busy } from '../../src/engine/busy.js';

beforeEach(() => jest.useFakeTimers());
afterEach(() => jest.useRealTimers());

const after = async (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('calls that overlap count once, waiting between them does not, failures do', async () => {
  const busy = new Busy();
  expect(busy.seconds()).toBe(0);
  const calls = [busy.during(after(1000)), busy.during(after(3000))];
  await jest.advanceTimersByTimeAsync(2000);
  expect(busy.seconds()).toBeCloseTo(2);
  await jest.advanceTimersByTimeAsync(5000);
  await Promise.all(calls);
  expect(busy.seconds()).toBeCloseTo(3);
  const failing = busy.during(after(500).then(() => Promise.reject(new Error('no'))));
  failing.catch(() => undefined);
  await jest.advanceTimersByTimeAsync(10_000);
  await expect(failing).rejects.toThrow('no');
  expect(busy.seconds()).toBeCloseTo(3.5);
});
