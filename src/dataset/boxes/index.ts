// What is known to be in pictures: boxes and masks.
export { boxMask, centreIn, iou, type Box } from './geometry';
export { BOX_FORMATS, maskOf, readBoxes, readMarks, type BoxFormat, type Marked, type ScoredPicture } from './marks';
export { inSource, type BoxFile, type TruthBox } from './rows';
export { PictureTable } from './table';
