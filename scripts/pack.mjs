// Packs what a release publishes, as tarballs; docs/contributing/packages.md.
//   node scripts/pack.mjs platform [--cuda] [--as-built] [--out FOLDER]      the addon for the platform it runs on: @diffmine/linux-x64
//   node scripts/pack.mjs main [--platforms NAME,...] [--out FOLDER]         diffmine itself, which asks for the platform packages
// --as-built takes the addon in build/ without looking whether it is up to date. FOLDER is packages/ unless given.
// Every package has the version in package.json.
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { baseline, compareVersions, packageOf, platformOf, platforms, release } from './addon.mjs';
import { buildAddon, builtAddon, withBuildLock } from './build.mjs';
import { pinned } from './libtorch.mjs';
import { installPackages } from './packages.mjs';
import { fail, isMain, lastLines, optionsOf, readJson, root, run, say, SetupError } from './steps.mjs';

const { version, license, engines, ...manifest } = readJson(path.join(root, 'package.json'));

async function must(program, args, options) {
  const { code, output, stdout } = await run(program, args, options);
  if (code !== 0) throw new SetupError(`${program} ${args.join(' ')} failed:\n${lastLines(output, 8)}`);
  return stdout;
}

/** `npm pack` of a folder; the tarball's path. */
async function pack(folder, out) {
  fs.mkdirSync(out, { recursive: true });
  const [{ filename }] = JSON.parse(await must('npm', ['pack', '--json', '--pack-destination', out], { cwd: folder }));
  return path.join(out, filename);
}

async function withTemporary(work) {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'diffmine-pack-'));
  try {
    return await work(folder);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * The newest versions of system libraries that shared libraries need: { GLIBC: '2.34', GLIBCXX: '3.4.30', CXXABI: '1.3.9' }.
 * By objdump, which comes with the compiler.
 */
export async function requirementsOf(...files) {
  const newest = {};
  for (const file of files) {
    const symbols = await must('objdump', ['-T', file]);
    for (const [, library, needed] of symbols.matchAll(/\b(GLIBC|GLIBCXX|CXXABI)_(\d[\d.]*)/g))
      if (!newest[library] || compareVersions(needed, newest[library]) > 0) newest[library] = needed;
  }
  return newest;
}

/** @throws SetupError if an addon needs newer system libraries than a release may */
export function checkBaseline(requires, limits = baseline) {
  const beyond = Object.entries(requires).filter(([library, needed]) => compareVersions(needed, limits[library]) > 0);
  if (beyond.length === 0) return;
  throw new SetupError(
    `The addon needs ${beyond.map(([library, needed]) => `${library}_${needed}`).join(', ')}; releases need at most ${beyond.map(([library]) => `${library}_${limits[library]}`).join(', ')}.`,
    'Build it on an older system: Debian 12 or Ubuntu 22.04.',
  );
}

/** The copy in a package has no paths of the machine that built it. */
async function strip(file) {
  if (process.platform === 'darwin') {
    const commands = await must('otool', ['-l', file]);
    for (const [, rpath] of commands.matchAll(/cmd LC_RPATH\n.*\n\s*path (.*) \(offset/g))
      await must('install_name_tool', ['-delete_rpath', rpath, file]);
    await must('strip', ['-x', file]);
    return;
  }
  const script = `${file}.cmake`;
  fs.writeFileSync(script, `file(RPATH_REMOVE FILE "${file}")\n`); // what `cmake --install` does
  await must('cmake', ['-P', script]);
  fs.rmSync(script);
  await must('strip', ['--strip-unneeded', file]);
}

/** @returns the tarball of this platform's package */
export async function packPlatform({ cuda = false, asBuilt = false, out }) {
  const platform = platformOf({ cuda });
  if (!(platform in platforms))
    throw new SetupError(
      `There is no platform package for ${platform}.`,
      `Known: ${Object.keys(platforms).join(', ')}.`,
    );
  const { addon, libtorch } = asBuilt
    ? (builtAddon() ?? {})
    : await withBuildLock(async () => {
        await installPackages();
        return buildAddon({ cuda });
      });
  if (!addon) throw new SetupError('No addon is built.', 'Run: npm run setup');
  if (asBuilt && builtAddon().cuda !== cuda)
    throw new SetupError(`The addon in ${path.dirname(addon)} is built ${cuda ? 'without' : 'with'} CUDA.`);
  if (release(libtorch.version) !== release(pinned))
    throw new SetupError(
      `The addon is compiled for LibTorch ${libtorch.version}; packages are for ${pinned}.`,
      `Set LIBTORCH to a LibTorch ${pinned}.`,
    );
  return withTemporary(async (folder) => {
    const files = ['diffmine.node', 'preload.node'].map((name) => path.join(folder, name));
    for (const file of files) {
      fs.copyFileSync(path.join(path.dirname(addon), path.basename(file)), file);
      fs.chmodSync(file, 0o755);
      await strip(file);
    }
    let requires;
    if (process.platform === 'linux') {
      requires = await requirementsOf(...files);
      checkBaseline(requires);
    }
    const { os, cpu, libc } = platforms[platform];
    const description = `The native addon of diffmine for ${platform}`;
    const about = {
      name: packageOf(platform),
      version,
      description,
      license,
      engines,
      ...(manifest.repository ? { repository: manifest.repository } : {}),
      os,
      cpu,
      ...(libc ? { libc } : {}),
      files: ['diffmine.node', 'preload.node'],
      publishConfig: { access: 'public' },
      diffmine: { libtorch: libtorch.version, cuda, ...(requires ? { requires } : {}) },
    };
    fs.writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(about, null, 2)}\n`);
    const needs = Object.entries(requires ?? {}).map(([library, needed]) => `${library} ${needed}`);
    fs.writeFileSync(
      path.join(folder, 'README.md'),
      `# ${about.name}\n\n${description}. npm installs it with [diffmine](https://www.npmjs.com/package/diffmine); it does nothing alone.\n\n` +
        `Compiled for LibTorch ${libtorch.version}${cuda ? ' with CUDA 13' : ''}, which \`npx diffmine setup\` finds or downloads.\n` +
        (needs.length ? `It needs ${needs.join(', ')} or later.\n` : ''),
    );
    fs.copyFileSync(path.join(root, 'LICENSE'), path.join(folder, 'LICENSE'));
    return pack(folder, out);
  });
}

