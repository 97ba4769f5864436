// The public API, with the names of the command line (docs/guides/typescript.md). Other entry points: diffmine/engine, diffmine/bench, diffmine/demo.
import './util/node.js';
export { DiffmineError, EXIT_CODES, asDiffmineError, type ErrorCode } from './util/errors.js';

// set-up
export { doctor, type DoctorReport, type DoctorRow, type RowStatus } from './tools/setup/doctor.js';
export { setup, type SetupSummary } from './tools/setup/setup.js';

// inputs
export { PRESETS, fillPrompt, measureImage, openDataset, readImage, splitLabels, spokenLabels } from './data/index.js';
export type {
  Dataset,
  DatasetImage,
  DatasetOptions,
  LayoutName,
  Preset,
  PresetName,
  ReadImage,
  ScoredSize,
  SizeOptions,
  SizeRule,
} from './data/index.js';
export { BOX_FRAMES } from './options/names.js';
export type { Confounds, NearDuplicate } from './data/confounds.js';
export type { Confound } from './data/properties.js';
export type { Ignored, IgnoreReason } from './data/ignored.js';
export type { ImageList } from './data/images.js';
export type { DatasetSource } from './data/options.js';
export type { Size as ImageSize } from './data/read-image.js';
export type { Drawn } from './data/boxes/outline.js';
export type { Naming } from './data/boxes/table.js';
export { BOX_FORMATS, maskOf, readBoxes, readMarks } from './data/boxes/index.js';
export type {
  Box,
  BoxFile,
  BoxFormat,
  BoxFrame,
  MarkCounts,
  Marked,
  ImageTable,
  ScoredImage,
  TruthBox,
} from './data/boxes/index.js';
export { Tokenizer, openModel, prepareConditions, type ModelFolder, type ModelSummary } from './models/index.js';
export type { AddedToken, TokenizerFiles } from './models/added-tokens.js';
export type { Architecture } from './models/denoiser.js';
export type { HubHooks } from './models/hub/hub.js';
export type { HubSource } from './models/locate.js';
export type { OpenOptions } from './models/options.js';
export type { T5Tokenizer } from './models/t5-tokenizer.js';
export type { Vocabulary } from './models/tokenizer.js';
export type { JsonObject } from './models/json.js';
export type { Learned, LearnedLabel, NullCondition, Verdict as LearnedVerdict } from './models/training.js';
export {
  inspect,
  type Inspection,
  type DatasetInspection,
  type DemoInspection,
  type HubInspection,
  type ModelInspection,
  type OutputInspection,
  type RunInspection,
} from './tools/inspect/inspect.js';
export type { ImageGrid } from './tools/inspect/grid.js';
export type { InspectOptions } from './tools/inspect/options.js';

