// The programmatic API: the same nouns as the command line (docs/guides/typescript.md).
export { DiffmineError, EXIT_CODES, asDiffmineError, type ErrorCode } from './errors';

// what a machine needs
export { doctor, type DoctorReport, type DoctorRow } from './setup/doctor';
export { setup, type SetupSummary } from './setup/setup';

// what goes in
export { PRESETS, fillPrompt, measurePicture, openDataset, readPicture, splitLabels, spokenLabels } from './dataset/index';
export type { Dataset, DatasetImage, DatasetOptions, LayoutName, Preset, PresetName, ReadPicture, ScoredSize, SizeOptions, SizeRule } from './dataset/index';
export { BOX_FORMATS, maskOf, readBoxes, readMarks } from './dataset/boxes/index';
export type { Box, BoxFile, BoxFormat, BoxFrame, MarkCounts, Marked, PictureTable, ScoredPicture, TruthBox } from './dataset/boxes/index';
export { Tokenizer, openModel, prepareConditions, type ModelFolder, type ModelSummary } from './model/index';
export { inspect, type Inspection, type DatasetInspection, type ModelInspection, type RunInspection } from './inspect/inspect';

// the stages
export { estimate, type Estimate, type EstimateOptions } from './estimate/estimate';
export { scan } from './scan/scan';
export type { Hooks, ScanEvent, ScanOptions, ScanSummary } from './scan/options';
export { mine } from './mine/mine';
export type { MineEvent, MineOptions, MineSummary, MinedCondition } from './mine/options';
export { writeReport, type ReportHooks, type ReportOptions, type ReportSummary } from './report/report';
export { cotypicality } from './cotypicality/cotypicality';
export type { Agreement, CotypicalityEvent, CotypicalityOptions, CotypicalitySummary, GroupedCluster, Projection, TruthRecord } from './cotypicality/options';
export { evaluate } from './evaluate/evaluate';
export type {
  Control, EvaluateHooks, EvaluateOptions, EvaluateSummary, Figure, KindEvaluation, LabelEvaluation, MapSheet, Metrics, PixelMetrics, PrecisionAt, RegionTypicality,
} from './evaluate/options';
export { readEvaluation, type EvaluationRecord } from './evaluate/record';
export { averagePrecision } from './metrics/precision';
export { PAPER_THRESHOLDS, paperAucPr, paperCurve, type PaperCurve } from './metrics/paper';
export { localize } from './localize/localize';
export type {
  LabelLocalization, Localization, LocalizeEvent, LocalizeHooks, LocalizeOptions, LocalizeSummary, MapFigures, MapResult, PictureLocalization,
} from './localize/options';
export { readLocalization, type LocalizationRecord } from './localize/record';
export { EXPORT_FORMATS, EXPORT_TABLES, exportTable, type ExportFormat, type ExportTable } from './export/export';
export { Run } from './run/run';
export type { Manifest, RunOptions } from './run/manifest';
export type { ClusterRow, ImageRow, ListName, MinedPatchRow, PatchRow } from './run/schema';
export { query, readTable } from './run/tables';
export { chooseDevice } from './run/device';
export { VERSION } from './run/version';

// a world with known truth, and whether it is found
export { demo, DEMO_MODEL } from './demo/demo';
export type { DemoCity, DemoElement, DemoEvent, DemoFigures, DemoOptions, DemoStage, DemoSummary } from './demo/options';
export { writeParallelWorld, type ParallelWorldSettings } from './world/parallel';
export { drawPicture, worldRecord, writeWorld, type PlantedBox, type WorldHooks, type WorldSettings, type WorldSummary } from './world/world';

// pictures of a model
export { train } from './train/train';
export type { TrainEvent, TrainHooks, TrainOptions, TrainSettings, TrainSummary } from './train/options';
export type { TrainRecord } from './train/record';
export { SIZES, unetOfSize, type Shape, type Size, type SizeName } from './train/sizes';
export { writeTrainReport } from './train/report';
export { translate } from './translate/translate';
export type { Negative, PlaceQuality, Quality, TranslateEvent, TranslateOptions, TranslateSettings, TranslateSummary } from './translate/options';
export { openParallel, type Parallel, type Sequence } from './translate/parallel';
export { invertPictures, samplePlugAndPlay, translationTimesteps, type InjectedDenoise, type Injection, type Inverted, type PlugAndPlay, type PlugAndPlayHooks, type Source, type Target } from './translate/plug-and-play';
export { evaluateTranslation, type QualityOptions } from './translate/quality';
export { allSites, defaultSites, type Sites } from './translate/sites';
export { sample, type SampleEvent, type SampleSummary } from './sample/sample';
export { labelFolder, type SampleOptions, type SampleSettings, type SampledLabel, type SamplesRecord } from './sample/request';
export { invertDdim, sampleDdim, samplingTimesteps, type DdimHooks, type DdimRequest, type Denoise } from './sample/ddim';
export { toPictures, type PictureModel } from './sample/pictures';
export { writeSheet, type SheetOptions } from './sample/sheet';

// golden numbers
export { verify, type CaseResult, type OpSummary, type Verdict, type VerifyHooks, type VerifyOptions, type VerifySummary } from './verify/verify';

// speed, and whether it holds
export { bench, type BenchHooks, type BenchOptions } from './bench/bench';
export { compare, type Comparison, type CompareReport, type Verdict as SpeedVerdict } from './bench/compare';
export { benchMarkdown } from './bench/markdown';
export { operationCounts, operations, patchCount, type OperationCounts } from './bench/operations';
export { rankStudy, type RankFigures, type RankStudy } from './bench/ranking';
export { readBaseline, type BenchReport, type Cell, type Measured, type ScanBench, type StageBench } from './bench/report';

// the engine: the native core, noun by noun
export * from './native/index';
export type * from './native/types';
