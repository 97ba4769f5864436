// The protocol of the diffusers process, with a stand-in that speaks it, and with the real script where Python has torch and diffusers.
import { unetOf } from '../../src/models/denoiser.js';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync } from 'node:fs';
import path from 'node:path';

import { diffusersConfig, Diffusers, type DiffusersPass } from '../../src/tools/bench/diffusers.js';
import { syntheticModel } from '../../src/tools/bench/synthetic.js';
import { openModel } from '../../src/models/index.js';
import { addonPath, loadAddon } from '../../src/engine/index.js';
import { readFileSync } from 'node:fs';
import { GOLDEN, temporaryFolder, writeFiles } from '../helpers/folders.js';

const folder = temporaryFolder();
const pass: DiffusersPass = {
  dtype: 'fp32',
  input: [4, 8, 8],
  batch: 2,
  mode: 'eager',
  device: 'cpu',
  config: unetOf(syntheticModel('synthetic:tiny')).config,
};

/** An executable that is started as a Python would be, with the script and the threads as arguments. */
function standIn(name: string, code: string): string {
  writeFiles(folder, { [name]: `#!${process.execPath}\n${code}\n` });
  chmodSync(path.join(folder, name), 0o755);
  return path.join(folder, name);
}

test('a pass is a line of JSON, its answer seconds or the reason for none', async () => {
  const python = standIn(
    'speaks',
    `
    console.log(JSON.stringify({ torch: process.env.GOMP_SPINCOUNT ?? 'its own', diffusers: '1', threads: Number(process.argv[3]) }));
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const ask = JSON.parse(line);
      if (ask.mode === 'end') process.exit();
      console.log(JSON.stringify(ask.mode === 'eager' ? { seconds: ask.batch + ask.config.cross_attention_dim / 100 } : { error: 'no compiler' }));
    });`,
  );
  // What our own threads are told is not told to it.
  const own = process.env['GOMP_SPINCOUNT'];
  if (existsSync(addonPath() ?? '')) loadAddon();
  const diffusers = await Diffusers.start(python, 3);
  expect(diffusers.info).toEqual({ torch: own ?? 'its own', diffusers: '1', threads: 3 });
  expect(await diffusers.forward(pass)).toBeCloseTo(2.32, 9);
  expect(await diffusers.forward({ ...pass, mode: 'max-autotune' })).toBe('no compiler');
  await expect(diffusers.forward({ ...pass, mode: 'end' })).rejects.toMatchObject({ code: 'SETUP' });
  diffusers.stop();
});

test.each([
  ['absent', undefined, 'ENOENT'],
  ['lacking', "console.log(JSON.stringify({ error: 'no diffusers: none here' }))", 'no diffusers: none here'],
  ['silent', 'process.exit(3)', 'the process ended at once'],
])('a Python that is %s does not start', async (name, code, words) => {
  const python = code === undefined ? path.join(folder, name) : standIn(name, code);
  await expect(Diffusers.start(python, 0)).rejects.toMatchObject({
    code: 'SETUP',
    message: expect.stringContaining(words) as string,
  });
});

test('a caller who cancels waits for no compilation, and leaves no process', async () => {
  const python = standIn(
    'compiles',
    `
    console.log(JSON.stringify({ torch: String(process.pid), diffusers: '1', threads: 1 }));
    setInterval(() => undefined, 1000);`,
  );
  const cancel = new AbortController();
  const diffusers = await Diffusers.start(python, 0, cancel.signal);
  const answer = diffusers.forward(pass);
  cancel.abort();
  await expect(answer).rejects.toMatchObject({ code: 'CANCELLED' });
  await expect(diffusers.forward(pass)).rejects.toMatchObject({ code: 'CANCELLED' });
  const alive = (): boolean => {
    try {
      return process.kill(Number(diffusers.info.torch), 0);
    } catch {
      return false;
    }
  };
  for (let i = 0; i < 100 && alive(); i++) await new Promise((resolve) => setTimeout(resolve, 50));
  expect(alive()).toBe(false);
  await expect(Diffusers.start(python, 0, cancel.signal)).rejects.toMatchObject({ code: 'CANCELLED' });
});

test("the configuration of the diffusers UNet is that of the model's file", async () => {
  for (const name of ['tiny-sd15', 'tiny-fold']) {
    const { source } = await openModel(path.join(GOLDEN, name));
    const file = JSON.parse(readFileSync(path.join(GOLDEN, name, 'unet', 'config.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    for (const [key, value] of Object.entries(diffusersConfig(unetOf(source).config))) {
      // one number may stand for one a block
      const stored = file[key];
      expect([
        key,
        Array.isArray(value) && !Array.isArray(stored) ? value.map(() => stored) : (stored ?? value),
      ]).toEqual([key, value]);
    }
  }
});

const python = process.env['DIFFUSERS_PYTHON'] ?? 'python3';
const hasDiffusers = spawnSync(python, ['-c', 'import torch, diffusers'], { stdio: 'ignore' }).status === 0;
if (!hasDiffusers)
  console.warn(`${python} has no diffusers: the comparison is not tested (DIFFUSERS_PYTHON names another).`);

(hasDiffusers ? test : test.skip)('diffusers makes passes of ours: text and classes, in two precisions', async () => {
  const diffusers = await Diffusers.start(python, 1);
  try {
    for (const dtype of ['fp32', 'bf16'] as const)
      expect(await diffusers.forward({ ...pass, dtype })).toBeGreaterThan(0);
    expect(
      await diffusers.forward({
        ...pass,
        input: [12, 16, 16],
        config: unetOf(syntheticModel('synthetic:demo')).config,
      }),
    ).toBeGreaterThan(0);
    expect(await diffusers.forward({ ...pass, mode: 'no such mode' })).toMatch(/mode/);
  } finally {
    diffusers.stop();
  }
});
