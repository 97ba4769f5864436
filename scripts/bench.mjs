// npm run bench: set-up, then the benchmark: UNet calls, stages and training steps of Stable Diffusion 1.5's size, of small models, and the tiny pipeline
// of the repository. Further flags are passed on and win (npm run -s bench -- --out bench.json). Where DIFFUSERS_PYTHON names a Python with diffusers, both are timed in turn.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import process from 'node:process';
import { setup } from './setup.mjs';
import { fail, root } from './steps.mjs';

async function bench() {
  await setup();
  const golden = path.join(root, 'test/data/golden');
  const args = [
    'bench',
    '--repeats',
    '3',
    '--training',
    'tiny,small,model',
    '--pipeline-model',
    path.join(golden, 'tiny-sd15'),
    '--pipeline-data',
    path.join(golden, 'mini-dataset'),
  ];
  if (process.env.DIFFUSERS_PYTHON) args.push('--diffusers', process.env.DIFFUSERS_PYTHON);
  process.exitCode =
    spawnSync(process.execPath, [path.join(root, 'bin/diffmine.js'), ...args, ...process.argv.slice(2)], {
      stdio: 'inherit',
    }).status ?? 1;
}

bench().catch(fail);
