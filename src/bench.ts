// diffmine/bench: speed, and comparison with a baseline (docs/guides/benchmarking.md).
import './util/node.js';
export { bench, type BenchHooks, type BenchOptions } from './tools/bench/bench.js';
export { compare, type Comparison, type CompareReport, type Verdict as SpeedVerdict } from './tools/bench/compare.js';
export { benchMarkdown } from './tools/bench/markdown.js';
export { operationCounts, operations, patchCount, type OperationCounts } from './models/operations.js';
export { rankStudy, type RankFigures, type RankStudy } from './tools/bench/ranking.js';
export {
  readBaseline,
  type BenchReport,
  type Cell,
  type Measured,
  type ScanBench,
  type StageBench,
} from './tools/bench/report.js';
