// diffmine/engine: the native core, noun by noun.
export * from './engine/index.js';
export type * from './engine/types.js';
