// What a user of the package gets: packed, installed into an empty folder, set up with `npx diffmine setup`, and put to work.
// npm run test:all compiles the addon from the packed sources. Otherwise the clone's addon is used: set-up takes it only if the packed sources are
// the same. DIFFMINE_SKIP_PACKAGE=1 leaves this file out.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { isNightly } from '../helpers/nightly.js';

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

suite('the packed package', () => {
  let folder: string;
  let home: string;
  let packed: string[];

  const npx = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync('npx', ['--no-install', 'diffmine', ...args], { cwd: home, encoding: 'utf8', maxBuffer: 1e8 });

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'diffmine-package-'));
    home = join(folder, 'home');
    mkdirSync(home);
    const answer = execFileSync('npm', ['pack', '--json', '--pack-destination', folder], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [{ filename, files }] = JSON.parse(answer) as [{ filename: string; files: { path: string }[] }];
    packed = files.map((file) => file.path);
    // With the headers that the clone's addon was compiled with.
    const headers = readFileSync(join(root, 'node_modules/node-addon-api/package.json'), 'utf8');
    const overrides = { 'node-addon-api': (JSON.parse(headers) as { version: string }).version };
    writeFileSync(join(home, 'package.json'), JSON.stringify({ private: true, overrides }));
    execFileSync('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', join(folder, filename)], {
      cwd: home,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }, 600_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('has exactly the files that set-up and commands need', () => {
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
        /^(src|test|build|node_modules|\.)|^demo\/(?!model\/)|metrics\.jsonl$|^cpp\/tests|scripts\/(test|demo|train-demo)|\.tsbuildinfo|\/\.fingerprint/.test(
          path,
        ),
      ),
    ).toEqual([]);
  });

  it('runs no script when it is installed, and compiles nothing', () => {
    const { scripts } = JSON.parse(readFileSync(join(home, 'node_modules/diffmine/package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    expect(Object.keys(scripts).filter((name) => /install|^prepare$/.test(name))).toEqual([]);
    expect(existsSync(join(home, 'node_modules/diffmine/build'))).toBe(false);
  });

  it('is set up by `npx diffmine setup`, and a second time at once', () => {
    if (!isNightly) symlinkSync(join(root, 'build'), join(home, 'node_modules/diffmine/build'));
    const first = npx('setup', '--json');
    expect(first).toMatchObject({ status: 0 });
    const summary = JSON.parse(first.stdout) as { addon: string; built: boolean; libtorch: { folder: string } };
    expect(summary.built).toBe(isNightly);
    expect(summary.addon).toContain(join(home, 'node_modules/diffmine/build/Release'));
    if (process.platform === 'linux') {
      const dynamic = execFileSync('readelf', ['-d', summary.addon], { encoding: 'utf8' });
      expect(/RUNPATH.*\[(.*)\]/.exec(dynamic)?.[1]).toMatch(/^\$ORIGIN\/\.\.\/[^:]*\/lib$/);
    }
    const second = npx('setup', '--json');
    expect(JSON.parse(second.stdout)).toMatchObject({ built: false, libtorch: summary.libtorch });
    expect(second.stderr).not.toMatch(/compiling|fetching|installing/);
  }, 900_000);

  it('scans with a model', () => {
    const out = join(folder, 'run');
    const scan = npx(
      'scan',
      join(root, 'test/data/golden/mini-dataset'),
      '--model',
      join(root, 'test/data/golden/tiny-sd15'),
      '--out',
      out,
      '--size',
      '64',
      '--patch',
      '16',
      '--samples',
      '2',
      '--device',
      'cpu',
      '--json',
    );
    expect(scan).toMatchObject({ status: 0 });
    expect(JSON.parse(scan.stdout)).toBeInstanceOf(Object);
    expect(existsSync(join(out, 'manifest.json'))).toBe(true);
    expect(readdirSync(join(out, 'shards'))).toEqual(['00000']);
  }, 300_000);
});