// the stages
export { pullModel, type HubModelFiles, type PullOptions, type PullSummary } from './tools/pull/pull.js';
export { estimate, type Estimate, type EstimateOptions } from './tools/estimate/estimate.js';
export { estimateTraining, type EstimateTrainOptions, type TrainingEstimate } from './tools/estimate/train.js';
export { scan } from './stages/scan/scan.js';
export type { Hooks, Progress } from './util/hooks.js';
export type { PipelineEvent, SplitOptions } from './pipeline/options.js';
export type { AutoPart, Part, Range } from './options/fields.js';
export type { MapOptions, ScanEvent, ScanOptions, ScanSummary } from './stages/scan/options.js';
export {
  Scorer,
  type ImagePatch,
  type ImageScore,
  type ScoreOptions,
  type ScorerOptions,
} from './stages/scan/scorer.js';
export { mine } from './stages/mine/mine.js';
export type { MineEvent, MineOptions, MineSummary, MinedCondition } from './stages/mine/options.js';
export { writeReport, type ReportEvent, type ReportOptions, type ReportSummary } from './stages/report/report.js';
export { cotypicality } from './stages/cotypicality/cotypicality.js';
export {
  PROJECTIONS,
  type Agreement,
  type CotypicalityEvent,
  type CotypicalityOptions,
  type CotypicalitySummary,
  type GroupedCluster,
  type Projection,
  type TruthRecord,
} from './stages/cotypicality/options.js';
export { evaluate } from './stages/evaluate/evaluate.js';
export type {
  Control,
  EvaluateEvent,
  EvaluateOptions,
  EvaluateSummary,
  Figure,
  KindEvaluation,
  LabelEvaluation,
  MapGrid,
  Metrics,
  PixelMetrics,
  PrecisionAt,
  RegionTypicality,
} from './stages/evaluate/options.js';
export { readEvaluation, type EvaluationRecord } from './runs/evaluation.js';
export { averagePrecision, type ScoredPixels } from './metrics/precision.js';
export { PAPER_THRESHOLDS, paperAucPr, paperCurve, type PaperCurve } from './metrics/paper.js';
export { localize } from './stages/localize/localize.js';
export type {
  LabelLocalization,
  Localization,
  LocalizeEvent,
  LocalizeOptions,
  LocalizeSummary,
  MapFigures,
  MapResult,
  ImageLocalization,
} from './stages/localize/options.js';
export { readLocalization, type LocalizationRecord } from './stages/localize/record.js';
export {
  EXPORT_FORMATS,
  EXPORT_TABLES,
  exportTable,
  type ExportFormat,
  type ExportOptions,
  type ExportTable,
} from './tools/export/export.js';
export { exportAnnotations, type AnnotationOptions, type AnnotationSummary } from './tools/export/annotations.js';
export { exportCrops, type CropsEvent, type CropsSummary } from './tools/export/crops.js';
export type { AnnotationTable, CropsOptions } from './tools/export/options.js';
export { compare } from './tools/compare/compare.js';
export type {
  CompareEvent,
  CompareOptions,
  CompareSummary,
  Correlation,
  LabelComparison,
  Mover,
  Overlap,
  Ranked,
} from './tools/compare/options.js';
export { Run, type PatchQuery, type ShardRecord, type Skipped } from './runs/run.js';
export type { ListRecord } from './runs/list.js';
export type { Manifest, ManifestDataset, ManifestModel, RaceOptions, RunOptions } from './runs/manifest.js';
export type { Dropped, MineSettings } from './runs/mining.js';
export type { Pilot } from './runs/pilot.js';
export type { ShardRate } from './runs/sharded-manifest.js';
export {
  LISTS,
  type ClusterRow,
  type ImageRow,
  type ListName,
  type MinedPatchRow,
  type PatchRow,
} from './runs/columns.js';
export { query, readTable, type Cell, type Row } from './runs/tables.js';
export type { ReportBytes } from './web/folder.js';
export { chooseDevice } from './runs/device.js';
export { VERSION } from './util/version.js';

// images of a model
export { train } from './stages/train/train.js';
export type { TrainEvent, TrainOptions, TrainSettings, TrainSummary, TrainTime } from './stages/train/options.js';
export type { TrainRecord } from './stages/train/record.js';
export { SIZES, unetOfSize, type Shape, type Size, type SizeName } from './stages/train/sizes.js';
export { writeTrainReport } from './stages/train/report.js';
export { translate } from './stages/translate/translate.js';
export type {
  Negative,
  PlaceQuality,
  Quality,
  TranslateEvent,
  TranslateOptions,
  TranslateSettings,
  TranslateSummary,
} from './stages/translate/options.js';
export { openParallel, type Parallel, type Sequence } from './runs/parallel.js';
export {
  invertImages,
  samplePlugAndPlay,
  type InjectedDenoise,
  type Injection,
  type Inverted,
  type PlugAndPlay,
  type PlugAndPlayHooks,
  type Source,
  type Target,
} from './stages/translate/plug-and-play.js';
export { translationTimesteps } from './stages/translate/timesteps.js';
export { evaluateTranslation, type QualityOptions } from './stages/translate/quality.js';
export { allSites, defaultSites, type Sites } from './stages/translate/sites.js';
export { sample, type SampleEvent, type SampleSummary } from './stages/sample/sample.js';
export type { SampleOptions } from './stages/sample/options.js';
export { labelFolder, type SampleSettings, type SampledLabel, type SamplesRecord } from './stages/sample/request.js';
export {
  invertDdim,
  sampleDdim,
  samplingTimesteps,
  type DdimHooks,
  type DdimRequest,
  type Denoise,
} from './models/ddim.js';
export { toImages, type ImageModel } from './models/images.js';
export { writeGrid, type GridOptions } from './models/grid.js';

// golden values
export {
  verify,
  type CaseResult,
  type OpSummary,
  type Verdict,
  type VerifyEvent,
  type VerifyOptions,
  type VerifySummary,
} from './tools/verify/verify.js';
