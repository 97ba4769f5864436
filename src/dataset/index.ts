// What goes in: datasets, their images, and the paper's presets.
export { datasetNotes, openDataset, restricted, type Dataset, type DatasetOptions, type DatasetSource } from './dataset';
export { ignoredSentence, outputFormat, type Ignored, type IgnoreReason } from './ignored';
export { ImageList, ImageListBuilder, type DatasetImage } from './images';
export { imageFile, nameOfText } from './names';
export { LAYOUT_NAMES, type LayoutName } from './layouts';
export { splitLabels, spokenLabels } from './labels';
export { compareCodePoints } from './order';
export { measurePicture, openPicture, readPicture, scoredSize, type ReadPicture, type ScoredSize, type Size, type SizeOptions, type SizeRule } from './pictures';
export { prefetch, type Fetched, type PrefetchOptions } from './prefetch';
export { fillPrompt, PRESETS, type Preset, type PresetName } from './presets';
