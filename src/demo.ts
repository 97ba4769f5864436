// diffmine/demo: the synthetic dataset with ground truth, and the demo on it (docs/getting-started/demo.md).
import './util/node.js';
export { demo, DEMO_MODEL, type DemoHooks } from './tools/demo/demo.js';
export { DEMO_STAGES } from './tools/demo/options.js';
export type {
  DemoCity,
  DemoElement,
  DemoEvent,
  DemoFigures,
  DemoFull,
  DemoOptions,
  DemoStage,
  DemoSummary,
} from './tools/demo/options.js';
export { writeParallelWorld, type ParallelWorldSettings } from './tools/world/parallel.js';
export {
  drawImage,
  worldRecord,
  writeWorld,
  type PlantedBox,
  type WorldEvent,
  type WorldSettings,
  type WorldSummary,
} from './tools/world/world.js';
