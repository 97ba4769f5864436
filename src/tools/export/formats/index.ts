// The formats of annotation tools, by name.
import type { AnnotationFormat } from '../options.js';
import { coco } from './coco.js';
import { cvat } from './cvat.js';
import { datumaro } from './datumaro.js';
import { fiftyone } from './fiftyone.js';
import type { Format } from './format.js';
import { yolo } from './yolo.js';

export const FORMATS: Record<AnnotationFormat, Format> = { coco, cvat, datumaro, fiftyone, yolo };
