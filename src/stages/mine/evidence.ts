// Evidence for clusters: whether an element's best match in an image tells images of its label from those of other labels, measured on images whose patches
// the clusters were not learned from. It costs features of these images, and no other UNet calls.
import type { DatasetImage, ImageList, Size } from '../../data/index.js';
import { listed } from '../../data/labels.js';
import type { Clustering } from '../../pipeline/cluster.js';
import { float32 } from '../../engine/index.js';
import type { PixelBox, Tensor } from '../../engine/types.js';
import { imageKey } from '../../runs/run.js';
import { auroc } from '../../metrics/auroc.js';
import type { Figure } from '../../metrics/bootstrap.js';
import { evenly } from '../../util/evenly.js';
import { Random } from '../../util/random.js';
import { discriminants } from './discriminant.js';
import { pooled, type FeatureContext } from './features.js';
import type { GroupOf } from './groups.js';

/** With fewer held-out images of a label, the test is skipped. */
const FEWEST = 5;
/** At most this fraction of a label's images is held out: clusters are learned from the others. */
const HELD_OUT = 1 / 4;
/** Images of other labels for each one of the label, where the label has few. */
const OTHERS = 3;
/** ... but no more than this, unless the label itself has more. */
const MOST_OTHERS = 50;
/** Windows that an image is searched in are this fraction of a patch apart. */
const STRIDE = 1 / 4;
/** Images whose windows say what windows are like in general. */
const BACKGROUND = 8;
const BOOTSTRAP = 1000;

/** Of a label with `count` images: how many of them test its clusters, and how many of others at most. */
export function heldOutOf(count: number, wanted: number): { own: number; others: number } {
  const own = Math.min(wanted, Math.floor(count * HELD_OUT));
  return own < FEWEST ? { own: 0, others: 0 } : { own, others: othersFor(own) };
}

const othersFor = (own: number): number => Math.max(own, Math.min(OTHERS * own, MOST_OTHERS));

/** The images that a label's clusters are tested on. */
export interface Test {
  own: readonly DatasetImage[];
  others: readonly DatasetImage[];
  count: number;
}

/** Images that clusters are not learned from. */
export class HeldOut {
  private readonly groups: ReadonlyMap<string, ReadonlySet<string>>;

  private constructor(
    private readonly images: ReadonlyMap<string, readonly DatasetImage[]>,
    private readonly groupOf: GroupOf,
  ) {
    this.groups = new Map(
      [...images].map(([label, own]) => [label, new Set(own.map(({ path }) => groupOf(path, label)))]),
    );
  }

  /**
   * Chooses images of each label at random, whole groups first to last.
   *
   * @param wanted images of each label, at most
   */
  static choose(images: ImageList, wanted: number, seed: number, groupOf: GroupOf): HeldOut {
    const chosen = new Map<string, DatasetImage[]>();
    for (const [label, count] of images.countByLabel()) {
      if (heldOutOf(count, wanted).own > 0) chosen.set(label, []);
    }
    const order = new Map<string, { index: number; key: number; within: number }[]>();
    for (let index = 0; index < images.length && chosen.size > 0; index++) {
      const { path, label } = images.at(index);
      if (!chosen.has(label)) continue;
      const entry = {
        index,
        key: new Random('held out', seed, groupOf(path, label)).next(),
        within: new Random('held out', seed, path).next(),
      };
      const entries = order.get(label);
      if (entries) entries.push(entry);
      else order.set(label, [entry]);
    }
    for (const [label, entries] of order) {
      const { own: size } = heldOutOf(entries.length, wanted);
      entries.sort((a, b) => a.key - b.key || a.within - b.within);
      chosen.set(
        label,
        entries.slice(0, size).map(({ index }) => images.at(index)),
      );
    }
    return new HeldOut(chosen, groupOf);
  }

  /** Whether clusters of `condition` may learn from an image: not if it, or one of its group, is among what they are tested on. */
  mayLearn(condition: string, path: string, label: string): boolean {
    return !(this.images.has(condition) && this.groups.get(label)?.has(this.groupOf(path, label)));
  }

  /** What clusters of `condition` are tested on; undefined where there are too few. */
  of(condition: string): Test | undefined {
    const own = this.images.get(condition);
    if (!own) return undefined;
    const rivals = [...this.images].filter(([label]) => label !== condition).map(([, images]) => images);
    const most = othersFor(own.length);
    const others: DatasetImage[] = [];
    // by turns, so that every label has its part
    for (let round = 0; others.length < most && rivals.some((images) => round < images.length); round++)
      for (const images of rivals)
        if (round < images.length && others.length < most) others.push(images[round] as DatasetImage);
    return others.length < FEWEST ? undefined : { own, others, count: own.length + others.length };
  }
}

