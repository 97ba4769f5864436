// The native core for TypeScript. The addon is loaded at the first call, which takes a quarter of a second and 150 MB.
export { Conditions, Engine } from './engine.js';
export * from './functions.js';
export { Trainer } from './trainer.js';
export * from './tensor.js';
export type * from './types.js';
export { foreignEnvironment, loadAddon } from './load.js';
export { addonCandidates, addonPath } from './locate.js';
