// `train` as a user runs it: killed and resumed to the same losses, cancelled, extended, refused; and what it leaves can be scanned and sampled.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';

import { findDevice } from '../../src/runs/device.js';
import { autoDtype } from '../../src/runs/dtype.js';
import { readMetrics } from '../../src/stages/train/journal.js';
import { writeWorld } from '../../src/tools/world/world.js';
import { temporaryFolder } from '../helpers/folders.js';
import { isNightly, nightlyTest } from '../helpers/nightly.js';
import { cli, hasAddon, ROOT } from './cli.js';

const GOLDEN = path.join(ROOT, 'test', 'data', 'golden');
const BIN = path.join(ROOT, 'bin', 'diffmine.js');
const scratch = temporaryFolder();
const world = path.join(scratch, 'world');
const at = (...names: string[]): string => path.join(scratch, ...names);

const command = (out: string, ...more: string[]): string[] => [
  'train',
  path.join(world, 'train'),
  '--new',
  'tiny',
  '--steps',
  '16',
  '--train-batch',
  '4',
  '--gradient-accumulation-steps',
  '2',
  '--checkpoint-every',
  '4',
  '--sample-every',
  '8',
  '--sample-count',
  '1',
  '--sample-inference-steps',
  '2',
  '--flips',
  '--holdout',
  '0.2',
  '--device',
  'cpu',
  '--threads',
  '1',
  '--out',
  out,
  ...more,
];
const losses = (out: string): unknown[] =>
  readMetrics(path.join(out, 'metrics.jsonl'))
    .filter((metric) => 'loss' in metric || 'validation' in metric)
    .map((metric) => ({ ...metric, seconds: 0 }));
const weights = (out: string): Buffer => readFileSync(path.join(out, 'unet', 'diffusion_pytorch_model.safetensors'));
const record = (out: string): Record<string, unknown> =>
  JSON.parse(readFileSync(path.join(out, 'train.json'), 'utf8')) as Record<string, unknown>;

/** Kills a command once its journal has `lines` lines; the signal that ended it. */
function killedAt(args: string[], out: string, lines: number): Promise<string | null> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [BIN, ...args], { cwd: ROOT, stdio: 'ignore' });
    const timer = setInterval(() => {
      if (readMetrics(path.join(out, 'metrics.jsonl')).length >= lines) child.kill('SIGKILL');
    }, 5);
    child.once('exit', (_, signal) => {
      clearInterval(timer);
      resolve(signal);
    });
  });
}

beforeAll(async () => {
  await writeWorld({ out: world, images: 5, size: 32, heldout: 0 });
});

