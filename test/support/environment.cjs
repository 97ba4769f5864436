// Jest runs tests in a VM context with built-ins of its own, while the addon and Node's core make theirs in the outer
// one: `instanceof Float32Array` and `instanceof Error` would be false for what they return. The outer ones are put in.
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

module.exports = class extends TestEnvironment {
  constructor(config, context) {
    super(config, context);
    for (const name of shared) this.global[name] = globalThis[name];
  }
};
