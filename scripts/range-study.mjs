// At which timesteps is a model's contrast above its noise? Runs the pilot of `scan --t-range auto` for each model, on the same images, and prints by timestep
// the ratio of noise to signal in what the model sees, contrast and noise of a patch, and the range that the pilot chooses.
//   python scripts/small-kinds.py dit|sd3 DATASET MODEL --vae VAE    trains a small model of the kind
//   node scripts/range-study.mjs MODEL... --dataset DIR --work DIR [--patch 6] [--json]
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { fail, root, SetupError } from './steps.mjs';

const readJson = (file) => JSON.parse(fs.readFileSync(file, 'utf8'));

/** Noise divided by signal at timestep t of a scheduler. */
function ratioOf(scheduler, t) {
  const steps = scheduler.num_train_timesteps;
  if (scheduler._class_name.startsWith('FlowMatch')) return t / (steps - t);
  const scaled = scheduler.beta_schedule === 'scaled_linear';
  const [first, last] = [scheduler.beta_start, scheduler.beta_end].map((beta) => (scaled ? Math.sqrt(beta) : beta));
  let signal = 1;
  for (let i = 0; i <= t; i += 1) {
    const beta = first + ((last - first) * i) / (steps - 1);
    signal *= 1 - (scaled ? beta ** 2 : beta);
  }
  return Math.sqrt((1 - signal) / signal);
}

function pilotOf(model, { dataset, work, patch }) {
  const out = path.join(work, path.basename(path.resolve(model)));
  fs.rmSync(out, { recursive: true, force: true });
  const scan = [
    'scan',
    dataset,
    '--model',
    model,
    '--out',
    out,
    '--t-range',
    'auto',
    '--against',
    'null',
    '--patch',
    patch,
  ];
  const { status } = spawnSync(
    process.execPath,
    [path.join(root, 'bin/diffmine.js'), ...scan, '--samples', '1', '--sample', '3', '--dtype', 'fp32', '--no-maps'],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  if (status !== 0) throw new SetupError(`The scan with ${model} failed.`);
  const { pilot, options } = readJson(path.join(out, 'manifest.json'));
  const scheduler = readJson(path.join(model, 'scheduler', 'scheduler_config.json'));
  return {
    model,
    range: [options.tBegin, options.tEnd],
    noiseToSignal: [options.tBegin, options.tEnd - 1].map((t) => ratioOf(scheduler, t)),
    bins: pilot.timesteps.map((t, i) => ({
      t,
      noiseToSignal: ratioOf(scheduler, t),
      contrast: pilot.contrast[i],
      noise: pilot.noise[i],
    })),
  };
}

function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      dataset: { type: 'string' },
      work: { type: 'string' },
      patch: { type: 'string', default: '6' },
      json: { type: 'boolean', default: false },
    },
  });
  if (positionals.length === 0 || !values.dataset || !values.work)
    throw new SetupError('usage: node scripts/range-study.mjs MODEL... --dataset DIR --work DIR');
  fs.mkdirSync(values.work, { recursive: true });
  const found = positionals.map((model) => pilotOf(model, values));
  if (values.json) return console.log(JSON.stringify(found, null, 1));
  for (const { model, range, noiseToSignal, bins } of found) {
    console.log(
      `\n${model}: t ${range[0]} to ${range[1] - 1}, noise / signal ${noiseToSignal.map((one) => one.toFixed(2)).join(' to ')}`,
    );
    console.log('   t  noise/signal  contrast     noise   ratio');
    for (const { t, noiseToSignal: ratio, contrast, noise } of bins)
      console.log(
        [
          String(t).padStart(4),
          ratio.toFixed(2).padStart(13),
          contrast.toExponential(2).padStart(9),
          noise.toExponential(2).padStart(9),
          (contrast / noise).toFixed(3).padStart(7),
        ].join(' '),
      );
  }
}

try {
  main();
} catch (error) {
  fail(error);
}
