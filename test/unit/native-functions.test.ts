// The addon's plain functions: known answers, files, arguments, errors.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { DiffmineError } from '../../src/util/errors.js';
import {
  addNoise,
  addonPath,
  buildInfo,
  ddimInvertStep,
  ddimStep,
  ddimTimesteps,
  devices,
  drawNoise,
  drawTimesteps,
  float32,
  fromFloat32,
  fromInt64,
  int64Numbers,
  loadAddon,
  readSafetensors,
  readSafetensorsHeader,
  schedule,
  tensor,
  writeSafetensors,
  type DType,
  type ScheduleConfig,
  type Tensor,
} from '../../src/engine/index.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const stableDiffusion: ScheduleConfig = {
  betaSchedule: 'scaled_linear',
  trainTimesteps: 1000,
  betaStart: 0.00085,
  betaEnd: 0.012,
  prediction: 'epsilon',
  setAlphaToOne: false,
  stepsOffset: 1,
  clipSample: false,
  clipSampleRange: 1,
};

function errorOf(run: () => unknown): DiffmineError {
  try {
    run();
  } catch (thrown) {
    if (thrown instanceof DiffmineError) return thrown;
    throw thrown;
  }
  throw new Error('nothing was thrown');
}

describe('build and devices', () => {
  it('names its LibTorch and at least the CPU', () => {
    expect(buildInfo().libtorchCompiled).toMatch(/^2\.\d+\.\d+/);
    const [cpu] = devices();
    expect(cpu).toMatchObject({ id: 'cpu', computeCapability: '' });
    expect(cpu?.memoryTotal).toBeGreaterThan(1e8);
    expect(cpu?.threads).toBeGreaterThan(0);
  });
});

