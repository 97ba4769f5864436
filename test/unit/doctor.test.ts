// doctor on this machine's set-up, and with addons that crash, are damaged or absent: each must end as a row.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DoctorReport, DoctorRow } from '../../src/tools/setup/doctor.js';
import { doctor } from '../../src/tools/setup/doctor.js';

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
