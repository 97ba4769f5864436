// All the set-up there is, each step only if it is needed: npm packages and TypeScript (in a clone), LibTorch, the addon.
// As a program: node scripts/setup.mjs [--cuda | --no-cuda] [--build] [--libtorch FOLDER]
import path from 'node:path';
import { installCommand, unsupported } from './addon.mjs';
import { buildAddon, builtAddon, checkTools, withBuildLock } from './build.mjs';
import { findLibTorch, inspectLibTorch } from './libtorch.mjs';
import { wrongNode } from './node-version.mjs';
import { compileTypeScript, installPackages } from './packages.mjs';
import { dropPrebuilt, prebuiltAddon, takePrebuilt } from './prebuilt.mjs';
import { configure, fail, isClone, isMain, optionsOf, say, SetupError, together } from './steps.mjs';

// What src/tools/setup needs to look at a set-up.
export { accepted } from './libtorch.mjs';
export { cpuFlags, fixes, levelOf, platformPackage, probe, unsupported } from './addon.mjs';
export { buildFolder, builtAddon } from './build.mjs';
export { prebuiltAddon } from './prebuilt.mjs';
export { cacheFolder, isClone, which } from './steps.mjs';

/** Compiles; what stands in the way names the prebuilt addon that would do instead. */
async function compileAddon(cuda, { name, reason, missing, hint }) {
  try {
    const result = await buildAddon({ cuda });
    dropPrebuilt();
    return { ...result, prebuilt: null };
  } catch (error) {
    if (isClone || !reason || !(error instanceof SetupError)) throw error;
    const instead = missing
      ? `Either: ${installCommand(name)}, then the same command again. Or: `
      : hint
        ? `${hint} Or: `
        : '';
    throw new SetupError(
      `No prebuilt addon can be used: ${reason}.\n${error.message}`,
      `${instead}${error.hint ?? ''}`,
    );
  }
}

async function addon({ cuda, build }) {
  const prebuilt = prebuiltAddon();
  const compiled = prebuilt ? undefined : builtAddon();
  const withCuda = cuda ?? prebuilt?.cuda ?? compiled?.cuda ?? false;
  if (build ?? compiled !== undefined) return compileAddon(withCuda, {});
  const taken = await takePrebuilt({ cuda: withCuda });
  if (!taken.reason)
    return { addon: taken.addon, built: false, prebuilt: taken.package, cuda: withCuda, libtorch: taken.libtorch };
  if (!isClone) say(`No prebuilt addon can be used: ${taken.reason}. Compiling one instead.`);
  return compileAddon(withCuda, taken);
}

/** Before anything is downloaded: what no set-up changes. */
function refuseMachine() {
  const wrong = wrongNode();
  if (wrong) throw new SetupError(wrong.message, wrong.hint);
  const beyond = unsupported();
  if (beyond) throw new SetupError(`diffmine cannot compute here: ${beyond.reason}.`, beyond.hint);
}

/**
 * Safe to repeat, to kill and to run twice at once; quick where nothing is to do.
 * @param options.log where lines of progress go; stderr
 * @param options.signal ends it: downloads can be resumed, half-made folders are removed by the next set-up
 * @param options.cuda true or false; undefined: as the last time, at first without
 * @param options.build true: compile even if a prebuilt addon fits; undefined: as the last time, at first only where none fits
 * @returns {Promise<{ addon: string, built: boolean, prebuilt: string | null, cuda: boolean, libtorch: { folder: string, version: string, cuda: boolean, source: string } }>}
 */
export function setup({ cuda, build, log, signal } = {}) {
  configure({ log, signal });
  refuseMachine();
  return withBuildLock(async () => {
    // Side by side what does not need the other. The build finds the LibTorch that was fetched here.
    const first = isClone && !builtAddon() && !prebuiltAddon();
    if (first) checkTools({ cuda }); // before minutes of downloads
    await together(installPackages(), first && findLibTorch({ cuda }));
    const [result] = await together(addon({ cuda, build }), compileTypeScript());
    return result;
  });
}

async function main() {
  const flag = { type: 'boolean' };
  const options = optionsOf({ cuda: flag, 'no-cuda': flag, build: flag, libtorch: { type: 'string' } });
  if (options.cuda && options['no-cuda']) throw new SetupError('--cuda and --no-cuda cannot be used together.');
  if (options.libtorch !== undefined) {
    inspectLibTorch(path.resolve(options.libtorch), { headers: false }); // before anything is installed
    process.env.LIBTORCH = options.libtorch;
  }
  const cuda = options.cuda ?? (options['no-cuda'] ? false : undefined);
  const { addon, libtorch, built, prebuilt } = await setup({ cuda, build: options.build });
  say(
    `${built ? 'built' : prebuilt ? `prebuilt by ${prebuilt}` : 'up to date'}: ${addon} (LibTorch ${libtorch.version} from ${libtorch.source}: ${libtorch.folder})`,
  );
}

if (isMain(import.meta.url)) main().catch(fail);