describe('noise', () => {
  it.each([
    [42, 0, 0, 0, [-0.97019, 0.194019, -1.23562, 1.923927]],
    [42, 7, 0, 0, [1.065151, -0.817525, -0.65845, 1.132866]],
    [42, 0, 1, 0, [-1.691436, -1.132029, 0.326128, -1.456004]],
    [2 ** 40 + 5, 3, 0, 1000, [-0.165441, 0.67438, -0.484595, -0.585341]],
  ])('has the known answers of seed %p, sample %p, stream %p, block %p', (seed, sample, stream, block, expected) => {
    for (const form of [seed, BigInt(seed)]) {
      const values = float32(drawNoise(form, sample, 1, [block + 1, 4], stream)).slice(-4);
      expected.forEach((value, i) => expect(values[i]).toBeCloseTo(value, 5));
    }
  });

  it('takes seeds of all 64 bits', () => {
    const largest = drawNoise(2n ** 64n - 1n, 0, 1, [4], 0);
    expect(largest.data).not.toEqual(drawNoise(2n ** 53n - 1n, 0, 1, [4], 0).data);
    for (const seed of [2n ** 64n, -1n, -1, 0.5, 2 ** 53, NaN])
      expect(errorOf(() => drawNoise(seed, 0, 1, [4], 0)).code).toBe('INVALID_ARGUMENT');
  });

  it('depends on nothing but the place: any split gives the same', () => {
    const whole = float32(drawNoise(9, 3, 4, [2, 3, 5], 1));
    for (let n = 0; n < 4; n++)
      expect(float32(drawNoise(9, 3 + n, 1, [2, 3, 5], 1))).toEqual(whole.slice(30 * n, 30 * n + 30));
  });

  it('draws stratified timesteps within their bounds', () => {
    const steps = drawTimesteps('stratified', 5, 60, 100, 700);
    expect(steps).toHaveLength(60);
    expect(Math.min(...steps)).toBeGreaterThanOrEqual(100);
    expect(Math.max(...steps)).toBeLessThan(700);
    expect(drawTimesteps('stratified', 5, 20, 100, 700)).toEqual(steps.slice(0, 20));
    expect(drawTimesteps('reference', 5, 20, 100, 700)).not.toEqual(steps.slice(0, 20));
  });

  it('is out of memory with a code and a hint, and works afterwards', () => {
    const error = errorOf(() => drawNoise(1, 0, 1_000_000, [1_000_000], 0));
    expect(error.code).toBe('OUT_OF_MEMORY');
    expect(error.hint).toMatch(/smaller/);
    expect(error.message).not.toMatch(/frame #|c10::|Exception raised/);
    expect(float32(drawNoise(42, 0, 1, [4], 0))[0]).toBeCloseTo(-0.97019, 5);
  });
});

describe('schedules', () => {
  const golden = (): Record<string, Tensor> => readSafetensors(path.join(GOLDEN, 'common-golden/golden.safetensors'));

  it('equals the reference', () => {
    const { betas, alphasCumprod } = schedule(stableDiffusion);
    const reference = golden();
    const near = (got: Tensor, name: string): void => {
      const [a, b] = [float32(got), float32(reference[name] as Tensor)];
      b.forEach((value, i) => expect(Math.abs((a[i] ?? NaN) - value)).toBeLessThanOrEqual(1e-6 + 1e-5 * value));
    };
    near(betas, 'schedule_scaled_linear.out.betas');
    near(alphasCumprod, 'schedule_scaled_linear.out.alphas_cumprod');
    expect(ddimTimesteps(stableDiffusion, 10)).toEqual(
      int64Numbers(reference['ddim_timesteps_10.out.timesteps'] as Tensor),
    );
  });

  it("gives memory that is the caller's own", () => {
    const first = schedule(stableDiffusion);
    float32(first.betas).fill(7);
    expect(float32(schedule(stableDiffusion).betas)[0]).toBeCloseTo(0.00085, 7);
  });

  it('noises, steps and inverts', () => {
    const [x0, noise] = [drawNoise(1, 0, 2, [4, 3, 3], 0), drawNoise(1, 2, 2, [4, 3, 3], 0)];
    const { noisy, velocity } = addNoise(stableDiffusion, x0, noise, [0, 999]);
    const abar = float32(schedule(stableDiffusion).alphasCumprod);
    for (const [row, t] of [
      [0, 0],
      [1, 999],
    ] as const) {
      const [a, s] = [Math.sqrt(abar[t] as number), Math.sqrt(1 - (abar[t] as number))];
      const [x, e] = [float32(x0)[row * 36] as number, float32(noise)[row * 36] as number];
      expect(float32(noisy)[row * 36]).toBeCloseTo(a * x + s * e, 5);
      expect(float32(velocity)[row * 36]).toBeCloseTo(a * e - s * x, 5);
    }
    // One step back with the true noise, then the inversion of the same step, is where it began.
    const at = addNoise(stableDiffusion, x0, noise, [601, 601]).noisy;
    const { prevSample, predX0 } = ddimStep(stableDiffusion, 10, 601, at, noise);
    float32(predX0).forEach((value, i) => expect(value).toBeCloseTo(float32(x0)[i] as number, 4));
    const back = ddimInvertStep(stableDiffusion, 10, 601, prevSample, noise);
    float32(back).forEach((value, i) => expect(value).toBeCloseTo(float32(at)[i] as number, 4));
  });

  it('refuses unknown values', () => {
    expect(errorOf(() => schedule({ ...stableDiffusion, betaSchedule: 'cosine' as 'linear' })).code).toBe(
      'MODEL_UNSUPPORTED',
    );
    expect(
      errorOf(() => addNoise(stableDiffusion, drawNoise(1, 0, 2, [4], 0), drawNoise(1, 0, 2, [4], 0), [1, 1000]))
        .message,
    ).toBe('Expected an integer from 0 to 999 for timesteps[1], got 1000.');
  });
});

describe('safetensors', () => {
  const folder = temporaryFolder();
  const file = (name: string): string => path.join(folder, name);

  it('writes and reads every dtype, empty tensors and scalars', () => {
    const sizes: Record<DType, number> = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1, BOOL: 1 };
    const tensors: Record<string, Tensor> = {};
    for (const [dtype, size] of Object.entries(sizes) as [DType, number][]) {
      const data = Uint8Array.from({ length: 6 * size }, (_, i) => (dtype === 'BOOL' ? i % 2 : (i * 37) % 256));
      tensors[`a ${dtype} "ü"`] = tensor(dtype, [2, 3], data);
    }
    tensors['empty'] = fromFloat32([0, 4], []);
    tensors['scalar'] = fromInt64([], [-5]);
    writeSafetensors(file('all.safetensors'), tensors, { format: 'pt', ключ: 'värde' });
    expect(readSafetensors(file('all.safetensors'))).toEqual(tensors);
    const header = readSafetensorsHeader(file('all.safetensors'));
    expect(header.metadata).toEqual({ format: 'pt', ключ: 'värde' });
    expect(header.tensors['empty']).toEqual({ dtype: 'F32', shape: [0, 4], bytes: 0 });
    expect(header.tensors['a BF16 "ü"']).toEqual({ dtype: 'BF16', shape: [2, 3], bytes: 12 });
    expect(Object.keys(readSafetensors(file('all.safetensors'), ['scalar']))).toEqual(['scalar']);
    expect(readdirSync(folder)).toEqual(['all.safetensors']);
  });

  it('gives memory that can be written to, apart from the file', () => {
    writeSafetensors(file('own.safetensors'), { a: fromFloat32([2], [1, 2]) });
    const before = readFileSync(file('own.safetensors'));
    const { a } = readSafetensors(file('own.safetensors'));
    float32(a as Tensor).fill(9);
    expect(readFileSync(file('own.safetensors'))).toEqual(before);
  });

  it('names what is wrong', () => {
    writeFileSync(file('short.safetensors'), Buffer.from([1, 2, 3]));
    expect(errorOf(() => readSafetensorsHeader(file('short.safetensors'))).code).toBe('WEIGHTS_INVALID');
    expect(errorOf(() => readSafetensorsHeader(file('absent.safetensors'))).code).toBe('IO');
    writeSafetensors(file('one.safetensors'), { a: fromFloat32([1], [1]) });
    const missing = errorOf(() => readSafetensors(file('one.safetensors'), ['a', 'b']));
    expect(missing).toMatchObject({ code: 'INVALID_ARGUMENT', exitCode: 2 });
    expect(missing.message).toContain("no tensor named 'b'");
    expect(errorOf(() => writeSafetensors(file('no/such/folder.safetensors'), {})).code).toBe('IO');
    expect(existsSync(file('no'))).toBe(false);
  });
});

