// What nothing else would notice: a kernel that the emulator leaves out, or a test of kernels that it does not run.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../cli/cli.js';

const read = (...names: string[]): string => readFileSync(join(ROOT, 'cpp', ...names), 'utf8');
const headers = readdirSync(join(ROOT, 'cpp/kernels')).filter((name) => name.endsWith('.h'));

test('every CUDA kernel stands for its CPU implementation in the emulated tests', () => {
  const launchers = headers.flatMap((name) => read('kernels', name).match(/\blaunch_\w+/g) ?? []);
  expect(launchers.length).toBeGreaterThan(10);
  const emulated = read('tests/emulation/cpu_implementations.cpp');
  expect(launchers.filter((name) => !new RegExp(`\\b${name}\\(`).test(emulated))).toEqual([]);
});

test.each(['kernels_test.cpp', 'kernel_layers_test.cpp'])(
  'tests in %s have titles by which the filters of CMakeLists.txt find them',
  (file) => {
    const titles = [...read('tests', file).matchAll(/^TEST_CASE\(\s*"([^"]*)/gm)].map(([, title]) => title as string);
    expect(titles.length).toBeGreaterThan(5);
    expect(titles.filter((title) => !title.startsWith('kernel '))).toEqual([]);
  },
);
