// npm run demo: sets everything up, then mines the twelve photographs of demo/pictures into demo-run/.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setup } from './setup.mjs';
import { fail, root, say } from './steps.mjs';

const runFolder = path.join(root, 'demo-run');
const model = path.join(root, 'test/data/golden/tiny-sd15');
const runMismatch = 6;

function mine() {
  const args = [
    'run', path.join(root, 'demo/pictures'), '--model', model, '--out', runFolder,
    '--prompt', 'A photo of a {label} of cards.', '--null-prompt', 'A photo of a card.',
    '--size', 'source', '--patch', '48', '--samples', '12', '--clusters', '4', '--device', 'cpu',
  ];
  return spawnSync(process.execPath, [path.join(root, 'bin/diffmine.js'), ...args], { stdio: ['inherit', 'ignore', 'inherit'] }).status;
}

async function demo() {
  const { libtorch } = await setup();
  say(`set up with LibTorch ${libtorch.version} (${libtorch.source}: ${libtorch.folder})`);
  say('mining demo/pictures with a tiny model of RANDOM weights: it knows nothing, so what is found means nothing;');
  say('it shows that every part works and what a report looks like.');
  let status = mine();
  if (status === runMismatch) {
    // A demo-run of an earlier version: ours to replace.
    fs.rmSync(runFolder, { recursive: true });
    status = mine();
  }
  if (status !== 0) {
    process.exitCode = status ?? 1;
    return;
  }
  process.stdout.write(`The report (weights are random: its findings mean nothing): ${path.join(runFolder, 'report/index.html')}\n`);
}

demo().catch(fail);
