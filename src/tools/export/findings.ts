// The findings of a run as annotations: one table of images, categories, and boxes or masks in source pixels, which the writers of formats/ put into the
// files of other tools.
import { imageFile } from '../../data/index.js';
import type { Box } from '../../data/boxes/index.js';
import { runsOf, boundsOf } from '../../data/boxes/rle.js';
import type { Run } from '../../runs/run.js';
import type { MinedListName, MinedPatchRow } from '../../runs/columns.js';
import { imageRoot } from '../../runs/scored.js';
import { DiffmineError } from '../../util/errors.js';
import type { HeatMap } from './heat.js';
import { labelsOf, patchesOf, type Selection } from './rows.js';

/** A source image, upright. */
export interface FoundImage {
  /** in the dataset */
  path: string;
  /** on disk */
  file: string;
  width: number;
  height: number;
}

/** A label, or a cluster of it. */
export interface Category {
  name: string;
  /** the label of a cluster */
  parent: string;
}

/** What is known of a finding beside its place. */
export interface Attributes {
  typicality: number;
  standard_error?: number | null;
  rank?: number;
  list?: MinedListName;
  cluster?: number | null;
  /** of a mask: minimum typicality of the pixels inside it */
  threshold?: number;
}

export interface Finding {
  /** place in the list of images */
  image: number;
  /** place in the list of categories */
  category: number;
  /** px of the source image */
  box: Box;
  attributes: Attributes;
  /** px inside, and the mask as runs (data/boxes/rle.ts) at the size of the image */
  mask?: { area: number; runs: number[] };
}

export interface Findings {
  description: string;
  images: FoundImage[];
  categories: Category[];
  /** by image */
  findings: Finding[];
}

class Builder {
  private readonly images = new Map<string, number>();
  readonly found: Findings;

  constructor(
    run: Run,
    categories: Category[],
    private readonly root: string,
  ) {
    this.found = {
      description: `Findings of diffmine in ${run.manifest.dataset.path}`,
      images: [],
      categories,
      findings: [],
    };
  }

  image(path: string, size: { width: number; height: number }): number {
    let number = this.images.get(path);
    if (number === undefined) {
      number = this.found.images.push({ path, file: imageFile(this.root, path), ...size }) - 1;
      this.images.set(path, number);
    }
    return number;
  }
}

/** The name of a cluster as a category. */
export const clusterName = (label: string, cluster: number): string => `${label}/${cluster}`;

/**
 * Patches as boxes: categories are labels, or the clusters that patches are in.
 *
 * @throws RUN_INVALID if the run is not mined; INVALID_ARGUMENT for an unknown label or list
 */
export async function patchFindings(
  run: Run,
  by: 'patches' | 'clusters',
  selection: Selection,
  dataset: string | undefined,
): Promise<Findings> {
  const { top = Infinity } = selection;
  const rows = (await patchesOf(run, by === 'patches' ? selection : { ...selection, top: undefined })).filter(
    ({ cluster }) => by === 'patches' || (cluster !== null && cluster < top),
  );
  const nameOf = ({ condition, cluster }: MinedPatchRow): string =>
    by === 'patches' ? condition : clusterName(condition, cluster as number);
  const categories =
    by === 'patches'
      ? labelsOf(run, selection.labels).map((name) => ({ name, parent: '' }))
      : [...new Map(rows.map((row) => [nameOf(row), row])).values()]
          .sort((a, b) => (a.condition === b.condition ? (a.cluster as number) - (b.cluster as number) : 0))
          .map((row) => ({ name: nameOf(row), parent: row.condition }));
  const numberOf = new Map(categories.map(({ name }, number) => [name, number]));
  const sizes = await sizesOf(run, new Set(rows.map(({ image }) => image)));
  const builder = new Builder(run, categories, imageRoot(run, dataset));
  for (const row of rows) {
    const { image, x, y, width, height, typicality, standard_error, rank, list, cluster } = row;
    const size = sizes.get(image);
    if (!size) throw new DiffmineError('RUN_INVALID', `${run.path} does not know the size of ${image}.`, 'Scan again.');
    builder.found.findings.push({
      image: builder.image(image, size),
      category: numberOf.get(nameOf(row)) as number,
      box: { x, y, width, height },
      attributes: { typicality, standard_error, rank, list, cluster },
    });
  }
  builder.found.findings.sort((a, b) => a.image - b.image);
  return builder.found;
}

/** Sizes of source images, by path. */
async function sizesOf(run: Run, images: ReadonlySet<string>): Promise<Map<string, { width: number; height: number }>> {
  const sizes = new Map<string, { width: number; height: number }>();
  for await (const row of run.images())
    if (images.has(row.image)) sizes.set(row.image, { width: row.source_width, height: row.source_height });
  return sizes;
}

/** Heat maps as masks of the pixels whose typicality is at least a threshold; maps that reach it nowhere are left out. */
export async function maskFindings(
  run: Run,
  maps: AsyncIterable<HeatMap & { threshold: number }>,
  selection: Selection,
  dataset: string | undefined,
): Promise<Findings> {
  const labels = labelsOf(run, selection.labels);
  const builder = new Builder(
    run,
    labels.map((name) => ({ name, parent: '' })),
    imageRoot(run, dataset),
  );
  for await (const { image, condition, width, height, values, threshold } of maps) {
    const inside = new Uint8Array(values.length);
    let [area, sum] = [0, 0];
    values.forEach((value, i) => {
      if (!(value >= threshold)) return;
      inside[i] = 1;
      area += 1;
      sum += value;
    });
    const box = boundsOf(inside, { width, height });
    if (!box) continue;
    builder.found.findings.push({
      image: builder.image(image, { width, height }),
      category: labels.indexOf(condition),
      box,
      attributes: { typicality: sum / area, threshold },
      mask: { area, runs: runsOf(inside, { width, height }) },
    });
  }
  return builder.found;
}