describe('arguments', () => {
  // What TypeScript would not let through, as a JavaScript caller may send it.
  const addon = (): Record<string, (...values: unknown[]) => unknown> =>
    loadAddon() as unknown as Record<string, (...values: unknown[]) => unknown>;
  const message = (name: string, ...values: unknown[]): string => {
    try {
      addon()[name]?.(...values);
    } catch (thrown) {
      const { code, message: text } = thrown as { code: string; message: string };
      expect(code).toBe('INVALID_ARGUMENT');
      return text;
    }
    throw new Error('nothing was thrown');
  };

  it('are named, with what was expected and what came', () => {
    expect(message('readSafetensorsHeader')).toBe('Expected a string for path, got undefined.');
    expect(message('readSafetensorsHeader', 7)).toBe('Expected a string for path, got 7.');
    expect(message('readSafetensors', 'x', 'y')).toBe("Expected an array for names, got 'y'.");
    expect(message('drawNoise', 'seed', 0, 1, [4], 0)).toBe(
      "Expected a safe integer or a bigint from 0 to 2^64 - 1 for seed, got 'seed'.",
    );
    expect(message('drawNoise', 1, 0, 1, [4, -1], 0)).toBe('Expected an integer of at least 1 for shape[1], got -1.');
    expect(message('drawNoise', 1, 0, 1, { length: 1 }, 0)).toBe('Expected an array for shape, got an object.');
    expect(message('drawTimesteps', 'even', 1, 1, 0, 1)).toBe(
      "Expected 'stratified' or 'reference' for sampler, got 'even'.",
    );
    expect(message('drawTimesteps', 'reference', 1, 1, 5, 5)).toBe(
      'Expected an integer of at least 6 for tEnd, got 5.',
    );
    expect(message('createEngine', null)).toBe('Expected an object for options, got null.');
    expect(message('createEngine', { device: 'cpu', dtype: 'fp32', threads: 1.5 })).toBe(
      'Expected an integer from 1 to 4096 for options.threads, got 1.5.',
    );
    expect(message('schedule', { ...stableDiffusion, betaEnd: Infinity })).toBe(
      'Expected a finite number for config.betaEnd, got Infinity.',
    );
    expect(message('schedule', { ...stableDiffusion, setAlphaToOne: 'no' })).toBe(
      "Expected true or false for config.setAlphaToOne, got 'no'.",
    );
    expect(message('writeSafetensors', '/nowhere', { a: { dtype: 'F8', shape: [], data: new Uint8Array(1) } })).toMatch(
      /for tensors\.a\.dtype, got 'F8'\.$/,
    );
    expect(
      message('writeSafetensors', '/nowhere', { a: { dtype: 'F32', shape: [1], data: new Float32Array(1) } }),
    ).toBe('Expected a Uint8Array for tensors.a.data, got a typed array of 4 bytes.');
    expect(
      message('writeSafetensors', '/nowhere', {
        a: { dtype: 'F32', shape: [2 ** 40, 2 ** 40], data: new Uint8Array(0) },
      }),
    ).toMatch(/^Expected as many bytes as F32/);
    expect(message('writeSafetensors', '/nowhere', { a: { dtype: 'F32', shape: [3], data: new Uint8Array(11) } })).toBe(
      'Expected as many bytes as F32 [3] takes for tensors.a.data, got 11.',
    );
  });

  it('pass errors of getters through', () => {
    const config = {
      trainTimesteps: 1000,
      prediction: 'epsilon',
      get betaSchedule(): string {
        throw new RangeError('mine');
      },
    };
    expect(() => addon()['schedule']?.(config)).toThrow('mine');
  });

  it('reject the promises of asynchronous calls, with code and hint', async () => {
    await expect(addon()['kmeans']?.({})).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(addon()['loadModel']?.('engine')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('source') as string,
    });
  });

  it('refuse missing devices', () => {
    expect(() => addon()['createEngine']?.({ device: 'tpu', dtype: 'fp32', threads: 1 })).toThrow(/tpu/);
  });

  // oneDNN is told to take this processor for one without fp16: once a process, so in another.
  it('refuse fp16 on a CPU that has none, and say why', () => {
    const script = `
      const addon = require(${JSON.stringify(addonPath())});
      const [{ dtypes }] = addon.devices();
      try { addon.createEngine({ device: 'cpu', dtype: 'fp16', threads: 1 }); } catch ({ code, message, hint }) { console.log(JSON.stringify({ dtypes, code, message, hint })); }`;
    const output = execFileSync(process.execPath, ['-e', script], {
      env: { ...process.env, ONEDNN_MAX_CPU_ISA: 'AVX2' },
      encoding: 'utf8',
    });
    expect(JSON.parse(output)).toEqual({
      dtypes: ['fp32', 'bf16'],
      code: 'DEVICE_UNAVAILABLE',
      message: expect.stringContaining('oneDNN has no fp16 for it') as string,
      hint: expect.stringContaining('Use bf16 or fp32') as string,
    });
  });
});
