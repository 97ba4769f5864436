// All the set-up there is, each step only if it is needed: npm packages and TypeScript (in a clone), LibTorch, the addon.
// As a program: node scripts/setup.mjs [--cuda | --no-cuda]
import { buildAddon, withBuildLock } from './build.mjs';
import { compileTypeScript, installPackages } from './packages.mjs';
import { configure, fail, isMain, say } from './steps.mjs';

// What src/tools/setup needs to look at a set-up.
export { accepted } from './libtorch.mjs';
export { buildFolder, builtAddon, probe } from './build.mjs';
export { cacheFolder, which } from './steps.mjs';

/**
 * Safe to repeat, to kill and to run twice at once; quick where nothing is to do.
 * @param options.log where lines of progress go; stderr
 * @param options.signal ends it: downloads can be taken up again, half-made folders are removed by the next set-up
 * @param options.cuda true or false; undefined: as the last time, at first without
 * @returns {Promise<{ addon: string, built: boolean, cuda: boolean, libtorch: { folder: string, version: string, cuda: boolean, source: string } }>}
 */
export function setup({ cuda, log, signal } = {}) {
  configure({ log, signal });
  return withBuildLock(async () => {
    await installPackages();
    const result = await buildAddon({ cuda });
    await compileTypeScript();
    return result;
  });
}

if (isMain(import.meta.url)) {
  const cuda = process.argv.includes('--cuda') ? true : process.argv.includes('--no-cuda') ? false : undefined;
  setup({ cuda })
    .then(({ addon, libtorch, built }) =>
      say(
        `${built ? 'built' : 'up to date'}: ${addon} (LibTorch ${libtorch.version} from ${libtorch.source}: ${libtorch.folder})`,
      ),
    )
    .catch(fail);
}
