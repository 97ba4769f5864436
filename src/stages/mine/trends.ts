// Trends: the elements of all labels, clustered together, and how common each is among the images of every label. Labels must have an order. Features are
// those of the null condition, under which all labels are seen alike.
import { measureImage, scoredSize, type DatasetImage, type ImageList, type SizeOptions } from '../../data/index.js';
import { orderedLabels, type OrderedLabel } from '../../data/label-order.js';
import { courseOf, fractionOf, type Course } from '../../metrics/trend.js';
import { cluster, type Clustering } from '../../pipeline/cluster.js';
import type { ElementRow, PatchRow, TrendPatchRow, TrendRow } from '../../runs/columns.js';
import { imageKey } from '../../runs/run.js';
import type { MineSettings } from '../../runs/mining.js';
import { count } from '../../web/html.js';
import type { Hooks } from '../../util/hooks.js';
import { DiffmineError } from '../../util/errors.js';
import { evenly } from '../../util/evenly.js';
import { Random } from '../../util/random.js';
import { describe, describeWindows, learnDescriptors } from './take-descriptors.js';
import { toUnit } from './descriptors.js';
import { windowsOf } from './evidence.js';
import { keyOf, type FeatureContext } from './features.js';
import type { MineEvent } from './options.js';
import type { GroupOf } from './groups.js';

/** Images whose windows say what windows are like in general. */
export const BACKGROUND = 32;
/** An element is in an image where a window matches it as well as this fraction of its own patches does not. */
const WEAKEST = 0.25;
/** Of each element and label, the best windows are kept even where the element is not found. */
const SHOWN = 6;
/** Patches of an element, on average, and how many elements there are at most, where their number is to be chosen. */
const AUTO = { patches: 10, most: 256 };
export type TrendSettings = Pick<MineSettings, 'elements' | 'restarts' | 'trendImages'> & { seed: number };

export interface TrendContext extends FeatureContext {
  /** all images of the run */
  images: ImageList;
  labels: readonly OrderedLabel[];
  groupOf: GroupOf;
}

/** What is found of all labels together: the rows of three tables. */
export interface Trends {
  elements: ElementRow[];
  curves: TrendRow[];
  patches: TrendPatchRow[];
}

/** @throws INVALID_ARGUMENT where the labels have no order */
export function labelsInOrder(labels: readonly string[]): OrderedLabel[] {
  const ordered = orderedLabels(labels);
  if (ordered) return ordered;
  throw new DiffmineError(
    'INVALID_ARGUMENT',
    `\`trends\` needs labels that have an order, such as 1920, 1930s or 1950-1959; these are ${labels.slice(0, 4).join(', ')}${labels.length > 4 ? ', …' : ''}.`,
    'Give at least three labels that are different numbers, years or decades.',
    { option: 'trends' },
  );
}

/** The images in which elements are looked for: of each label the same number at random, whatever they score. */
function sampleImages(
  images: ImageList,
  labels: readonly OrderedLabel[],
  wanted: number,
  seed: number,
): Map<string, DatasetImage[]> {
  const drawn = new Map(labels.map(({ label }) => [label, [] as { index: number; key: number }[]]));
  for (let index = 0; index < images.length; index++)
    drawn.get(images.label(index))?.push({ index, key: new Random('trends', seed, images.path(index)).next() });
  return new Map(
    [...drawn].map(([label, entries]) => [
      label,
      entries
        .sort((a, b) => a.key - b.key || a.index - b.index)
        .slice(0, wanted)
        .map(({ index }) => images.at(index)),
    ]),
  );
}

/**
 * @param ranked patches of all labels, which the elements are clustered from
 * @param context.condition the null condition
 */
