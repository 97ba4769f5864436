// COCO's instances: boxes, and masks as compressed runs. https://cocodataset.org/#format-data
import { textOfRuns } from '../../../data/boxes/rle.js';
import { pixels, type Format } from './format.js';

export const coco: Format = {
  isFolder: false,
  masks: true,
  *files({ description, images, categories, findings }) {
    const file = {
      info: { description },
      licenses: [],
      images: images.map(({ path, width, height }, i) => ({ id: i + 1, file_name: path, width, height })),
      annotations: findings.map(({ image, category, box, attributes, mask }, i) => {
        const { width, height } = images[image] as { width: number; height: number };
        return {
          id: i + 1,
          image_id: image + 1,
          category_id: category + 1,
          bbox: [box.x, box.y, box.width, box.height].map(pixels),
          area: mask?.area ?? pixels(box.width * box.height),
          iscrowd: 0,
          ...(mask ? { segmentation: { size: [height, width], counts: textOfRuns(mask.runs) } } : {}),
          // what detectors call it: results of `loadRes` have it, and viewers sort by it
          score: attributes.typicality,
          ...attributes,
        };
      }),
      categories: categories.map(({ name, parent }, i) => ({ id: i + 1, name, supercategory: parent })),
    };
    yield ['annotations.json', `${JSON.stringify(file)}\n`];
  },
};
