// Trains the demo's model again: draws the synthetic dataset of seed 1, runs `diffmine train` on it, and writes the result to demo/model.
// Takes about an hour on 2 CPU cores. Run it again to resume.
//   node scripts/train-demo.mjs [-- further options of diffmine train, when it begins]
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setup } from './setup.mjs';
import { fail, optionsOf, root, say, SetupError, writeAtomically } from './steps.mjs';

const work = path.join(root, 'demo-train');
const world = path.join(work, 'world');
const training = path.join(work, 'model');
const model = path.join(root, 'demo/model');

const WORLD = ['--seed', '1', '--images-per-label', '800', '--holdout', '0'];
// Four fifths of the steps in the part of the schedule that the demo scores; the rest over all of it, so that the model can be sampled and inverted.
const RECIPE = [
  '--new',
  'small',
  '--steps',
  '6000',
  '--flips',
  '--drop',
  '0.1',
  '--train-t-range',
  '0.05,0.4',
  '--wide',
  '0.2',
  '--seed',
  '1',
  '--dtype',
  'bf16',
  '--save-dtype',
  'fp16',
];
/** Of the log's steps, which are shipped: every tenth, and whatever is not a step. */
const LOGGED = 10;

function diffmine(...args) {
  say(`diffmine ${args.join(' ')}`);
  const { status } = spawnSync(process.execPath, [path.join(root, 'bin/diffmine.js'), ...args], {
    stdio: ['inherit', 'ignore', 'inherit'],
  });
  if (status !== 0) process.exit(status ?? 1);
}

function ship() {
  const text = (name) => fs.readFileSync(path.join(training, name), 'utf8');
  for (const name of ['model_index.json', 'scheduler/scheduler_config.json', 'unet/config.json'])
    writeAtomically(path.join(model, name), text(name));
  // Where it was trained is nobody's business.
  writeAtomically(path.join(model, 'train.json'), text('train.json').replaceAll(`${root}${path.sep}`, ''));
  const lines = text('metrics.jsonl').trim().split('\n');
  const kept = lines.filter((line) => {
    const { step, loss } = JSON.parse(line);
    return loss === undefined || step % LOGGED === 0 || step === 1;
  });
  writeAtomically(path.join(model, 'metrics.jsonl'), `${kept.join('\n')}\n`);
  fs.copyFileSync(path.join(world, 'world.json'), path.join(model, 'world.json'));
  const weights = 'unet/diffusion_pytorch_model.safetensors';
  fs.copyFileSync(path.join(training, weights), path.join(model, weights));
  say(
    `${model}: ${(fs.statSync(path.join(model, weights)).size / 1e6).toFixed(1)} MB of weights. See what it finds: npm run demo`,
  );
}

async function train() {
  const line = process.argv.slice(2);
  const split = line.includes('--') ? line.indexOf('--') : line.length;
  optionsOf({}, [], line.slice(0, split));
  const further = line.slice(split + 1);
  await setup();
  if (!fs.existsSync(path.join(world, 'world.json'))) {
    fs.rmSync(world, { recursive: true, force: true });
    diffmine('demo', '--data-only', world, ...WORLD);
  }
  const begun = fs.existsSync(path.join(training, 'train.json'));
  if (begun && further.length)
    throw new SetupError('The training has begun: it takes no further options.', `To begin again, remove ${training}.`);
  if (begun) diffmine('train', '--out', training);
  else diffmine('train', path.join(world, 'train'), '--out', training, ...RECIPE, ...further);
  ship();
}

train().catch(fail);
