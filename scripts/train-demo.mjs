// Trains the demo's model again: draws synthetic datasets, trains on them with `diffmine train` in two stages, and writes the result to demo/model.
// Takes about two hours on 2 CPU cores. Run it again to resume.
//   node scripts/train-demo.mjs [-- further options of diffmine train, when it begins]
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setup } from './setup.mjs';
import { fail, optionsOf, root, say, SetupError, writeAtomically } from './steps.mjs';

const work = path.join(root, 'demo-train');
const model = path.join(root, 'demo/model');

/** The second stage sees new images; each begins with a high learning rate and ends with none. */
const STAGES = [
  { seed: 1, images: 800, steps: 6000, from: ['--new', 'small'] },
  { seed: 3, images: 2000, steps: 6500 },
];
// Four fifths of the steps in the part of the schedule that the demo scores; the rest over all of it, so that the model can be sampled and inverted.
const RECIPE =
  '--flips --drop 0.1 --train-t-range 0.05,0.4 --wide 0.2 --train-batch 16 --learning-rate 8e-4 --lr-schedule cosine --warmup-steps 100 --ema 0.999 --dtype bf16 --save-dtype fp16'.split(
    ' ',
  );
/** Of the log's steps, which are shipped: every tenth, and whatever is not a step. */
const LOGGED = 10;

const worldOf = ({ seed }) => path.join(work, `world-${seed}`);
const trainingOf = ({ seed }) => path.join(work, `model-${seed}`);

function diffmine(...args) {
  say(`diffmine ${args.join(' ')}`);
  const { status } = spawnSync(process.execPath, [path.join(root, 'bin/diffmine.js'), ...args], {
    stdio: ['inherit', 'ignore', 'inherit'],
  });
  if (status !== 0) process.exit(status ?? 1);
}

function ship() {
  const last = trainingOf(STAGES.at(-1));
  const text = (...parts) => fs.readFileSync(path.join(...parts), 'utf8');
  for (const name of ['model_index.json', 'scheduler/scheduler_config.json', 'unet/config.json'])
    writeAtomically(path.join(model, name), text(last, name));
  for (const stage of STAGES) {
    const training = trainingOf(stage);
    // The last stage's have the names that commands look for.
    const named = stage === STAGES.at(-1) ? '' : `-${stage.seed}`;
    // Where it was trained is nobody's business.
    writeAtomically(
      path.join(model, `train${named}.json`),
      text(training, 'train.json').replaceAll(`${root}${path.sep}`, ''),
    );
    const lines = text(training, 'metrics.jsonl').trim().split('\n');
    const kept = lines.filter((line) => {
      const { step, loss } = JSON.parse(line);
      return loss === undefined || step % LOGGED === 0 || step === 1;
    });
    writeAtomically(path.join(model, `metrics${named}.jsonl`), `${kept.join('\n')}\n`);
    fs.copyFileSync(path.join(worldOf(stage), 'world.json'), path.join(model, `world${named}.json`));
  }
  const weights = 'unet/diffusion_pytorch_model.safetensors';
  fs.copyFileSync(path.join(last, weights), path.join(model, weights));
  say(
    `${model}: ${(fs.statSync(path.join(model, weights)).size / 1e6).toFixed(1)} MB of weights. See what it finds: npm run demo`,
  );
}

function trainStage(stage, before, further) {
  const [world, training] = [worldOf(stage), trainingOf(stage)];
  if (!fs.existsSync(path.join(world, 'world.json'))) {
    fs.rmSync(world, { recursive: true, force: true });
    const drawn = ['--seed', stage.seed, '--images-per-label', stage.images, '--holdout', 0].map(String);
    diffmine('demo', '--data-only', world, ...drawn);
  }
  const begun = fs.existsSync(path.join(training, 'train.json'));
  if (begun && further.length)
    throw new SetupError('The training has begun: it takes no further options.', `To begin again, remove ${training}.`);
  if (begun) return diffmine('train', '--out', training);
  const from = before ? ['--from', trainingOf(before)] : stage.from;
  const numbers = ['--steps', stage.steps, '--seed', stage.seed].map(String);
  diffmine('train', path.join(world, 'train'), '--out', training, ...from, ...numbers, ...RECIPE, ...further);
}

async function train() {
  const line = process.argv.slice(2);
  const split = line.includes('--') ? line.indexOf('--') : line.length;
  optionsOf({}, [], line.slice(0, split));
  const further = line.slice(split + 1);
  await setup();
  STAGES.forEach((stage, i) => trainStage(stage, STAGES[i - 1], i === 0 ? further : []));
  ship();
}

train().catch(fail);