/**
 * diffmine as it is published. The clone's package.json names no platform package, so that `npm ci` works where none is published;
 * the tarball's does.
 * @param names platforms that are published with it; all that npm is to install by itself
 */
export async function packMain({ names = Object.keys(platforms).filter((name) => !platforms[name].onRequest), out }) {
  const unknown = names.filter((name) => !(name in platforms));
  if (unknown.length)
    throw new SetupError(`Unknown platform ${unknown[0]}.`, `Known: ${Object.keys(platforms).join(', ')}.`);
  return withTemporary(async (folder) => {
    await must('tar', ['xf', await pack(root, folder), '-C', folder]);
    const file = path.join(folder, 'package', 'package.json');
    const published = readJson(file);
    for (const name of names) published.optionalDependencies[packageOf(name)] = version;
    fs.writeFileSync(file, `${JSON.stringify(published, null, 2)}\n`);
    return pack(path.join(folder, 'package'), out);
  });
}

async function main() {
  const options = optionsOf(
    {
      cuda: { type: 'boolean' },
      'as-built': { type: 'boolean' },
      platforms: { type: 'string' },
      out: { type: 'string', default: path.join(root, 'packages') },
    },
    ['platform|main'],
  );
  const out = path.resolve(options.out);
  const [what] = options.places;
  if (what === 'platform') say(await packPlatform({ cuda: options.cuda, asBuilt: options['as-built'], out }));
  else if (what === 'main') say(await packMain({ names: options.platforms?.split(','), out }));
  else throw new SetupError(`"${what ?? ''}" cannot be packed.`, 'One of: platform, main.');
}

if (isMain(import.meta.url)) main().catch(fail);
