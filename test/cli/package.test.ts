// What a user gets: the packages packed as a release publishes them, installed into an empty folder without compilers, set up, and put to work.
// The platform package holds the clone's addon, which set-up has compiled. npm run test:all also compiles it from the packed sources.
// DIFFMINE_SKIP_PACKAGE=1 leaves this file out.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { baseline } from '../../scripts/addon.mjs';
import { builtAddon } from '../../scripts/build.mjs';
import { which } from '../../scripts/steps.mjs';
import { isNightly, nightlyTest } from '../helpers/nightly.js';

const root = resolve(__dirname, '../..');
const suite = process.env['DIFFMINE_SKIP_PACKAGE'] === '1' ? describe.skip : describe;

it('has a lock that names the packages of every platform, without which npm ci refuses to start', () => {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { optionalDependencies?: Record<string, string> }>;
  };
  // npm install leaves out those of other platforms where node_modules is already there.
  const optional = Object.entries(packages).flatMap(([place, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).map((name) => ({ place, name })),
  );
  expect(optional.length).toBeGreaterThan(20);
  expect(
    optional.filter(
      ({ place, name }) => !(`node_modules/${name}` in packages) && !(`${place}/node_modules/${name}` in packages),
    ),
  ).toEqual([]);
});

/** Of the tarballs and the installed packages; docs/contributing/packages.md says why the demo's weights are part of it. */
const LIMITS = { main: 9e6, platform: 2e6, installed: 200e6 };

const platform = `${process.platform}-${process.arch}`;

/** Bytes of all files below a folder. */
function weigh(folder: string): number {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}

