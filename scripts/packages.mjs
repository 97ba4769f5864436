// A clone's npm packages and its compiled TypeScript. An installed package has both.
import fs from 'node:fs';
import path from 'node:path';
import { fail, fingerprint, isClone, isMain, lastLines, optionsOf, root, run, say, SetupError } from './steps.mjs';

/** The compiler in native code, in half the time; TypeDoc needs the API of the one written in JavaScript. */
const tsc = path.join(root, 'node_modules/typescript-native/bin/tsc');

const stamp = path.join(root, 'node_modules/.diffmine-lock-hash');

const read = (file) => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8').trim() : '');

/** `npm ci` where package-lock.json has changed since the last time. */
export async function installPackages() {
  if (!isClone) return;
  const wanted = fingerprint(root, ['package-lock.json']);
  if (read(stamp) === wanted) return;
  // npm ci empties node_modules: behind a link that is another checkout's.
  const modules = path.join(root, 'node_modules');
  if (fs.lstatSync(modules, { throwIfNoEntry: false })?.isSymbolicLink()) {
    throw new SetupError(
      `${modules} is a link to ${fs.readlinkSync(modules)}, and its packages are not those of this package-lock.json: npm ci would empty the folder it points to.`,
      'Remove the link and run the same command again, or install the packages where it points to.',
    );
  }
  say('installing npm packages');
  // --include=dev: NODE_ENV=production would leave out the TypeScript compiler.
  const { code, output } = await run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund'], { cwd: root });
  if (code !== 0)
    throw new SetupError(
      `npm ci failed:\n${lastLines(output, 12)}`,
      'If a proxy leads out, set HTTPS_PROXY, or `npm config set proxy`; then run the same command again.',
    );
  fs.writeFileSync(stamp, `${wanted}\n`);
}

/** Compiles src/ to dist/ if it has changed; swapped in whole, so that a killed compiler leaves the former one. */
export async function compileTypeScript() {
  if (!isClone) return;
  const dist = path.join(root, 'dist');
  const wanted = fingerprint(root, ['src', 'tsconfig.json', 'package-lock.json']);
  if (read(path.join(dist, '.fingerprint')) === wanted) return;
  say('compiling TypeScript');
  const fresh = path.join(root, `dist-${process.pid}`);
  try {
    const { code, output } = await run(process.execPath, [tsc, '-p', root, '--outDir', fresh], { cwd: root });
    if (code !== 0) throw new SetupError(`TypeScript does not compile:\n${output.split('\n').slice(0, 12).join('\n')}`);
    // Data that the code reads beside itself, such as the report's page.
    fs.cpSync(path.join(root, 'src'), fresh, {
      recursive: true,
      filter: (file) => fs.statSync(file).isDirectory() || !file.endsWith('.ts'),
    });
    fs.writeFileSync(path.join(fresh, '.fingerprint'), `${wanted}\n`);
    fs.rmSync(dist, { recursive: true, force: true });
    fs.renameSync(fresh, dist);
  } finally {
    fs.rmSync(fresh, { recursive: true, force: true });
  }
}

// As a program (npm runs it before packing): dist/ as it must be.
async function main() {
  optionsOf();
  await installPackages();
  await compileTypeScript();
}

if (isMain(import.meta.url)) main().catch(fail);
