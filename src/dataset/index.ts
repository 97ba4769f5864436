// What goes in: data sets, their pictures, and the paper's presets.
export { openDataset, restricted, type Dataset, type DatasetOptions } from './dataset';
export { ImageList, ImageListBuilder, type DatasetImage } from './images';
export { LAYOUT_NAMES, type LayoutName } from './layouts';
export { splitLabels, spokenLabels } from './labels';
export { compareCodePoints } from './order';
export { measurePicture, readPicture, scoredSize, type ReadPicture, type ScoredSize, type Size, type SizeOptions, type SizeRule } from './pictures';
export { prefetch, type Fetched, type PrefetchOptions } from './prefetch';
export { fillPrompt, PRESETS, type Preset, type PresetName } from './presets';
