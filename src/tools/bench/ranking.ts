// Does a lower dtype keep the ranking? Compares two scans of the same images: order of the images, patches at the top, and the largest fall
// in rank.
import { DiffmineError } from '../../util/errors.js';
import { Run } from '../../runs/run.js';
import { LISTS, type PatchRow } from '../../runs/columns.js';
import { readTable } from '../../runs/tables.js';

export interface RankFigures {
  label: string;
  images: number;
  /** Spearman's rank correlation of the images' typicality */
  imageCorrelation: number;
  /** patches of the first run's ranking: the best of each image, all images together */
  candidates: number;
  /** of them, those that the second run chose too: the same image, boxes that overlap by half or more (intersection over union) */
  matched: number;
  /** of them, those with the very same box */
  same: number;
  /** Spearman's of the scores of those matched */
  candidateCorrelation: number;
  /** root mean square of the change of a matched score, over the scores' standard deviation */
  change: number;
  /** patches ranked: the best `top` of the first run */
  top: number;
  /** of these, those among the best `top` of the second */
  kept: number;
  /** places that the worst of the matched ones fell; those of no match are not in it but in `unmatched` */
  largestFall: number;
  /** where in the first run's ranking the best patch stood that is not among the second's best `top`; null if none is lost */
  firstLost: number | null;
  unmatched: number;
}

export interface RankStudy {
  runs: [string, string];
  dtypes: [string, string];
  samples: number;
  labels: RankFigures[];
  /** means over labels; for falls, losses and counts the worst, or the sum */
  imageCorrelation: number;
  candidateCorrelation: number;
  overlap: number;
  largestFall: number;
  unmatched: number;
}

/** Ranks from 1, ties sharing their mean. */
function ranks(values: readonly number[]): number[] {
  const order = values.map((value, index) => ({ value, index })).sort((a, b) => a.value - b.value);
  const result = Array<number>(values.length).fill(0);
  for (let begin = 0; begin < order.length;) {
    let end = begin;
    while (end < order.length && order[end]?.value === order[begin]?.value) end += 1;
    for (let i = begin; i < end; i++) result[order[i]?.index ?? 0] = (begin + end + 1) / 2;
    begin = end;
  }
  return result;
}