suite('the packed packages', () => {
  let folder: string;
  let home: string;
  let tarballs: { main: string; platform: string };
  let environment: NodeJS.ProcessEnv;

  /** In `home`, with node, npm and a shell on the PATH and nothing else: no compiler, no CMake, no Python. */
  const bare = (program: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(program, args, { cwd: home, env: environment, encoding: 'utf8', maxBuffer: 1e8 });
  const diffmine = (...args: string[]): ReturnType<typeof bare> => bare(installed('.bin/diffmine'), ...args);
  const installed = (...names: string[]): string => join(home, 'node_modules', ...names);
  const files = (tarball: string): string[] =>
    execFileSync('tar', ['tzf', tarball], { encoding: 'utf8' })
      .trim()
      .split('\n')
      .map((name) => name.replace(/^package\//, ''));
  const scan = (out: string): ReturnType<typeof bare> => {
    const model = join(root, 'test/data/golden/tiny-sd15');
    const small = ['--size', '64', '--patch', '16', '--samples', '2', '--device', 'cpu', '--json'];
    return diffmine('scan', join(root, 'test/data/golden/mini-dataset'), '--model', model, '--out', out, ...small);
  };

  /** What `npm install` of the packages makes, without fetching and unpacking what the clone has: their files, and beside them what the lock says they depend on. */
  const place = (): void => {
    const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { dev?: boolean }>;
    };
    const places = Object.keys(packages).filter(
      (name) => name !== '' && !packages[name]?.dev && existsSync(join(root, name)),
    );
    // a package within another comes with it
    const outer = places.filter((name) => !name.slice('node_modules/'.length).includes('/node_modules/'));
    for (const name of outer) cpSync(join(root, name), join(home, name), { recursive: true, verbatimSymlinks: true });
    for (const [name, tarball] of [
      ['diffmine', tarballs.main],
      [`@diffmine/${platform}`, tarballs.platform],
    ] as const) {
      mkdirSync(installed(name), { recursive: true });
      execFileSync('tar', ['xzf', tarball, '--strip-components=1', '-C', installed(name)]);
    }
    mkdirSync(installed('.bin'));
    symlinkSync('../diffmine/bin/diffmine.js', installed('.bin/diffmine'));
    writeFileSync(join(home, 'package.json'), '{ "private": true }');
  };

  beforeAll(() => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'diffmine-package-')));
    home = join(folder, 'home');
    mkdirSync(home);
    const pack = (...args: string[]): string => {
      const line = [join(root, 'scripts/pack.mjs'), ...args, '--out', folder];
      const { status, stderr } = spawnSync(process.execPath, line, { encoding: 'utf8' });
      expect([status, status === 0 ? '' : stderr]).toEqual([0, '']);
      return stderr.trim().split('\n').at(-1) as string;
    };
    tarballs = { platform: pack('platform', '--as-built'), main: pack('main') };

    const bin = join(folder, 'bin');
    mkdirSync(bin);
    for (const name of ['node', 'npm', 'npx', 'sh', 'env']) {
      const file = name === 'node' ? process.execPath : which(name);
      symlinkSync(file as string, join(bin, name));
    }
    // LibTorch is in the cache, as after an earlier set-up.
    const cache = join(folder, 'cache');
    mkdirSync(cache);
    const libtorch = builtAddon()?.libtorch as { folder: string; version: string };
    symlinkSync(libtorch.folder, join(cache, `libtorch-${libtorch.version}-cpu`));
    environment = { ...process.env, PATH: bin, DIFFMINE_CACHE: cache };
    for (const name of ['LIBTORCH', 'CXX', 'DIFFMINE_ADDON']) delete environment[name];

    if (!isNightly) {
      place();
      return;
    }
    // With the headers that the clone's addon was compiled with.
    const headers = readFileSync(join(root, 'node_modules/node-addon-api/package.json'), 'utf8');
    const overrides = { 'node-addon-api': (JSON.parse(headers) as { version: string }).version };
    writeFileSync(join(home, 'package.json'), JSON.stringify({ private: true, overrides }));
    const install = ['install', '--no-audit', '--no-fund', '--prefer-offline', tarballs.main, tarballs.platform];
    const { status, stderr } = bare('npm', ...install);
    expect([status, status === 0 ? '' : stderr]).toEqual([0, '']);
  }, 600_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('have exactly the files that set-up and commands need', () => {
    const packed = files(tarballs.main);
    for (const needed of [
      'bin/diffmine.js',
      'dist/index.js',
      'dist/index.d.ts',
      'dist/cli/main.js',
      'CMakeLists.txt',
      'cmake/libtorch.cmake',
      'cmake/node.cmake',
      'binding/addon.cpp',
      'cpp/models/unet.cpp',
      'scripts/setup.mjs',
      'demo/model/model_index.json',
      'demo/model/unet/diffusion_pytorch_model.safetensors',
      'LICENSE',
      'THIRD-PARTY.md',
      'README.md',
    ])
      expect(packed).toContain(needed);
    expect(
      packed.filter((path) =>
        /^(src|test|build|node_modules|\.)|^demo\/(?!model\/)|metrics[^/]*\.jsonl$|^cpp\/tests|scripts\/(test|demo|train-demo|pack\.|release)|\.tsbuildinfo|\/\.fingerprint/.test(
          path,
        ),
      ),
    ).toEqual([]);
    expect(files(tarballs.platform).sort()).toEqual(
      ['LICENSE', 'README.md', 'diffmine.node', 'package.json', 'preload.node'].sort(),
    );
  });

  it('stay small', () => {
    const { main, platform: native, installed: all } = LIMITS;
    expect(statSync(tarballs.main).size).toBeLessThan(main);
    expect(statSync(tarballs.platform).size).toBeLessThan(native);
    expect(weigh(join(home, 'node_modules'))).toBeLessThan(all);
  });

  it('name each other: the published package asks for prebuilt addons of its own version, the clone for none', () => {
    const manifest = (file: string): Record<string, Record<string, string>> =>
      JSON.parse(readFileSync(file, 'utf8')) as Record<string, Record<string, string>>;
    const native = (optional: Record<string, string>): string[][] =>
      Object.entries(optional).filter(([name]) => name.startsWith('@diffmine/'));
    const { version, optionalDependencies } = manifest(join(root, 'package.json'));
    expect(native(optionalDependencies as Record<string, string>)).toEqual([]);
    const published = manifest(installed('diffmine/package.json'));
    expect(native(published['optionalDependencies'] as Record<string, string>)).toEqual(
      ['linux-x64', 'linux-arm64', 'darwin-arm64'].map((name) => [`@diffmine/${name}`, version]),
    );
    expect(manifest(installed('@diffmine', platform, 'package.json'))).toMatchObject({
      version,
      os: [process.platform],
      cpu: [process.arch],
      diffmine: { libtorch: builtAddon()?.libtorch.version, cuda: false },
    });
  });

  it('run no script when they are installed, and compile nothing', () => {
    const { scripts } = JSON.parse(readFileSync(installed('diffmine/package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    expect(Object.keys(scripts).filter((name) => /install|^prepare$/.test(name))).toEqual([]);
    expect(existsSync(installed('diffmine/build'))).toBe(false);
  });

  (process.platform === 'linux' ? it : it.skip)(
    'hold an addon for older systems, that knows nothing of its builder',
    () => {
      const addon = installed('@diffmine', platform, 'diffmine.node');
      const dynamic = execFileSync('readelf', ['-d', addon], { encoding: 'utf8' });
      expect(dynamic).not.toMatch(/RUNPATH|RPATH/);
      // The OpenMP of LibTorch has another file name in another build of LibTorch.
      expect(dynamic).not.toMatch(/NEEDED.*gomp/);
      expect(readFileSync(addon).includes(realpathSync(root))).toBe(false);
      const ordinal = (version: string): number =>
        version.split('.').reduce((sum, part) => sum * 1000 + Number(part), 0);
      const symbols = execFileSync('objdump', ['-T', addon], { encoding: 'utf8' });
      const needed = [...symbols.matchAll(/\b(GLIBC|GLIBCXX|CXXABI)_(\d+(?:\.\d+)*)/g)];
      expect(needed.length).toBeGreaterThan(50);
      const padded = (version: string): number => ordinal(`${version}.0.0`.split('.').slice(0, 3).join('.'));
      const beyond = needed.filter(
        ([, library, version]) => padded(version as string) > padded(baseline[library as keyof typeof baseline]),
      );
      expect(beyond.map(([symbol]) => symbol)).toEqual([]);
    },
  );

  it('are ready without a compiler: doctor says what to do, a scan sets up by itself', () => {
    const before = bare('npx', '--no-install', 'diffmine', 'doctor');
    expect(before.status).toBe(4);
    const [works, missing, fix] = before.stdout.split('\n');
    expect(works).toMatch(/^works: +commands that only read and write files/);
    expect(missing).toMatch(/^missing: +commands that compute/);
    expect(fix).toMatch(/^fix: +npx diffmine setup$/);

    const out = join(folder, 'run');
    const first = scan(out);
    expect([first.status, first.status === 0 ? '' : first.stderr]).toEqual([0, '']);
    expect(first.stderr).not.toMatch(/compiling/);
    expect(readdirSync(join(out, 'shards'))).toEqual(['00000']);

    const after = diffmine('doctor', '--json');
    expect(after.status).toBe(0);
    expect(JSON.parse(after.stdout)).toMatchObject({
      summary: { works: expect.stringContaining('cpu'), missing: 'nothing' },
      addon: { file: installed('@diffmine', platform, 'diffmine.node'), prebuilt: `@diffmine/${platform}` },
      libtorch: { source: 'cache' },
    });
    const again = diffmine('setup', '--json');
    expect(JSON.parse(again.stdout)).toMatchObject({ built: false, prebuilt: `@diffmine/${platform}` });
    expect(again.stderr).toBe('');
  }, 300_000);

  it('name the package that is missing, and what else would do', () => {
    const scope = installed('@diffmine');
    const aside = join(folder, 'aside');
    execFileSync('mv', [scope, aside]);
    try {
      const failed = diffmine('setup');
      expect(failed.status).toBe(4);
      expect(failed.stderr).toMatch(
        new RegExp(`No prebuilt addon can be used: @diffmine/${platform} is not installed`),
      );
      expect(failed.stderr).toMatch(/The build needs cmake, a C\+\+20 compiler, ninja/);
      expect(failed.stderr).toMatch(new RegExp(`^hint: Either: npm install @diffmine/${platform}@\\d.*, then`, 'm'));
      expect(diffmine('doctor').stdout.split('\n')[2]).toMatch(
        new RegExp(`^fix: +npm install @diffmine/${platform}@\\S+ && npx diffmine setup$`),
      );
    } finally {
      execFileSync('mv', [aside, scope]);
    }
  });

  nightlyTest('are not trusted blindly: an addon that crashes, or of another LibTorch, ends in a reason', () => {
    const addon = installed('@diffmine', platform, 'diffmine.node');
    const good = readFileSync(addon);
    // taken before, by the tests above: set-up tries it again
    expect(existsSync(installed('diffmine/build/prebuilt.json'))).toBe(true);
    try {
      const source = join(folder, 'abort.cpp');
      writeFileSync(source, '#include <cstdlib>\n__attribute__((constructor)) static void crash() { std::abort(); }\n');
      rmSync(addon);
      writeFileSync(addon, 'damaged');
      const reinstall = new RegExp(
        `rm -r ${join(addon, '..')} && npm install @diffmine/${platform}@\\S+ && npx diffmine setup`,
      );
      expect(diffmine('doctor').stdout.split('\n')[2]).toMatch(reinstall);
      const { status, stdout } = scan(join(folder, 'run-damaged'));
      expect(status).toBe(4);
      expect(stdout).toMatch(/cannot be loaded: it was built for another system or is damaged/);
      expect(stdout).toMatch(reinstall);
      rmSync(addon);
      execFileSync(process.env['CXX'] ?? 'g++', ['-shared', '-fPIC', '-o', addon, source]);
      expect(diffmine('setup').stderr).toMatch(
        /No prebuilt addon can be used: .*cannot be loaded: the process ended by SIGABRT/,
      );
      expect(diffmine('setup').stderr).toMatch(/If its files are damaged: rm -r .* && npm install @diffmine\/linux/);
      environment['LIBTORCH'] = join(folder, 'nowhere');
      expect(diffmine('setup').stderr).toMatch(
        /No prebuilt addon can be used: LIBTORCH is set, but .*nowhere has no lib/,
      );
    } finally {
      delete environment['LIBTORCH'];
      writeFileSync(addon, good);
    }
    expect(diffmine('setup').status).toBe(0);
  });

  it('are set up from source by `npx diffmine setup --build`, and a second time at once', () => {
    // With compilers again. By default, set-up finds the clone's addon, which it takes only if the packed sources are the same.
    environment['PATH'] = `${environment['PATH'] as string}:${process.env['PATH'] as string}`;
    rmSync(installed('diffmine/build'), { recursive: true, force: true });
    if (!isNightly) symlinkSync(join(root, 'build'), installed('diffmine/build'));
    const first = diffmine('setup', '--build', '--json');
    expect([first.status, first.status === 0 ? '' : first.stderr]).toEqual([0, '']);
    const summary = JSON.parse(first.stdout) as { addon: string; built: boolean; libtorch: { folder: string } };
    expect(summary.built).toBe(isNightly);
    expect(summary.addon).toContain(installed('diffmine/build/Release'));
    if (process.platform === 'linux') {
      const dynamic = execFileSync('readelf', ['-d', summary.addon], { encoding: 'utf8' });
      expect(/RUNPATH.*\[(.*)\]/.exec(dynamic)?.[1]).toMatch(/^\$ORIGIN\/\.\.\/[^:]*\/lib$/);
    }
    const second = diffmine('setup', '--json');
    expect(JSON.parse(second.stdout)).toMatchObject({ built: false, prebuilt: null, libtorch: summary.libtorch });
    expect(second.stderr).not.toMatch(/compiling|fetching|installing/);
    expect(scan(join(folder, 'run-from-source')).status).toBe(0);
    if (!isNightly) return; // the addon is the clone's
    writeFileSync(summary.addon, 'damaged');
    const fixed = diffmine('setup', '--json');
    expect(fixed.stderr).toMatch(/cannot be loaded: .*damaged.* Compiling it again\./);
    expect(JSON.parse(fixed.stdout)).toMatchObject({ built: true, addon: summary.addon });
    expect(scan(join(folder, 'run-after-damage')).status).toBe(0);
  }, 900_000);
});
