// Datumaro's own JSON: annotations/default.json. https://openvinotoolkit.github.io/datumaro/latest/docs/data-formats/formats/datumaro.html
import { textOfRuns } from '../../../data/boxes/rle.js';
import type { Finding } from '../findings.js';
import { byImage, pixels, type Format } from './format.js';

export const datumaro: Format = {
  isFolder: true,
  masks: true,
  *files(found) {
    const { description, images, categories } = found;
    const own = byImage(found);
    const annotation = ({ image, category, box, attributes, mask }: Finding, id: number): object => {
      const { width, height } = images[image] as { width: number; height: number };
      return {
        id,
        type: mask ? 'mask' : 'bbox',
        attributes,
        group: 0,
        label_id: category,
        z_order: 0,
        ...(mask
          ? { rle: { counts: textOfRuns(mask.runs), size: [height, width] } }
          : { bbox: [box.x, box.y, box.width, box.height].map(pixels) }),
      };
    };
    const file = {
      dm_format_version: '1.0',
      media_type: 2, // images
      infos: { description },
      categories: {
        label: {
          labels: categories.map(({ name, parent }) => ({ name, parent, attributes: [] })),
          attributes: ['typicality', 'standard_error', 'rank', 'list', 'cluster'],
        },
      },
      items: images.map(({ path, width, height }, i) => ({
        id: path.replace(/\.[^./]+$/, ''),
        annotations: (own[i] ?? []).map(annotation),
        attr: {},
        image: { path, size: [height, width] },
      })),
    };
    yield ['annotations/default.json', `${JSON.stringify(file)}\n`];
  },
};
