// Takes the prebuilt addon of a platform package: finds LibTorch for it, tries it, and records both for src/engine/locate.ts.
import fs from 'node:fs';
import path from 'node:path';
import {
  fetchedPackages,
  installCommand,
  isPublished,
  librariesOf,
  packageOf,
  platformOf,
  platformPackage,
  platforms,
  probe,
  reinstall,
} from './addon.mjs';
import { buildFolder } from './build.mjs';
import { findLibTorch, inspectLibTorch } from './libtorch.mjs';
import { lastLines, readJson, run, say, writeAtomically } from './steps.mjs';

const recordIn = (folder) => path.join(folder, 'prebuilt.json');

/**
 * The prebuilt addon that the last set-up took; undefined if it took none, or if a file of it is gone.
 * @returns {{ package: string, version: string, addon: string, preload: string, libraries: string[], libtorch: { folder: string, version: string, cuda: boolean, source: string }, cuda: boolean } | undefined}
 */
export function prebuiltAddon(folder = buildFolder()) {
  const record = readJson(recordIn(folder));
  return record && [record.addon, record.preload, ...record.libraries].every((file) => fs.existsSync(file))
    ? record
    : undefined;
}

/** From now on, the compiled addon is the one in use. */
export function dropPrebuilt(folder = buildFolder()) {
  fs.rmSync(recordIn(folder), { force: true });
}

/** The first line of npm's errors that is a sentence; it begins with codes and ends with the place of its log. */
export function npmReason(output) {
  const told = /^npm error (?!(?:code|errno|syscall|path|dest)\b)(\S.*\S)\s*$/m.exec(output)?.[1];
  return (told ?? lastLines(output, 1)).trim().replace(/\.$/, '');
}

/** npm installs the package for CUDA only on request: `setup --cuda` is one. */
async function fetchPackage(name) {
  const folder = fetchedPackages();
  say(`fetching ${name} into ${folder}`);
  fs.mkdirSync(folder, { recursive: true });
  const args = [
    'install',
    '--prefix',
    folder,
    '--no-save',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  ];
  const spec = installCommand(name).split(' ').at(-1);
  const { code, output } = await run('npm', [...args, spec], { cwd: folder });
  return code === 0 ? undefined : `npm could not fetch ${spec}: ${npmReason(output)}`;
}

function stillGood(libtorch, wanted) {
  try {
    const asked = process.env.LIBTORCH;
    if (asked && fs.realpathSync(asked) !== libtorch.folder) return false;
    inspectLibTorch(libtorch.folder, wanted);
    return true;
  } catch {
    return false;
  }
}

/**
 * @returns the record, or { reason } why no prebuilt addon can be used; `missing` if its package could be installed
 */
export async function takePrebuilt({ cuda = false } = {}) {
  let found = platformPackage({ cuda });
  if (found.missing && isPublished && platforms[platformOf({ cuda })].onRequest) {
    const reason = await fetchPackage(packageOf(platformOf({ cuda })));
    if (reason) return { ...found, reason };
    found = platformPackage({ cuda });
  }
  if (found.reason) return found;
  const { name, addon, preload, version, libtorch: needed } = found;
  const wanted = { cuda, headers: false, version: needed };
  const before = prebuiltAddon();
  let libtorch = before?.addon === addon && stillGood(before.libtorch, wanted) ? before.libtorch : undefined;
  try {
    libtorch ??= await findLibTorch(wanted);
  } catch (error) {
    if (error.code !== 'SETUP') throw error;
    return { name, reason: error.message, hint: error.hint };
  }
  const candidate = { addon, preload, libraries: librariesOf(libtorch.folder, { cuda }) };
  const record = { package: name, version, ...candidate, libtorch, cuda };
  const known = JSON.stringify(record) === JSON.stringify(before);
  if (!known)
    say(`LibTorch ${libtorch.version}${libtorch.cuda ? ' (CUDA)' : ''} from ${libtorch.source}: ${libtorch.folder}`);
  // one that was taken before as well: whoever repeats set-up may do so because the addon stopped working
  const { reason } = probe(candidate);
  if (reason) {
    const hint = `If its files are damaged: ${reinstall(name, addon)} && npx diffmine setup${cuda ? ' --cuda' : ''}.`;
    return { name, reason: `${addon} cannot be loaded: ${reason}`, hint };
  }
  if (known) return record;
  writeAtomically(recordIn(buildFolder()), `${JSON.stringify(record, null, 2)}\n`);
  return record;
}
