// Annotations of images: boxes and masks.
export { boxMask, centerIn, iou, type Box } from './geometry.js';
export { BOX_FORMATS, maskOf, readBoxes, readMarks, tableOf, type BoxFormat, type ScoredImage } from './marks.js';
export {
  BOX_FRAMES,
  placeMarks,
  type BoxFrame,
  type MarkCounts,
  type MarkedImage,
  type Placed,
  type PlaceOptions,
} from './place.js';
export { inSource, isOfImage, labelOf, type BoxFile, type Marked, type TruthBox } from './rows.js';
export { ImageTable } from './table.js';
