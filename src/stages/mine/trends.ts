// Trends: the elements of all labels, clustered together, and how common each is among the images of every label. Labels must have an order. Features are
// those of the null condition, under which all labels are seen alike.
import { measureImage, scoredSize, type DatasetImage, type ImageList, type SizeOptions } from '../../data/index.js';
import { orderedLabels, type OrderedLabel } from '../../data/label-order.js';
import { float32 } from '../../engine/index.js';
import type { Tensor } from '../../engine/types.js';
import { courseOf, fractionOf, type Course } from '../../metrics/course.js';
import { cluster, type Clustering } from '../../pipeline/cluster.js';
import type { ElementRow, PatchRow, TrendPatchRow, TrendRow } from '../../runs/schema.js';
import { imageKey } from '../../runs/run.js';
import type { MineSettings } from '../../runs/mining.js';
import { count } from '../../web/html.js';
import type { Hooks } from '../../util/hooks.js';
import { DiffmineError } from '../../util/errors.js';
import { groupBy } from '../../util/group.js';
import { evenly } from '../../util/evenly.js';
import { Random } from '../../util/random.js';
import { Descriptors, Quarters, toUnit } from './descriptors.js';
import { windowsOf } from './evidence.js';
import { keyOf, pooled, type FeatureContext } from './features.js';
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
/** Bytes of windows that are kept; those of further images are for another forward pass. */
const MOST_WINDOWS = 256 * 2 ** 20;

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
  const descriptors = await descriptorsOf(evenly(images, BACKGROUND), { ...given, skipUnreadable: true });
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

type Looked = { image: string; file: string; item: DatasetImage };
const lookedAt = (items: readonly DatasetImage[]): Looked[] =>
  items.map((item) => ({ image: item.path, file: item.file, item }));

async function descriptorsOf(
  images: readonly DatasetImage[],
  context: FeatureContext & { skipUnreadable: boolean },
): Promise<Descriptors> {
  const windows: { quarters: Quarters; features: Tensor }[] = [];
  const plans = new Map<DatasetImage, Quarters>();
  await pooled(
    lookedAt(images),
    ({ item }, size) => {
      const quarters = new Quarters(windowsOf(size, context.sizes.patch));
      plans.set(item, quarters);
      return quarters.boxes;
    },
    ({ item }, features) => windows.push({ quarters: plans.get(item) as Quarters, features }),
    { ...context, onImage: () => undefined },
  );
  return Descriptors.learn(windows);
}

interface Described {
  /** F32 [patches, width] */
  patches: Float32Array;
  /** of sampled images, as many as memory should hold */
  windows: Map<DatasetImage, Float32Array>;
  left: DatasetImage[];
}

/** Descriptors of ranked patches, and in the same forward passes those of the windows of sampled images. */
async function describe(
  patches: readonly PatchRow[],
  sampled: readonly DatasetImage[],
  descriptors: Descriptors,
  context: TrendContext,
): Promise<Described> {
  const { width } = descriptors;
  const out: Described = { patches: new Float32Array(patches.length * width), windows: new Map(), left: [] };
  const wanted = new Set(sampled.map(imageKey));
  const rows = groupBy([...patches.entries()], ([, patch]) => keyOf(patch));
  const ranked = new Map(rows.map((members) => [keyOf((members[0] as [number, PatchRow])[1]), members]));
  const items = [...ranked].flatMap(([key, members]) => {
    const { image, label } = (members[0] as [number, PatchRow])[1];
    const item = context.files.find(image, label);
    return item ? [{ image, file: item.file, item, key, members }] : [];
  });
  let kept = 0;
  const plans = new Map<string, { own: Quarters; all: Quarters | undefined }>();
  await pooled(
    items,
    ({ key, members }, size) => {
      const own = new Quarters(
        members.map(([, { row, column, patch }]) => ({
          rowBegin: row,
          columnBegin: column,
          rowEnd: row + patch,
          columnEnd: column + patch,
        })),
      );
      const keep = wanted.has(key) && kept < MOST_WINDOWS;
      const all = keep ? new Quarters(windowsOf(size, context.sizes.patch)) : undefined;
      plans.set(key, { own, all });
      return [...own.boxes, ...(all?.boxes ?? [])];
    },
    ({ item, key, members }, tensor) => {
      const { own, all } = plans.get(key) as { own: Quarters; all: Quarters | undefined };
      plans.delete(key);
      const values = float32(tensor);
      const described = descriptors.describe(own, values);
      members.forEach(([row], i) => out.patches.set(described.subarray(i * width, (i + 1) * width), row * width));
      if (!all) return;
      const windows = descriptors.describe(all, values.subarray(own.boxes.length * (tensor.shape[1] ?? 0)));
      kept += 4 * windows.length;
      out.windows.set(item, windows);
    },
    context,
  );
  const ready = new Set([...out.windows.keys()].map(imageKey));
  out.left = sampled.filter((image) => !ready.has(imageKey(image)));
  return out;
}

/** Descriptors of the windows of further images. Those that cannot be read are left out: they were not scanned either. */
async function describeWindows(
  images: readonly DatasetImage[],
  descriptors: Descriptors,
  context: TrendContext,
  take: (image: DatasetImage, windows: Float32Array) => void,
): Promise<void> {
  const plans = new Map<DatasetImage, Quarters>();
  await pooled(
    lookedAt(images),
    ({ item }, size) => {
      const quarters = new Quarters(windowsOf(size, context.sizes.patch));
      plans.set(item, quarters);
      return quarters.boxes;
    },
    ({ item }, tensor) => {
      take(item, descriptors.describe(plans.get(item) as Quarters, float32(tensor)));
      plans.delete(item);
    },
    { ...context, skipUnreadable: true },
  );
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
