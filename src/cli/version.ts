// --version: the package, and the LibTorch of the addon when there is one.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { asDiffmineError } from '../errors';
import { loadAddon } from '../native/index';

export async function version(): Promise<[text: string, json: unknown]> {
  const root = join(__dirname, '..', '..');
  const { version: own } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  try {
    const build = loadAddon().buildInfo();
    return [`diffmine ${own} (LibTorch ${build.libtorchLoaded}, ${build.cuda ? 'CUDA' : 'CPU'})`, { version: own, libtorch: build.libtorchLoaded, cuda: build.cuda }];
  } catch (error) {
    return [`diffmine ${own} (native part not available: run diffmine setup)`, { version: own, libtorch: null, reason: asDiffmineError(error).message }];
  }
}
