// Jest with swc: TypeScript and the few ESM-only packages become CommonJS, so that no experimental Node flag is needed.
// The type checker runs apart from it (npm test, stage "lint").
import os from 'node:os';

// One compute thread for each worker: two workers with two threads each would wait for one another on two cores.
// Set here because the workers inherit it, and libgomp reads it when the addon is loaded.
process.env.OMP_NUM_THREADS ??= '1';
process.env.GOMP_SPINCOUNT ??= '1000';

// One more than cores, because tests also wait: for processes, signals, browsers. A worker takes about 1.5 GB.
const workers = Math.max(1, Math.min(os.availableParallelism() + 1, Math.floor(os.totalmem() / 2e9)));

const esmOnly = ['hyparquet', 'hysnappy', 'hyparquet-writer', 'hyparquet-compressors'];

export default {
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  testEnvironment: '<rootDir>/test/support/environment.cjs',
  transform: {
    '\\.(ts|mjs|js)$': [
      '@swc/jest',
      {
        jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
        module: { type: 'commonjs' },
        sourceMaps: 'inline',
      },
    ],
  },
  transformIgnorePatterns: [`/node_modules/(?!(${esmOnly.join('|')})/)`],
  modulePathIgnorePatterns: ['<rootDir>/dist', '<rootDir>/build', '<rootDir>/demo-run'],
  moduleFileExtensions: ['ts', 'js', 'mjs', 'cjs', 'json', 'node'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  // Jest looks globals up by a slow path in its sandbox. These are passed into each module instead: loops over pixels are 10 times as fast.
  sandboxInjectedGlobals: ['Math', 'Number'],
  maxWorkers: workers,
  workerGracefulExitTimeout: 10_000, // a process with LibTorch in it takes more than the usual half second to end
  testTimeout: 300_000, // for hangs alone: a loaded machine may be ten times slower,
};
