// All the set-up there is, each step only where it is needed: npm packages and TypeScript (in a clone), LibTorch, the addon.
// As a program: node scripts/setup.mjs [--cuda | --no-cuda]
import fs from 'node:fs';
import { pathToFileURL } from 'node:url';
import { buildAddon, withBuildLock } from './build.mjs';
import { compileTypeScript, installPackages } from './packages.mjs';
import { fail, say } from './steps.mjs';

/**
 * Safe to repeat, to kill and to run twice at once; quick where nothing is to do.
 * @param options.cuda true or false; undefined: as the last time, at first without
 * @returns {Promise<{ addon: string, built: boolean, cuda: boolean, libtorch: { folder: string, version: string, cuda: boolean, source: string } }>}
 */
export function setup({ cuda } = {}) {
  return withBuildLock(async () => {
    await installPackages();
    const result = await buildAddon({ cuda });
    await compileTypeScript();
    return result;
  });
}

if (process.argv[1] && import.meta.url === pathToFileURL(fs.realpathSync(process.argv[1])).href) {
  const cuda = process.argv.includes('--cuda') ? true : process.argv.includes('--no-cuda') ? false : undefined;
  setup({ cuda })
    .then(({ addon, libtorch, built }) => say(`${built ? 'built' : 'up to date'}: ${addon} (LibTorch ${libtorch.version} from ${libtorch.source}: ${libtorch.folder})`))
    .catch(fail);
}