/**
 * Which labels' clusters are not tested, and what helps; empty where all are, or no test was asked for.
 *
 * @param counts images of each label
 */
export function untested(
  held: HeldOut,
  conditions: readonly string[],
  counts: ReadonlyMap<string, number>,
  { wanted, holdout }: { wanted: number; holdout: number },
): string[] {
  const labels = conditions.filter((condition) => held.of(condition) === undefined);
  if (wanted === 0 || labels.length === 0) return [];
  if (wanted < FEWEST)
    return [
      `No clusters are tested on held-out images: at least ${FEWEST} of each label are needed (--evidence-images).`,
    ];
  const least = Math.ceil(FEWEST / HELD_OUT);
  const few = labels.filter((label) => (counts.get(label) ?? 0) < least);
  const alone = labels.filter((label) => !few.includes(label));
  const more = holdout > 0 ? ' or use all of them (--holdout 0)' : '';
  return [
    ...(few.length > 0
      ? [`Clusters of ${listed(few)} are not tested: a label needs ${least} images for that. Add images${more}.`]
      : []),
    ...(alone.length > 0
      ? [`Clusters of ${listed(alone)} are not tested: this needs ${least} images of another label to compare with.`]
      : []),
  ];
}

/** By cluster: AUROC of the best match over held-out images, and how many these are. */
export interface Evidence {
  auroc: Figure;
  own: number;
  others: number;
}

/** The windows of an image in which matches are looked for. */
export function windowsOf({ width, height }: Size, patch: number): PixelBox[] {
  const stride = Math.max(1, Math.round(STRIDE * patch));
  const starts = (side: number): number[] => [
    ...Array.from({ length: Math.floor((side - patch) / stride) + 1 }, (_, i) => i * stride),
    ...((side - patch) % stride === 0 ? [] : [side - patch]),
  ];
  return starts(height).flatMap((row) =>
    starts(width).map((column) => ({
      rowBegin: row,
      columnBegin: column,
      rowEnd: row + patch,
      columnEnd: column + patch,
    })),
  );
}

/**
 * @param ready features [windows, F] of images whose forward pass has been made, by imageKey
 * @param context.condition of the clusters, under which other labels' images are seen as well
 */
export async function evidence(
  { clusters, centers }: Clustering,
  { own, others }: Test,
  ready: ReadonlyMap<string, Tensor>,
  context: FeatureContext,
): Promise<Evidence[]> {
  const scores = clusters.map(() => ({ own: [] as number[], others: [] as number[] }));
  const isOwn = new Set(own);
  type Tested = { image: string; file: string; item: DatasetImage };
  const look = async (items: readonly DatasetImage[], take: (one: Tested, features: Tensor) => void): Promise<void> => {
    const waiting: Tested[] = [];
    for (const item of items) {
      const one = { image: item.path, file: item.file, item };
      const features = ready.get(imageKey(item));
      if (features) take(one, features);
      else waiting.push(one);
    }
    await pooled(
      waiting,
      (_, size) => windowsOf(size, context.sizes.patch),
      take,
      // one that cannot be read was not scanned either
      { ...context, skipUnreadable: true },
    );
  };
  // what windows are like in general is learned from some of the images, without their labels
  const first = evenly([...own, ...others], BACKGROUND);
  const known = new Set(first);
  const background: { item: DatasetImage; features: Tensor }[] = [];
  await look(first, ({ item }, features) => background.push({ item, features }));
  const width = centers.length / Math.max(1, clusters.length);
  const directions = discriminants(
    background.map(({ features }) => features),
    centers,
    width,
  );
  const take = (item: DatasetImage, features: Tensor): void =>
    bestMatches(features, directions, clusters.length).forEach((match, cluster) =>
      scores[cluster]?.[isOwn.has(item) ? 'own' : 'others'].push(match),
    );
  for (const { item, features } of background.splice(0)) take(item, features);
  await look(
    [...own, ...others].filter((item) => !known.has(item)),
    ({ item }, features) => take(item, features),
  );
  return scores.map((one, cluster) => ({
    auroc: auroc(one.own, one.others, { bootstrap: BOOTSTRAP, seed: cluster }),
    own: one.own.length,
    others: one.others.length,
  }));
}

/** By cluster: the largest w . f over an image's windows f [windows, F]. */
function bestMatches(features: Tensor, directions: Float64Array, clusters: number): number[] {
  const [windows = 0, width = 0] = features.shape;
  const values = float32(features);
  return Array.from({ length: clusters }, (_, cluster) => {
    let best = -Infinity;
    for (let window = 0; window < windows; window++) {
      let sum = 0;
      for (let f = 0; f < width; f++)
        sum += (values[window * width + f] as number) * (directions[cluster * width + f] as number);
      if (sum > best) best = sum;
    }
    return best;
  });
}
