// diffmine/engine: the native core.
export * from './engine/index.js';
export type * from './engine/types.js';
