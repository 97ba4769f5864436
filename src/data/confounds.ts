// What may tell labels apart without any element: brightness, contrast, blur, size, shape and file format of whole images; and images that stand under two labels.
import { auroc } from '../metrics/auroc.js';
import { chunks } from '../util/group.js';
import { evenly } from '../util/evenly.js';
import { appearanceOf, areNearDuplicates, type Appearance } from './appearance.js';
import type { DatasetImage, ImageList } from './images.js';
import { PROPERTIES, type Confound, type Property } from './properties.js';

/** Images measured at once, and in all. */
const TOGETHER = 8;
const MOST = 2000;
const BOOTSTRAP = 1000;

export interface NearDuplicate {
  image: string;
  label: string;
  other: string;
  otherLabel: string;
}

export interface Confounds {
  /** that were measured */
  images: number;
  confounds: Confound[];
  /** across labels */
  duplicates: NearDuplicate[];
}

/** @param perLabel images of each label, spread evenly, fewer where that is more than 2,000 in all; images that cannot be read are left out */
export async function confoundsOf(images: ImageList, perLabel: number): Promise<Confounds> {
  const byLabel = new Map<string, number[]>();
  for (let index = 0; index < images.length; index++) {
    const own = byLabel.get(images.label(index));
    if (own) own.push(index);
    else byLabel.set(images.label(index), [index]);
  }
  const each = Math.min(perLabel, Math.max(2, Math.floor(MOST / Math.max(1, byLabel.size))));
  const chosen = [...byLabel.values()].flatMap((own) => evenly(own, each)).map((index) => images.at(index));
  const seen: { image: DatasetImage; look: Appearance }[] = [];
  for (const part of chunks(chosen, TOGETHER)) {
    const looks = await Promise.all(part.map(async ({ file }) => appearanceOf(file).catch(() => undefined)));
    looks.forEach((look, i) => look && seen.push({ image: part[i] as DatasetImage, look }));
  }
  const confounds = [...byLabel.keys()].flatMap((label) => {
    const [own, others] = [true, false].map((isOwn) =>
      seen.filter(({ image }) => (image.label === label) === isOwn).map(({ look }) => look),
    ) as [Appearance[], Appearance[]];
    if (own.length === 0 || others.length === 0) return [];
    return PROPERTIES.map((property): Confound => {
      const value = valueOf(property, own, others);
      return { label, property, auroc: auroc(own.map(value), others.map(value), { bootstrap: BOOTSTRAP, seed: 0 }) };
    });
  });
  const duplicates = seen.flatMap(({ image, look }, i) =>
    seen
      .slice(i + 1)
      .filter((other) => other.image.label !== image.label && areNearDuplicates(look, other.look))
      .map(({ image: other }) => ({
        image: image.path,
        label: image.label,
        other: other.path,
        otherLabel: other.label,
      })),
  );
  return { images: seen.length, confounds, duplicates };
}

function valueOf(
  property: Property,
  own: readonly Appearance[],
  others: readonly Appearance[],
): (look: Appearance) => number {
  switch (property) {
    case 'size':
      return ({ width, height }) => width * height;
    case 'aspect ratio':
      return ({ width, height }) => width / height;
    case 'format': {
      const fraction = (looks: readonly Appearance[], format: string): number =>
        looks.filter((look) => look.format === format).length / looks.length;
      return ({ format }) => fraction(own, format) - fraction(others, format);
    }
    case 'brightness':
    case 'contrast':
    case 'sharpness':
      return (look) => look[property];
  }
}
