// npm run demo: sets everything up, then runs `diffmine demo` into demo-run/. Options follow after a --: npm run demo -- --images-per-label 80
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { setup } from './setup.mjs';
import { fail, root, say } from './steps.mjs';

async function demo() {
  const { libtorch } = await setup();
  say(`set up with LibTorch ${libtorch.version} (${libtorch.source}: ${libtorch.folder})`);
  const args = ['demo', '--out', path.join(root, 'demo-run'), ...process.argv.slice(2)];
  const { status } = spawnSync(process.execPath, [path.join(root, 'bin/diffmine.js'), ...args], { stdio: 'inherit' });
  process.exitCode = status ?? 1;
}

demo().catch(fail);