export async function trends(
  ranked: readonly PatchRow[],
  { elements: wanted, restarts, trendImages, seed }: TrendSettings,
  given: TrendContext,
  hooks: Hooks<MineEvent>,
): Promise<Trends> {
  const { engine, sizes, labels, signal } = given;
  const sampled = sampleImages(given.images, labels, trendImages, seed);
  const patches = [...new Map(ranked.map((patch) => [`${patch.row} ${patch.column} ${keyOf(patch)}`, patch])).values()];
  const images = [...sampled.values()].flat();
  const total = new Set([...patches.map(keyOf), ...images.map(imageKey)]).size;
  hooks.onLog?.(`Trends: features of ${count(total, 'image')} under the null condition.`);
  let done = 0;
  const context: TrendContext = {
    ...given,
    onImage: () => hooks.onProgress?.({ type: 'trends', done: Math.min(++done, total), total }),
  };
  const descriptors = await learnDescriptors(evenly(images, BACKGROUND), { ...given, skipUnreadable: true });
  const { width } = descriptors;
  const described = await describe(patches, images, descriptors, context);
  const clustering = await cluster(
    engine,
    { values: described.patches, width },
    patches.map(({ typicality }) => typicality),
    { clusters: wanted === 'auto' ? elementsFor(patches.length) : wanted, restarts, seed },
    { signal },
  );
  const made = clustering.clusters.length;
  toUnit(clustering.centers, width);
  const matches = new Map<string, Match[]>();
  const take = (image: DatasetImage, windows: Float32Array): void =>
    void matches.set(imageKey(image), bestMatches(windows, clustering.centers, made, width));
  for (const [image, windows] of described.windows) take(image, windows);
  await describeWindows(described.left, descriptors, context, take);
  const thresholds = thresholdsOf(described.patches, clustering, width);

  const found = labels.map(({ label }) =>
    (sampled.get(label) ?? []).flatMap((image) => {
      const own = matches.get(imageKey(image));
      return own ? [{ image, matches: own }] : [];
    }),
  );
  const out: Trends = { elements: [], curves: [], patches: [] };
  const boxes = new Map<DatasetImage, BoxOf>();
  const courses = clustering.clusters.map((_, element): { values: number[]; errors: number[]; course: Course } => {
    const points = found.map((own) => {
      const hits = own.map((one) => (one.matches[element]?.value ?? -1) >= (thresholds[element] as number));
      return fractionOf(
        hits,
        own.map(({ image }) => context.groupOf(image.path, image.label)),
      );
    });
    const [values, errors] = [points.map(({ fraction }) => fraction), points.map(({ error }) => error)];
    return { values, errors, course: courseOf(values, errors, element) };
  });
  // the clearest first; steady ones last
  const order = [...courses.keys()].sort((a, b) => {
    const [one, other] = [courses[a], courses[b]] as [(typeof courses)[number], (typeof courses)[number]];
    return (
      Number(one.course.shape === 'steady') - Number(other.course.shape === 'steady') ||
      other.course.clarity - one.course.clarity ||
      a - b
    );
  });
  for (const [number, element] of order.entries()) {
    const { values, errors, course } = courses[element] as (typeof courses)[number];
    const { size, medianTypicality } = clustering.clusters[element] as (typeof clustering.clusters)[number];
    out.elements.push({
      element: number,
      size,
      median_typicality: medianTypicality,
      shape: course.shape,
      clarity: course.clarity,
      p: course.p,
      peak: labels[course.peak]?.label ?? '',
    });
    for (const [at, { label, position }] of labels.entries()) {
      const own = found[at] ?? [];
      out.curves.push({
        element: number,
        label,
        position,
        images: own.length,
        fraction: values[at] as number,
        standard_error: errors[at] as number,
      });
      const threshold = thresholds[element] as number;
      const best = own
        .flatMap(({ image, matches: { [element]: match } }) => (match ? [{ image, match }] : []))
        .sort((a, b) => b.match.value - a.match.value)
        .filter(({ match }, rank) => rank < SHOWN || match.value >= threshold);
      for (const [rank, { image, match }] of best.entries()) {
        const known = boxes.get(image) ?? (await boxesOf(image, sizes));
        boxes.set(image, known);
        out.patches.push({
          element: number,
          label,
          rank: rank + 1,
          image: image.path,
          ...known(match.window),
          match: match.value,
          found: Number(match.value >= threshold),
        });
      }
    }
  }
  return out;
}

const elementsFor = (patches: number): number => Math.max(2, Math.min(AUTO.most, Math.round(patches / AUTO.patches)));

/** The best of the windows of an image that belong to an element; undefined where none does. */
type Match = { value: number; window: number } | undefined;

/**
 * By element. A window belongs to the element whose center is nearest, so that an element is not found in what is more like another one: with more windows
 * than elements, the largest of an element's cosines over all windows would nearly always be that of some other element's window.
 */
function bestMatches(windows: Float32Array, centers: Float32Array, elements: number, width: number): Match[] {
  const out = new Array<Match>(elements).fill(undefined);
  for (let window = 0; window * width < windows.length; window++) {
    let [nearest, value] = [0, -Infinity];
    for (let element = 0; element < elements; element++) {
      const cosine = dot(windows, window * width, centers, element * width, width);
      if (cosine > value) [nearest, value] = [element, cosine];
    }
    if (value > (out[nearest]?.value ?? -Infinity)) out[nearest] = { value, window };
  }
  return out;
}

function dot(a: Float32Array, from: number, b: Float32Array, start: number, width: number): number {
  let sum = 0;
  for (let f = 0; f < width; f++) sum += (a[from + f] as number) * (b[start + f] as number);
  return sum;
}

/** The match that an element's own patches reach, but for the weakest of them. */
function thresholdsOf(values: Float32Array, { assignment, centers, clusters }: Clustering, width: number): number[] {
  const own = clusters.map((): number[] => []);
  assignment.forEach((element, row) => own[element]?.push(dot(values, row * width, centers, element * width, width)));
  return own.map((matches) => matches.sort((a, b) => a - b)[Math.floor(WEAKEST * matches.length)] ?? Infinity);
}

/** The box of window number `window`, in source pixels and in those of the scored image. */
type BoxOf = (window: number) => Pick<TrendPatchRow, 'x' | 'y' | 'width' | 'height' | 'row' | 'column' | 'patch'>;

async function boxesOf({ file }: DatasetImage, sizes: SizeOptions): Promise<BoxOf> {
  const source = await measureImage(file);
  const { resized, ...scored } = scoredSize(source, sizes);
  const windows = windowsOf(scored, sizes.patch);
  const [across, down] = [source.width / resized.width, source.height / resized.height];
  const { patch } = sizes;
  return (window) => {
    const { rowBegin: row = 0, columnBegin: column = 0 } = windows[window] ?? {};
    return { x: column * across, y: row * down, width: patch * across, height: patch * down, row, column, patch };
  };
}
