// FiftyOneImageDetectionDataset: labels.json by image, and data.json with where each image lies.
// https://docs.voxel51.com/user_guide/import_datasets.html#fiftyoneimagedetectiondataset
import { systemPath } from '../../../data/names.js';
import { byImage, type Format } from './format.js';

export const fiftyone: Format = {
  isFolder: true,
  masks: false,
  *files(found) {
    const { images, categories } = found;
    const own = byImage(found);
    const labels = images.map(({ path, width, height }, i) => [
      path,
      (own[i] ?? []).map(({ category, box, attributes }) => ({
        label: categories[category]?.name,
        // fractions of the image's sides
        bounding_box: [box.x / width, box.y / height, box.width / width, box.height / height],
        confidence: attributes.typicality,
        attributes,
      })),
    ]);
    yield [
      'labels.json',
      `${JSON.stringify({ classes: categories.map(({ name }) => name), labels: Object.fromEntries(labels) as object })}\n`,
    ];
    yield [
      'data.json',
      `${JSON.stringify(Object.fromEntries(images.map(({ path, file }) => [path, systemPath(file).toString()])))}\n`,
    ];
  },
};
