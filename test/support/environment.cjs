// Jest runs tests in a VM context with built-ins of its own, while the addon and Node's core make theirs in the outer
// one: `instanceof Float32Array` and `instanceof Error` would be false for what they return. The outer ones are put in.
const { mkdirSync, mkdtempSync, rmSync, symlinkSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { TestEnvironment } = require('jest-environment-node');

const shared = [
  'Error',
  'ArrayBuffer',
  'SharedArrayBuffer',
  'DataView',
  'Int8Array',
  'Uint8Array',
  'Uint8ClampedArray',
  'Int16Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'Float32Array',
  'Float64Array',
  'BigInt64Array',
  'BigUint64Array',
];

// Whether the addon loads (scripts/addon.mjs) is found out once per worker, not once per test file.
const probes = mkdtempSync(join(tmpdir(), 'diffmine-probes-'));
process.once('exit', () => rmSync(probes, { recursive: true, force: true }));

/** The process that runs the command lines of all test files of a worker (hosted.mjs): to start one for each file takes a second. */
let host;

module.exports = class extends TestEnvironment {
  constructor(config, context) {
    // What a command says may depend on what earlier ones left in the cache, such as measured rates: every test file begins with an empty one.
    // Set outside, before the context is made, so that processes that tests start have it too.
    const cache = mkdtempSync(join(tmpdir(), 'diffmine-cache-'));
    // No test asks the hub, or finds models that the user has.
    mkdirSync(probes, { recursive: true });
    symlinkSync(probes, join(cache, 'probes'));
    const variables = { DIFFMINE_CACHE: cache, HF_HOME: join(cache, 'huggingface'), HF_HUB_OFFLINE: '1' };
    const before = Object.keys(variables).map((name) => [name, process.env[name]]);
    Object.assign(process.env, variables);
    super(config, context);
    this.restore = () => {
      for (const [name, value] of before)
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      rmSync(cache, { recursive: true, force: true });
    };
    for (const name of shared) this.global[name] = globalThis[name];
  }

  async setup() {
    await super.setup();
    const { Host } = await import('./hosted.mjs');
    this.global.commandHost = host ??= new Host(join(__dirname, '..', '..'));
  }

  async teardown() {
    this.restore();
    if (host?.busy) host.close(); // a test has given up waiting
    await super.teardown();
  }
};
