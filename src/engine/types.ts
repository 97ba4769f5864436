// Types of the addon's interface (binding/): what is passed between JavaScript and the core, with the core's names.
// Other TypeScript code uses src/engine/index.ts, which wraps this in classes.

export type { Progress } from '../util/hooks.js';
export type * from './types/addon.js';
export type * from './types/device.js';
export type * from './types/models.js';
export type * from './types/scoring.js';
export type * from './types/training.js';