/** Spearman's rank correlation; NaN if there are fewer than two, or all of one side are equal. */
export function spearman(a: readonly number[], b: readonly number[]): number {
  const [x, y] = [ranks(a), ranks(b)];
  const mean = (x.length + 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  x.forEach((rank, i) => {
    const [dx, dy] = [rank - mean, (y[i] ?? mean) - mean];
    xy += dx * dy;
    xx += dx * dx;
    yy += dy * dy;
  });
  return xy / Math.sqrt(xx * yy);
}

/** A candidate with what identifies it. */
export type RankedPatch = Pick<PatchRow, 'image' | 'row' | 'column' | 'patch' | 'typicality'>;

function overlap(a: RankedPatch, b: RankedPatch): number {
  const side = (p: number, q: number, k: number): number => Math.max(0, Math.min(p, q) + k - Math.max(p, q));
  const common = side(a.row, b.row, a.patch) * side(a.column, b.column, a.patch);
  return common / (a.patch ** 2 + b.patch ** 2 - common);
}

/** Each of `first` with the best overlapping of `second`'s patches of the same image, no patch taken twice; undefined if none overlaps by half. */
function match(first: readonly RankedPatch[], second: readonly RankedPatch[]): (RankedPatch | undefined)[] {
  const byImage = new Map<string, Set<RankedPatch>>();
  for (const patch of second) byImage.set(patch.image, (byImage.get(patch.image) ?? new Set()).add(patch));
  return first.map((patch) => {
    const others = byImage.get(patch.image);
    let best: RankedPatch | undefined;
    for (const other of others ?? [])
      if (overlap(patch, other) >= Math.max(0.5, best ? overlap(patch, best) + 1e-12 : 0)) best = other;
    if (best) others?.delete(best);
    return best;
  });
}

/**
 * The figures of one label.
 *
 * @param images typicality of each image in both runs
 * @param first the first run's candidates, of all images; `second` likewise
 */
export function rankFigures(
  label: string,
  images: readonly (readonly [number, number])[],
  first: readonly RankedPatch[],
  second: readonly RankedPatch[],
  top: number,
): RankFigures {
  const descending = (patches: readonly RankedPatch[]): RankedPatch[] =>
    [...patches].sort((a, b) => b.typicality - a.typicality);
  const [a, b] = [descending(first), descending(second)];
  const places = new Map(b.map((patch, place) => [patch, place]));
  const matches = match(a, b);
  const pairs = matches.flatMap((other, place) =>
    other ? [{ place, patch: a[place] as RankedPatch, other, otherPlace: places.get(other) ?? 0 }] : [],
  );
  const count = Math.min(top, a.length);
  const best = pairs.filter(({ place }) => place < count);
  const kept = best.filter(({ otherPlace }) => otherPlace < count);
  const keptPlaces = new Set(kept.map(({ place }) => place));
  const firstLost = Array.from({ length: count }, (_, place) => place).find((place) => !keptPlaces.has(place));
  const mean = a.reduce((sum, { typicality }) => sum + typicality, 0) / a.length;
  const deviation = Math.sqrt(a.reduce((sum, { typicality }) => sum + (typicality - mean) ** 2, 0) / a.length);
  return {
    label,
    images: images.length,
    imageCorrelation: spearman(
      images.map(([x]) => x),
      images.map(([, y]) => y),
    ),
    candidates: a.length,
    matched: pairs.length,
    same: pairs.filter(({ patch, other }) => patch.row === other.row && patch.column === other.column).length,
    candidateCorrelation: spearman(
      pairs.map(({ patch }) => patch.typicality),
      pairs.map(({ other }) => other.typicality),
    ),
    change:
      Math.sqrt(
        pairs.reduce((sum, { patch, other }) => sum + (patch.typicality - other.typicality) ** 2, 0) / pairs.length,
      ) / deviation,
    top: count,
    kept: kept.length,
    largestFall: Math.max(0, ...best.map(({ place, otherPlace }) => otherPlace - place)),
    firstLost: firstLost === undefined ? null : firstLost + 1,
    unmatched: count - best.length,
  };
}

interface ImageRow extends Record<string, unknown> {
  image: string;
  condition: string;
  typicality: number;
}

async function rowsOf(run: Run): Promise<{ images: ImageRow[]; patches: PatchRow[] }> {
  const images: ImageRow[] = [];
  for await (const { image, condition, typicality } of run.images()) images.push({ image, condition, typicality });
  const patches: PatchRow[] = [];
  for (const shard of await run.doneShards())
    for (const row of await readTable<PatchRow>(run.shardFile(shard, 'patches.parquet')))
      if (row.list === LISTS[0]) patches.push(row);
  return { images, patches };
}

/**
 * Compares two finished scans of the same images with the same model and options, in two precisions (or of two seeds: what the draws alone change).
 *
 * @param top patches per label that must stay on top
 * @throws RUN_INVALID if one is not a finished scan; RUN_MISMATCH if the two are not of the same images, model and samples
 */
export async function rankStudy(firstPath: string, secondPath: string, top = 50): Promise<RankStudy> {
  const runs = [await Run.open(firstPath), await Run.open(secondPath)] as const;
  for (const run of runs) {
    if ((await run.doneShards()).length < run.manifest.shards)
      throw new DiffmineError('RUN_INVALID', `${run.path} is not finished.`, 'Run the scan again to resume it.');
  }
  const [a, b] = [runs[0].manifest, runs[1].manifest];
  const facts = ({ dataset, model, options }: typeof a): unknown[] => [
    dataset.fingerprint,
    model.fingerprint,
    options.samples,
    options.patch,
    options.size,
    options.sampler,
    options.against,
    options.othersPerSample ?? null,
    options.tWeights ?? null,
    options.tBegin,
    options.tEnd,
    options.perImage,
  ];
  if (JSON.stringify(facts(a)) !== JSON.stringify(facts(b))) {
    throw new DiffmineError(
      'RUN_MISMATCH',
      `${firstPath} and ${secondPath} differ in more than the dtype.`,
      'Scan the same images with the same model, samples and sizes.',
    );
  }
  const [first, second] = [await rowsOf(runs[0]), await rowsOf(runs[1])];
  const labels = a.conditions.map((condition) => {
    const others = new Map(
      second.images.filter((row) => row.condition === condition).map((row) => [row.image, row.typicality]),
    );
    const images = first.images.flatMap((row) => {
      const other = row.condition === condition ? others.get(row.image) : undefined;
      return other === undefined ? [] : [[row.typicality, other] as const];
    });
    const of = (patches: PatchRow[]): PatchRow[] => patches.filter((patch) => patch.condition === condition);
    return rankFigures(condition, images, of(first.patches), of(second.patches), top);
  });
  const mean = (of: (one: RankFigures) => number): number =>
    labels.reduce((sum, one) => sum + of(one), 0) / labels.length;
  return {
    runs: [runs[0].path, runs[1].path],
    dtypes: [a.options.dtype, b.options.dtype],
    samples: a.options.samples,
    labels,
    imageCorrelation: mean((one) => one.imageCorrelation),
    candidateCorrelation: mean((one) => one.candidateCorrelation),
    overlap: mean(({ kept, top: count }) => kept / count),
    largestFall: Math.max(...labels.map(({ largestFall }) => largestFall)),
    unmatched: labels.reduce((sum, one) => sum + one.unmatched, 0),
  };
}
