// doctor on this machine's set-up, and with addons that crash, are damaged or absent: each must end as a row. Machines that cannot run diffmine.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { unsupported } from '../../scripts/addon.mjs';
import { wrongNode } from '../../scripts/node-version.mjs';
import type { DoctorReport, DoctorRow } from '../../src/tools/setup/doctor.js';
import { doctor } from '../../src/tools/setup/doctor.js';

const ROOT = resolve(__dirname, '../..');
const MINI = join(ROOT, 'test/data/golden/mini-dataset');
const TINY = join(ROOT, 'test/data/golden/tiny-sd15');
const { exports: EXPORTS } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  exports: Record<string, string | { default: string }>;
};

const row = (report: DoctorReport, name: string): DoctorRow | undefined => report.rows.find((one) => one.name === name);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-doctor-'));
});
afterEach(() => {
  delete process.env['DIFFMINE_ADDON'];
  rmSync(folder, { recursive: true, force: true });
});

describe('doctor', () => {
  it('describes the set-up in place', async () => {
    const report = await doctor();
    expect(report.rows.filter(({ status }) => status === 'fail')).toEqual([]);
    expect(report.ok).toBe(true);
    expect(report.libtorch).toMatchObject({ version: expect.stringMatching(/^2\.1[1-4]\./) as string });
    expect(report.addon?.libtorchCompiled).toBe(report.addon?.libtorchLoaded);
    expect(row(report, 'LibTorch')?.detail).toContain(report.libtorch?.folder);
    const cpu = report.devices.find((device) => device.id === 'cpu');
    expect(cpu).toMatchObject({ computeCapability: '' });
    expect(cpu?.threads).toBeGreaterThan(0);
    expect(cpu?.memoryTotal).toBeGreaterThan(1e8);
    expect(row(report, 'Device cpu')?.detail).toMatch(/GB free, fp32(, \w+)*, \d+ threads?/);
    expect(row(report, 'Node')).toEqual({ name: 'Node', status: 'ok', detail: process.version });
    expect(report.summary).toMatchObject({ works: expect.stringContaining('cpu (') as string });
    for (const name of ['Platform', 'CPU', 'Threads', 'Memory', 'Cache', 'cmake', 'C++ compiler', 'ninja', 'nvcc'])
      expect(row(report, name)).toBeDefined();
  });

  it('survives an addon that aborts while it is loaded', async () => {
    const source = join(folder, 'abort.cpp');
    writeFileSync(source, '#include <cstdlib>\n__attribute__((constructor)) static void crash() { std::abort(); }\n');
    process.env['DIFFMINE_ADDON'] = join(folder, 'abort.node');
    execFileSync(process.env['CXX'] ?? 'g++', ['-shared', '-fPIC', '-o', process.env['DIFFMINE_ADDON'], source]);
    const report = await doctor();
    expect(report.ok).toBe(false);
    expect(row(report, 'Addon')).toMatchObject({
      status: 'fail',
      detail: expect.stringContaining('SIGABRT') as string,
      hint: 'Run: npm run setup',
    });
    expect(report.devices).toEqual([]);
    expect(report.summary).toEqual({
      works: expect.stringContaining('inspect') as string,
      missing: expect.stringMatching(/^commands that compute .*SIGABRT/) as string,
      fix: 'npm run setup',
    });
  });

  it('names the packages that compiling needs, where set-up will compile', async () => {
    const { PATH, CXX } = process.env;
    for (const name of ['apt-get', 'ninja']) writeFileSync(join(folder, name), '#!/bin/sh\n', { mode: 0o755 });
    process.env['PATH'] = folder;
    delete process.env['CXX'];
    process.env['DIFFMINE_ADDON'] = join(folder, 'absent.node');
    try {
      expect((await doctor()).summary.fix).toBe('sudo apt-get install cmake g++ && npm run setup');
    } finally {
      process.env['PATH'] = PATH;
      if (CXX !== undefined) process.env['CXX'] = CXX;
    }
  });

  it('names a damaged addon and an absent one', async () => {
    process.env['DIFFMINE_ADDON'] = join(folder, 'damaged.node');
    writeFileSync(process.env['DIFFMINE_ADDON'], 'not a library');
    expect(row(await doctor(), 'Addon')).toMatchObject({
      status: 'fail',
      detail: expect.stringMatching(/damaged\.node cannot be loaded: .*(too short|invalid ELF)/) as string,
    });
    process.env['DIFFMINE_ADDON'] = join(folder, 'absent.node');
    const absent = await doctor();
    expect(row(absent, 'Addon')).toMatchObject({
      status: 'fail',
      detail: expect.stringMatching(/absent\.node \(DIFFMINE_ADDON\) is not there/) as string,
    });
    expect(absent.ok).toBe(false);
  });
});