(hasAddon ? describe : describe.skip)('diffmine train', () => {
  const whole = at('whole');

  test('trains, keeps the last and the best, and writes a model', async () => {
    const ran = await cli(command(whole, '--json'));
    expect(ran).toMatchObject({ code: 0, signal: null });
    const summary = JSON.parse(ran.stdout) as { steps: number; step: number; best: { step: number }; images: number };
    expect(summary).toMatchObject({ steps: 16, step: 16, images: 23 }); // 7 of 30 are held out, by their names
    expect(losses(whole)).toHaveLength(16 + 4);
    const kept = readdirSync(path.join(whole, 'checkpoints'))
      .map((name) => Number(/\d+/.exec(name)?.[0]))
      .sort((a, b) => a - b);
    expect(kept).toEqual([...new Set([12, 16, summary.best.step])].sort((a, b) => a - b));
    expect(readdirSync(path.join(whole, 'samples')).sort()).toEqual(['step-00000008.webp', 'step-00000016.webp']);
    expect(existsSync(path.join(whole, 'train-report.html'))).toBe(true);
    expect(record(whole)).toMatchObject({
      status: 'done',
      step: 16,
      model: { size: 'tiny', kind: 'pixel', conditioning: 'class' },
    });
  }, 300_000);

  test('the same command again finds the training complete, and changes nothing', async () => {
    const before = weights(whole);
    const ran = await cli(command(whole, '--dtype', 'auto'));
    expect(ran).toMatchObject({ code: 0, stderr: expect.stringContaining('is complete: 16 steps') as string });
    const { dtype } = autoDtype(findDevice('cpu'), 'training');
    expect(record(whole)).toMatchObject({ dtype, settings: { dtype } });
    expect(weights(whole).equals(before)).toBe(true);
    expect(losses(whole)).toHaveLength(16 + 4);
  }, 300_000);

  test('a run mines what was held out, at the timesteps of the training; options by name change both', async () => {
    const model = at('narrow');
    const prompts = ['--prompt', 'a {label}', '--null-prompt', ''];
    const trained = await cli(command(model, '--train-t-range', '0.05,0.4', ...prompts));
    expect(trained).toMatchObject({ code: 0, stderr: expect.stringContaining('prompts are not used') as string });
    expect(trained.stdout).toMatch(/On 7 held-out images, the loss with their label is [\d.]+, with other labels/);
    expect(record(model)).toMatchObject({
      settings: { holdout: 0.2, prompt: null },
      learned: { images: 7, step: 16, samples: 8, verdict: expect.stringMatching(/^(yes|barely|no)$/) as string },
    });
    const cheap = ['--samples', '1', '--patch', '8', '--device', 'cpu', '--threads', '1'];
    const data = path.join(world, 'train');
    const mining = ['--clusters', '2', '--ensemble', '1'];
    const ran = await cli(['run', data, '--model', model, ...cheap, ...mining, '--out', at('narrow-run')]);
    expect(ran).toMatchObject({ code: 0, stderr: expect.stringContaining('7 images of 30') as string });
    const manifest = (run: string): { dataset: object; options: object } =>
      JSON.parse(readFileSync(path.join(at(run), 'manifest.json'), 'utf8')) as { dataset: object; options: object };
    expect(manifest('narrow-run')).toMatchObject({
      dataset: { images: 7 },
      options: { holdout: 0.2, tBegin: 50, tEnd: 400 },
    });
    const all = ['--holdout', '0', '--t-range', '0.1,0.7', '--out', at('all-scan')];
    expect(await cli(['scan', data, '--model', model, ...cheap, ...all])).toMatchObject({ code: 0 });
    expect(manifest('all-scan')).toMatchObject({ dataset: { images: 30 }, options: { tBegin: 100, tEnd: 700 } });
    expect(manifest('all-scan').options).not.toHaveProperty('holdout');
  }, 300_000);

  test('kill -9 in the middle, then again: the same losses and the same model, bit by bit', async () => {
    const out = at('killed');
    expect(await killedAt(command(out), out, 6)).toBe('SIGKILL');
    if (isNightly) expect(await killedAt(command(out), out, 13)).toBe('SIGKILL');
    // As if the kill had come after a checkpoint and before the record: what is best is read from the journal.
    writeFileSync(path.join(out, 'train.json'), JSON.stringify({ ...record(out), best: { step: 4, loss: 1e-9 } }));
    const ran = await cli(['train', '--out', out, '--device', 'cpu', '--threads', '1']);
    expect(ran).toMatchObject({ code: 0, signal: null });
    expect(losses(out)).toEqual(losses(whole));
    expect(weights(out).equals(weights(whole))).toBe(true);
    expect(record(out).best).toEqual(record(whole).best);
    // As if Ctrl-C had come in the grid of the last step: its checkpoint is there, its grid and validation are not.
    const rows = readMetrics(path.join(out, 'metrics.jsonl')).filter((metric) => metric.step < 16 || 'loss' in metric);
    writeFileSync(path.join(out, 'metrics.jsonl'), rows.map((metric) => `${JSON.stringify(metric)}\n`).join(''));
    expect(await cli(['train', '--out', out, '--device', 'cpu', '--threads', '1'])).toMatchObject({
      code: 0,
    });
    expect(losses(out)).toEqual(losses(whole));
    expect(record(out).best).toEqual(record(whole).best);
    expect(readdirSync(out, { recursive: true }).filter((name) => String(name).includes('tmp-'))).toEqual([]);
  }, 300_000);

  test('Ctrl-C saves the current step; the training resumes from it', async () => {
    const out = at('cancelled');
    let sent = false;
    const ran = await cli(command(out), {
      onStderr: (text, kill) => {
        if (sent || !text.includes('checkpoint')) return;
        sent = true;
        kill('SIGINT');
      },
    });
    expect(ran.code).toBe(130);
    const { step } = record(out) as { step: number };
    expect(ran.stderr).toContain(`Kept: the checkpoint of step ${step} of `);
    expect(ran.stderr).toContain('no step will be repeated. The same command resumes here');
    expect(existsSync(path.join(out, 'checkpoints', `step-${String(step).padStart(8, '0')}.safetensors`))).toBe(true);
    expect(await cli(command(out))).toMatchObject({ code: 0 });
    expect(losses(out)).toEqual(losses(whole));
  }, 300_000);

  test('a training that is done can be made longer, and writes its best weights when asked', async () => {
    const out = at('longer');
    expect(await cli(command(out, '--lr-schedule', 'constant'))).toMatchObject({ code: 0 });
    const before = losses(out);
    const ran = await cli([
      'train',
      '--out',
      out,
      '--steps',
      '20',
      '--learning-rate',
      '1e-4',
      '--use',
      'best',
      '--json',
      '--device',
      'cpu',
      '--threads',
      '1',
    ]);
    expect(ran).toMatchObject({ code: 0 });
    const summary = JSON.parse(ran.stdout) as { steps: number; step: number; best: { step: number } };
    expect(summary.steps).toBe(20);
    expect(summary.step).toBe(summary.best.step);
    expect(losses(out).slice(0, before.length)).toEqual(before);
    expect(record(out)).toMatchObject({ changes: [{ step: 16, settings: { steps: 16, learningRate: 0.001 } }] });
  }, 300_000);

  test('refuses another training, a folder in use, and settings that make no sense', async () => {
    expect(await cli(['train', '--out', whole, '--seed', '5'])).toMatchObject({
      code: 6,
      stderr: expect.stringMatching(/seed: this training has 0, you asked for 5/) as string,
    });
    expect(await cli(['train', '--out', scratch])).toMatchObject({ code: 2 });
    expect(await cli(['train', world, '--out', at('nothing')])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--new SIZE') as string,
    });
    expect(await cli(command(at('odd'), '--size', '30'))).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('multiple of 4') as string,
    });
    expect(await cli(command(at('uneven'), '--train-batch', '5'))).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('equal passes') as string,
    });
    expect(await cli(command(at('latent'), '--new', 'latent-small'))).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--vae') as string,
    });
    expect(await cli(['train', '--list-sizes'])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('latent-large') as string,
    });
  }, 300_000);

  test('diverging stops with what is kept, and resumes a lower rate', async () => {
    const out = at('diverged');
    const on = (rate: string): string[] => [
      'train',
      '--out',
      out,
      '--steps',
      '12',
      '--learning-rate',
      rate,
      '--device',
      'cpu',
      '--threads',
      '1',
    ];
    expect(
      await cli(
        command(out, '--steps', '8', '--lr-schedule', 'constant', '--warmup-steps', '0', '--max-grad-norm', '0'),
      ),
    ).toMatchObject({ code: 0 });
    const ran = await cli(on('1e30'));
    expect(ran).toMatchObject({ code: 7, signal: null });
    expect(ran.stderr).toMatch(/diverged/);
    const { step } = (record(out) as { best: { step: number } }).best;
    expect(ran.stderr).toContain(`checkpoint of step ${step} is kept`);
    expect(record(out)).toMatchObject({ status: 'diverged' });
    expect(existsSync(path.join(out, 'train-report.html'))).toBe(true);
    expect(await cli(on('1e-4'))).toMatchObject({ code: 0 });
    expect(record(out)).toMatchObject({ status: 'done', step: 12 });
    expect(losses(out).slice(0, 4)).toHaveLength(4);
  }, 300_000);

  test('labels that differ in Unicode normalization only become one class, and are named', async () => {
    const data = at('forms');
    mkdirSync(data);
    const [composed, decomposed] = ['Köln'.normalize('NFC'), 'Köln'.normalize('NFD')];
    writeFileSync(
      path.join(data, 'a.png'),
      await sharp({ create: { width: 32, height: 32, channels: 3, background: '#a05030' } })
        .png()
        .toBuffer(),
    );
    const table = path.join(data, 'images.jsonl');
    writeFileSync(
      table,
      [composed, decomposed, 'b'].map((label) => `${JSON.stringify({ image: 'a.png', label })}\n`).join(''),
    );
    const ran = await cli([
      'train',
      table,
      '--new',
      'tiny',
      '--steps',
      '1',
      '--train-batch',
      '1',
      '--holdout',
      '0',
      '--sample-every',
      '0',
      '--device',
      'cpu',
      '--threads',
      '1',
      '--out',
      at('forms-out'),
    ]);
    expect(ran).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(
        /are one class to this model: they differ only in Unicode normalization/,
      ) as unknown,
    });
    const { id2label } = JSON.parse(readFileSync(at('forms-out', 'model_index.json'), 'utf8')) as {
      id2label: Record<string, string>;
    };
    expect(Object.values(id2label).map((label) => label.normalize('NFC'))).toEqual([composed, 'b']);
  });

  test('trains without an empty label and small, damaged and single images, and says so', async () => {
    const data = at('poor');
    for (const label of ['good', 'empty', 'small', 'one']) mkdirSync(path.join(data, label), { recursive: true });
    const draw = (width: number, height: number): Promise<Buffer> =>
      sharp({ create: { width, height, channels: 3, background: '#a05030' } })
        .png()
        .toBuffer();
    writeFileSync(path.join(data, 'good', 'wide.png'), await draw(90, 40));
    writeFileSync(path.join(data, 'good', 'tall.png'), await draw(32, 70));
    writeFileSync(path.join(data, 'good', 'broken.png'), (await draw(64, 64)).subarray(0, 60));
    writeFileSync(path.join(data, 'small', 'tiny.png'), await draw(20, 20));
    writeFileSync(path.join(data, 'one', 'only.png'), await draw(32, 32));
    const args = [
      'train',
      data,
      '--new',
      'tiny',
      '--steps',
      '2',
      '--train-batch',
      '4',
      '--sample-every',
      '0',
      '--device',
      'cpu',
      '--threads',
      '1',
    ];
    const ran = await cli([...args, '--out', at('poor-out'), '--json']);
    expect(ran).toMatchObject({ code: 0 });
    expect(JSON.parse(ran.stdout)).toMatchObject({ images: 3, skipped: 2, validation: [] });
    expect(ran.stderr).toMatch(/'empty' has no images/);
    expect(ran.stderr).toMatch(/tiny\.png.*smaller than the crop/);
    expect(ran.stderr).toMatch(/'small' is left out/);
    // whole by its header, broken when it is decoded: another takes its place in training, none in validation
    const noise = await sharp({
      create: {
        width: 64,
        height: 64,
        channels: 3,
        background: '#000',
        noise: { type: 'gaussian', mean: 128, sigma: 60 },
      },
    })
      .jpeg()
      .toBuffer();
    for (const name of ['x', 'y', 'z'])
      writeFileSync(path.join(data, 'one', `${name}.jpg`), noise.subarray(0, noise.length / 2));
    const torn = await cli([...args, '--holdout', '0.5', '--out', at('torn')]);
    expect(torn).toMatchObject({ code: 0, signal: null });
    // each once, however often it is drawn
    for (const name of ['x', 'y', 'z'])
      expect(torn.stderr.split(`skipped one/${name}.jpg, which cannot be read: `)).toHaveLength(2);
    rmSync(path.join(data, 'one'), { recursive: true });
    rmSync(path.join(data, 'good', 'wide.png'));
    const single = await cli([...args, '--out', at('single')]);
    expect(single).toMatchObject({ code: 0 });
    expect(single.stderr).toMatch(/a model with one label is of no use/);
    rmSync(path.join(data, 'good', 'tall.png'));
    expect(await cli([...args, '--out', at('none')])).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('None of 2 images') as string,
    });
  }, 300_000);

  test('fine-tunes a latent text model: latents are computed once, and the folder is a model', async () => {
    const out = at('tuned');
    const args = [
      'train',
      path.join(GOLDEN, 'mini-dataset'),
      '--from',
      path.join(GOLDEN, 'tiny-sd15'),
      '--size',
      '32',
      '--steps',
      '4',
      '--train-batch',
      '2',
      '--checkpoint-every',
      '2',
      '--prompt',
      'A photo of {label}.',
      '--sample-inference-steps',
      '2',
      '--sample-count',
      '1',
      '--learning-rate',
      '1e-3',
      '--device',
      'cpu',
      '--threads',
      '1',
      '--out',
      out,
    ];
    const ran = await cli(args);
    expect(ran).toMatchObject({ code: 0, signal: null });
    const encoded = statSync(path.join(out, 'cache', 'latents-000000.safetensors')).mtimeMs;
    expect(
      readdirSync(path.join(out, 'cache'))
        .map((name) => name.replace(/[0-9a-f]{16}/, 'KEY'))
        .sort(),
    ).toEqual(['latents-000000.json', 'latents-000000.safetensors', 'text-KEY.safetensors']);
    const again = await cli(['train', '--out', out, '--steps', '6', '--device', 'cpu', '--threads', '1']);
    expect(again).toMatchObject({ code: 0 });
    expect(statSync(path.join(out, 'cache', 'latents-000000.safetensors')).mtimeMs).toBe(encoded);
    const inspected = await cli(['inspect', out, '--json']);
    expect(inspected).toMatchObject({ code: 0 });
    expect(record(out)).toMatchObject({
      model: {
        parameters: (JSON.parse(inspected.stdout) as { summary: { parts: { unet: { parameters: number } } } }).summary
          .parts.unet.parameters,
      },
    });
    expect(
      await cli([
        'scan',
        path.join(GOLDEN, 'mini-dataset'),
        '--model',
        out,
        '--size',
        '32',
        '--samples',
        '2',
        '--patch',
        '8',
        '--device',
        'cpu',
        '--threads',
        '1',
        '--out',
        at('scan'),
      ]),
    ).toMatchObject({ code: 0 });
  }, 300_000);

  nightlyTest.each<[string, string[]]>([
    ['prompts', ['--text-encoder', path.join(GOLDEN, 'tiny-sd15')]],
    ['classes', []],
  ])(
    'makes a latent model of %s from scratch',
    async (conditioning, more) => {
      const out = at(`latent-${conditioning}`);
      const args = [
        '--vae',
        path.join(GOLDEN, 'tiny-sd15'),
        ...more,
        '--size',
        '32',
        '--steps',
        '1',
        '--train-batch',
        '2',
        '--sample-every',
        '0',
        '--flips',
        '--device',
        'cpu',
        '--threads',
        '1',
        '--out',
        out,
      ];
      expect(await cli(['train', path.join(GOLDEN, 'mini-dataset'), '--new', 'latent-small', ...args])).toMatchObject({
        code: 0,
        signal: null,
      });
      const { summary } = JSON.parse((await cli(['inspect', out, '--json'])).stdout) as {
        summary: { kind: string; conditioning: string };
      };
      expect(summary).toMatchObject({ kind: 'latent', conditioning: conditioning === 'classes' ? 'class' : 'text' });
      expect(existsSync(path.join(out, 'tokenizer'))).toBe(conditioning === 'prompts');
    },
    300_000,
  );

  test('low-rank updates: the folder opens as the model with them, scans differ from the base, and another base is refused', async () => {
    const out = at('lora');
    const base = path.join(GOLDEN, 'tiny-sd15');
    const data = path.join(GOLDEN, 'mini-dataset');
    const ran = await cli([
      'train',
      data,
      '--from',
      base,
      '--size',
      '32',
      '--steps',
      '3',
      '--train-batch',
      '2',
      '--lora-rank',
      '2',
      '--learning-rate',
      '1e-2',
      '--sample-every',
      '0',
      '--device',
      'cpu',
      '--threads',
      '1',
      '--out',
      out,
    ]);
    expect(ran).toMatchObject({ code: 0, signal: null });
    const { parameters, trained } = (record(out) as { model: { parameters: number; trained: number } }).model;
    expect(trained).toBeGreaterThan(0);
    expect(trained).toBeLessThan(parameters / 4);
    expect(readdirSync(out)).toEqual(expect.arrayContaining(['lora.json', 'pytorch_lora_weights.safetensors']));
    const scores = async (model: string, run: string): Promise<string> => {
      const scan = await cli([
        'scan',
        data,
        '--model',
        model,
        '--size',
        '32',
        '--samples',
        '2',
        '--patch',
        '8',
        '--device',
        'cpu',
        '--threads',
        '1',
        '--out',
        at(run),
      ]);
      expect(scan).toMatchObject({ code: 0 });
      return readFileSync(path.join(at(run), 'shards', '00000', 'patches.parquet')).toString('base64');
    };
    expect(await scores(out, 'lora-scan')).not.toBe(await scores(base, 'base-scan'));
    expect(await cli(['train', data, '--from', out, '--out', at('lora-again')])).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('is a LoRA, not a complete model') as string,
    });
    expect(await cli(command(at('lora-new'), '--lora-rank', '2'))).toMatchObject({ code: 2 });
  }, 300_000);
});
