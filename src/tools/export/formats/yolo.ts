// YOLO as Ultralytics reads it: data.yaml, and labels/PATH.txt with "class x y w h" per box: its center and size as fractions of the image's sides. The
// format has no room for typicality: findings.csv has it, box by box.
import { parse } from 'node:path/posix';
import { stringify } from 'yaml';
import { toCsv } from '../csv.js';
import type { Row } from '../../../runs/tables.js';
import { byImage, type Format } from './format.js';

/** images/a/b.jpg has its boxes in labels/a/b.txt. */
const labelFile = (image: string): string => {
  const { dir, name } = parse(image);
  return `labels/${dir === '' ? '' : `${dir}/`}${name}.txt`;
};

const fraction = (value: number): string => String(Number(Math.max(0, Math.min(1, value)).toFixed(6)));

export const yolo: Format = {
  isFolder: true,
  masks: false,
  *files(found) {
    const { images, categories } = found;
    yield [
      'data.yaml',
      `# Copy or link the dataset's images to images/, with their folders: images/${images[0]?.path ?? 'NAME.jpg'}\n` +
        stringify({
          path: '.',
          train: 'images',
          val: 'images',
          names: Object.fromEntries(categories.map(({ name }, i) => [i, name])),
        }),
    ];
    const rows: Row[] = [];
    for (const [i, own] of byImage(found).entries()) {
      const { path, width, height } = images[i] as (typeof images)[number];
      const lines = own.map(({ category, box }) =>
        [
          String(category),
          fraction((box.x + box.width / 2) / width),
          fraction((box.y + box.height / 2) / height),
          fraction(box.width / width),
          fraction(box.height / height),
        ].join(' '),
      );
      yield [labelFile(path), `${lines.join('\n')}\n`];
      own.forEach(({ category, attributes }, line) => {
        const { typicality, standard_error = null, rank = null, list = null, cluster = null } = attributes;
        const name = categories[category]?.name ?? '';
        rows.push({
          file: labelFile(path),
          line: line + 1,
          category: name,
          typicality,
          standard_error,
          rank,
          list,
          cluster,
        });
      });
    }
    yield [
      'findings.csv',
      toCsv(rows, [
        ['file', 'STRING'],
        ['line', 'INT32'],
        ['category', 'STRING'],
        ['typicality', 'DOUBLE'],
        ['standard_error', 'DOUBLE'],
        ['rank', 'INT32'],
        ['list', 'STRING'],
        ['cluster', 'INT32'],
      ]),
    ];
  },
};
