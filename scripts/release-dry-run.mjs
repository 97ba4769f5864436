// A release end to end against a registry on this machine: packs every package, publishes it there, installs diffmine from there into an empty
// folder without compilers on the PATH, and runs the demo. Nothing leaves the machine; docs/contributing/packages.md.
//   node scripts/release-dry-run.mjs [--as-built] [--whole] [--keep]
// --as-built packs the addon in build/ as it is. --whole runs the demo as a user does, not on a few images. --keep leaves the folder.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fetch } from 'undici';
import { platformOf } from './addon.mjs';
import { cachedLibTorch, findLibTorch } from './libtorch.mjs';
import { packMain, packPlatform } from './pack.mjs';
import { publish } from './publish.mjs';
import { fail, isMain, lastLines, optionsOf, run, say, SetupError, which } from './steps.mjs';

const verdaccio = '6.8.0';

async function timed(what, work) {
  const start = performance.now();
  const result = await work();
  say(`${((performance.now() - start) / 1000).toFixed(1).padStart(7)} s  ${what}`);
  return result;
}

async function must(program, args, options) {
  const { code, output, stdout } = await run(program, args, options);
  if (code !== 0) throw new SetupError(`${program} ${args.join(' ')} failed:\n${lastLines(output, 12)}`);
  return stdout;
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A registry that keeps diffmine's packages itself and takes every other from the registry that npm is set up for. */
async function startRegistry(folder) {
  const home = path.join(folder, 'registry');
  fs.mkdirSync(home, { recursive: true });
  // It asks for node-fetch by a tag, which some mirrors of npm lack.
  const manifest = { private: true, dependencies: { verdaccio }, overrides: { 'node-fetch': '2.7.0' } };
  fs.writeFileSync(path.join(home, 'package.json'), JSON.stringify(manifest));
  const upstream = (await must('npm', ['config', 'get', 'registry'], { cwd: folder })).trim();
  await must('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: home });
  const own = { access: '$all', publish: '$all' };
  const config = {
    storage: path.join(home, 'storage'),
    uplinks: { upstream: { url: upstream, maxage: '1h', timeout: '60s' } },
    packages: { diffmine: own, '@diffmine/*': own, '**': { access: '$all', proxy: 'upstream' } },
    max_body_size: '50mb',
    log: { type: 'file', path: path.join(home, 'log'), level: 'warn' },
  };
  fs.writeFileSync(path.join(home, 'config.yaml'), JSON.stringify(config)); // JSON is YAML
  const address = `127.0.0.1:${await freePort()}`;
  const program = path.join(home, 'node_modules/verdaccio/bin/verdaccio');
  const server = spawn(process.execPath, [program, '--config', path.join(home, 'config.yaml'), '--listen', address], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const stop = () => server.kill();
  process.once('exit', stop);
  for (const start = Date.now(); ;) {
    const answer = await fetch(`http://${address}/-/ping`).catch(() => undefined);
    if (answer?.ok) return { url: `http://${address}/`, address, stop };
    if (server.exitCode !== null || Date.now() - start > 120_000) throw new SetupError('The registry did not start.');
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** A PATH with node, npm and a shell, and the environment of a user without compilers or Python whose LibTorch is in the cache. */
async function bareEnvironment(folder, npmrc) {
  const bin = path.join(folder, 'bin');
  fs.mkdirSync(bin);
  for (const [name, file] of [
    ['node', process.execPath],
    ...['npm', 'npx', 'sh', 'env'].map((name) => [name, which(name)]),
  ])
    fs.symlinkSync(file, path.join(bin, name));
  const cache = path.join(folder, 'cache');
  fs.mkdirSync(cache);
  const libtorch = await findLibTorch();
  const environment = {
    ...process.env,
    PATH: bin,
    DIFFMINE_CACHE: cache,
    NPM_CONFIG_USERCONFIG: npmrc,
    npm_config_cache: path.join(folder, 'npm-cache'),
  };
  for (const name of ['LIBTORCH', 'CXX', 'DIFFMINE_ADDON']) delete environment[name];
  fs.symlinkSync(libtorch.folder, path.join(cache, cachedLibTorch(libtorch.version)));
  return environment;
}

async function main() {
  const flag = { type: 'boolean', default: false };
  const options = optionsOf({ 'as-built': flag, whole: flag, keep: flag });
  const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'diffmine-release-')));
  let registry;
  try {
    const out = path.join(folder, 'packages');
    const tarballs = await timed('pack', async () => [
      await packPlatform({ asBuilt: options['as-built'], out }),
      await packMain({ names: [platformOf()], out }),
    ]);
    for (const file of tarballs)
      say(`           ${path.basename(file)}: ${(fs.statSync(file).size / 1e6).toFixed(2)} MB`);
    registry = await timed(`install and start verdaccio ${verdaccio}`, () => startRegistry(folder));
    const npmrc = path.join(folder, 'npmrc');
    fs.writeFileSync(npmrc, `registry=${registry.url}\n//${registry.address}/:_authToken=none\n`);
    process.env.NPM_CONFIG_USERCONFIG = npmrc;
    await timed('publish', () => publish(out, { registry: registry.url }));

    const home = path.join(folder, 'home');
    fs.mkdirSync(home);
    fs.writeFileSync(path.join(home, 'package.json'), '{ "private": true }\n');
    const env = await bareEnvironment(folder, npmrc);
    const bare = (what, program, ...args) => timed(what, () => must(program, args, { cwd: home, env }));
    await bare('npm install diffmine', 'npm', 'install', '--no-audit', '--no-fund', 'diffmine');
    await bare('npx diffmine setup', 'npx', '--no-install', 'diffmine', 'setup');
    const doctor = await bare('npx diffmine doctor', 'npx', '--no-install', 'diffmine', 'doctor');
    say(doctor.split('\n').slice(0, 3).join('\n'));
    const few = options.whole ? [] : ['--images-per-label', '4', '--samples', '4'];
    const found = await bare(
      `npx diffmine ${['demo', ...few].join(' ')}`,
      'npx',
      '--no-install',
      'diffmine',
      'demo',
      ...few,
    );
    say(lastLines(found, 12));
  } finally {
    registry?.stop();
    if (options.keep) say(folder);
    else fs.rmSync(folder, { recursive: true, force: true });
  }
}

if (isMain(import.meta.url)) main().catch(fail);
