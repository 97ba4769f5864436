// diffmine/bench: speed, and comparison with a baseline (docs/guides/benchmarking.md).
import './util/node.js';
export { bench, type BenchHooks, type BenchOptions } from './tools/bench/bench.js';
export { compare, type Comparison, type CompareReport, type Verdict as SpeedVerdict } from './tools/bench/compare.js';
export { benchMarkdown } from './tools/bench/markdown.js';
export { operationCounts, operations, patchCount, type OperationCounts } from './models/operations.js';
export { rankStudy, type RankFigures, type RankStudy } from './tools/bench/ranking.js';
export type { DiffusersInfo } from './tools/bench/diffusers.js';
export type { Spread } from './tools/bench/figures.js';
export type { BenchOptimization } from './tools/bench/optimizations.js';
export type { ReferenceBench } from './tools/bench/reference.js';
export type { TrainingBench, TrainingTask } from './tools/bench/training.js';
export {
  readBaseline,
  type Ablation,
  type BenchReport,
  type Cell,
  type DiffusersBench,
  type Measured,
  type ScanBench,
  type StageBench,
  type Start,
  type Unit,
} from './tools/bench/report.js';
