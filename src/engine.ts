// diffmine/engine: the native core.
import './util/node.js';
export * from './engine/index.js';
export type * from './engine/types.js';
