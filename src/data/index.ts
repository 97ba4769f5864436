// Inputs: datasets, their images, and the paper's presets.
export { appearanceOf, areNearDuplicates, type Appearance } from './appearance.js';
export { datasetNotes, ofLabels, openDataset, restricted, type Dataset } from './dataset.js';
export { SOURCE_KEYS, sourceOf, type DatasetOptions, type DatasetSource } from './options.js';
export { ignoredSentence, outputFormat, type Ignored, type IgnoreReason } from './ignored.js';
export { ImageList, ImageListBuilder, type DatasetImage } from './images.js';
export { imageFile, nameOfText } from './names.js';
export { LAYOUT_NAMES, type LayoutName } from './layouts/index.js';
export { splitLabels, spokenLabels } from './labels.js';
export { compareCodePoints } from './order.js';
export {
  measureImage,
  openImage,
  readImage,
  scoredSize,
  type ReadImage,
  type ScoredSize,
  type Size,
  type SizeOptions,
  type SizeRule,
} from './read-image.js';
export { packListings } from './bytes/listings.js';
export { isPattern, rootOf } from './patterns.js';
export { prefetch, type Fetched, type PrefetchOptions } from './prefetch.js';
export { fillPrompt, layoutOf, PRESETS, type Preset, type PresetName } from './presets.js';
export { bucketRoot } from './bucket-dataset.js';