/** A shell in which /proc/cpuinfo is `file`: in a mount namespace of its own, where the system lets one be made. */
const underCpu = (file: string, ...line: string[]): ReturnType<typeof spawnSync> =>
  spawnSync('unshare', ['-rm', 'sh', '-c', 'mount --bind "$0" /proc/cpuinfo && exec "$@"', file, ...line], {
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...process.env, DIFFMINE_CACHE: folder },
  });
const namespaces = spawnSync('unshare', ['-rm', 'mount', '--bind', '/dev/null', '/proc/cpuinfo']).status === 0;
if (!namespaces) console.warn('The test of an old CPU is skipped: it needs mount namespaces.');

describe('a machine that no set-up changes', () => {
  it.each([
    [{ platform: 'linux-x64', glibc: '2.36', flags: ['sse4_2', 'ssse3', 'popcnt'] }, undefined],
    [{ platform: 'linux-x64', glibc: '2.36', flags: ['ssse3', 'popcnt'] }, 'SSE4.2'],
    [{ platform: 'linux-arm64', glibc: '', flags: undefined }, 'glibc'],
    [{ platform: 'darwin-arm64', glibc: undefined, flags: undefined }, undefined],
    [{ platform: 'win32-x64', glibc: undefined, flags: undefined }, 'win32-x64'],
  ])('%j', (machine, reason) => {
    const found = unsupported(machine);
    if (reason === undefined) expect(found).toBeUndefined();
    else expect(found?.reason).toContain(reason);
  });

  (namespaces ? it : it.skip)(
    'is told by doctor, set-up and the commands that compute, and none of them asks for a set-up',
    () => {
      const old = join(folder, 'cpuinfo');
      writeFileSync(old, readFileSync('/proc/cpuinfo', 'utf8').replaceAll(/ (sse4_2|avx\w*)\b/g, ''));
      const doctor = underCpu(old, 'node', 'bin/diffmine.js', 'doctor');
      expect(doctor.status).toBe(4);
      expect(String(doctor.stdout).split('\n')[2]).toBe('fix:      Use a CPU made after 2012.');
      for (const line of [
        ['scripts/setup.mjs'],
        ['bin/diffmine.js', 'scan', MINI, '--model', TINY, '--out', join(folder, 'run'), '--samples', '2'],
      ]) {
        const { status, stderr } = underCpu(old, 'node', ...line);
        expect([line[0], status]).toEqual([line[0], 4]);
        expect(stderr).toMatch(/^error: .*this CPU lacks SSE4\.2.*\nhint: Use a CPU made after 2012\.$/m);
      }
    },
  );
});

describe('a Node that is too old', () => {
  it.each([
    ['20.19.0', false],
    ['22.1.0', false],
    ['20.18.3', true],
    ['18.20.8', true],
  ])('%s: %s', (version, tooOld) => {
    expect(wrongNode(version) !== undefined).toBe(tooOld);
  });

  it('is named by the command, by set-up and by every entry point', () => {
    const fake = 'Object.defineProperty(process, "versions", { value: { ...process.versions, node: "18.20.8" } });';
    const run = (...line: string[]): ReturnType<typeof spawnSync> =>
      spawnSync('node', ['--import', `data:text/javascript,${encodeURIComponent(fake)}`, ...line], {
        cwd: ROOT,
        encoding: 'utf8',
      });
    const sentence = /diffmine needs Node 20\.19 or later; this is Node 18\.20\.8/;
    for (const line of [
      ['bin/diffmine.js'],
      ['bin/diffmine.js', 'doctor'],
      ['scripts/setup.mjs'],
      ['scripts/demo.mjs'],
    ]) {
      const { status, stderr } = run(...line);
      expect([line, status === 0]).toEqual([line, false]);
      expect(stderr).toMatch(sentence);
      expect(stderr).toMatch(/^hint: Install a newer Node/m);
    }
    for (const name of Object.values(EXPORTS).flatMap((one) => (typeof one === 'string' ? [] : one.default))) {
      const { stderr } = run('--input-type=module', '-e', `await import(${JSON.stringify(join(ROOT, name))})`);
      expect([name, sentence.test(String(stderr))]).toEqual([name, true]);
    }
  });
});
