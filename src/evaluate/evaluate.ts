// A run against boxes of what is known to be in its pictures: pixels of the maps, places of the ranked patches (formulas: docs/evaluate.md).
import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { scoredSize } from '../dataset';
import { DiffmineError } from '../errors';
import { readMine } from '../mine/record';
import { Random } from '../random';
import { readMaps } from '../report/maps';
import { imageKey, Run } from '../run/run';
import type { ImageRow, MinedPatchRow } from '../run/schema';
import { readTable } from '../run/tables';
import { centreIn, iou, readBoxes, type Box, type TruthBox } from './boxes';
import { boxMean, maskOf, peak, upsample } from './maps';
import { AT, type EvaluateHooks, type EvaluateOptions, type EvaluateSummary, type Figure, type KindEvaluation, type LabelEvaluation, type Metrics } from './options';
import { PrecisionCurve, type ScoredPixels } from './precision';

const MIN_IOU = 0.1;
/** The interval's share of the resamples on each side. */
const TAIL = 0.025;

/** A scored picture with what is in it. */
interface Picture {
  /** in all pictures of the run */
  index: number;
  image: string;
  label: string;
  shard: number;
  width: number;
  height: number;
  /** scored pixels a source pixel, across and down */
  scale: [number, number];
  boxes: TruthBox[];
}

/** A ranked patch: its picture, and how it meets boxes of the ranking's label. */
interface Ranked {
  picture: number;
  hit: boolean;
  centre: boolean;
  boxes: TruthBox[];
}

/** What the figures of a label are computed from. */
interface Evidence {
  label: string;
  own: Picture[];
  curve: PrecisionCurve | undefined;
  /** by own picture: whether the highest pixel is on a typical element; undefined without such an element or map */
  pointing: (boolean | undefined)[];
  top: Ranked[] | undefined;
  random: Ranked[] | undefined;
  typicality: LabelEvaluation['typicality'];
  /** sum and count of typicality, by kind */
  kinds: Map<string, { boxes: TruthBox[]; sum: number; pixels: number }>;
}

/**
 * Evaluates a run.
 *
 * @throws DATASET_INVALID for boxes that cannot be read or meet no picture of the run; RUN_INVALID for a run that is not finished, or has neither maps nor
 *   rankings; INVALID_ARGUMENT; CANCELLED
 */
export async function evaluate(runPath: string, options: EvaluateOptions, hooks: EvaluateHooks = {}): Promise<EvaluateSummary> {
  const { smooth = 5, bootstrap = 1000, seed = 0 } = options;
  if (!Number.isInteger(smooth) || smooth < 1 || smooth % 2 === 0) throw new DiffmineError('INVALID_ARGUMENT', `The side of the box mean is ${smooth}.`, 'It is odd: 1, 3, 5, ...');
  const run = await Run.open(runPath);
  const { manifest } = run;
  const done = await run.doneShards();
  if (done.length < manifest.shards) {
    throw new DiffmineError('RUN_INVALID', `${runPath} is not finished: ${done.length} of ${manifest.shards} shards are done.`, 'Repeat the scan to go on with it, then evaluate.');
  }
  const boxes = await readBoxes(options.boxes, options.typicalColumn);
  const pictures = await readPictures(run, boxes);
  const used = pictures.reduce((sum, picture) => sum + picture.boxes.length, 0);
  if (used === 0) {
    throw new DiffmineError(
      'DATASET_INVALID', `No box of ${options.boxes} is in a picture of the run.`, `Its images are named as in the data set, such as ${JSON.stringify(pictures[0]?.image ?? manifest.images[0]?.path ?? '')}.`,
    );
  }
  const notes: string[] = [];
  const mined = (await readMine(run)) !== undefined;
  if (!manifest.options.maps) notes.push('The run keeps no maps (--no-maps): no average precision, no pointing game, no mean typicality.');
  if (!mined) notes.push('The run is not mined: no P@k and no recall. Run: diffmine mine');
  if (!manifest.options.maps && !mined) throw new DiffmineError('RUN_INVALID', `${runPath} has neither maps nor rankings to evaluate.`, 'Mine it: diffmine mine RUN');

  const ranked = mined ? await readTable<MinedPatchRow>(run.mineFile('patches.parquet')) : undefined;
  const byKey = new Map(pictures.map((picture) => [imageKey({ path: picture.image, label: picture.label }), picture]));
  const evidence: Evidence[] = [];
  for (const label of manifest.conditions) {
    hooks.onProgress?.({ stage: 'evaluate', done: evidence.length, total: manifest.conditions.length });
    if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Evaluating was cancelled.');
    await setImmediate();
    const own = pictures.filter((picture) => picture.label === label);
    const ranking = (list: string): Ranked[] | undefined =>
      ranked?.filter((row) => row.condition === label && row.list === list).sort((a, b) => a.rank - b.rank).map((row) => meet(row, byKey.get(imageKey({ path: row.image, label: row.label })), label));
    evidence.push({ label, own, top: ranking('top'), random: ranking('random'), ...lookAtMaps(run, label, own, smooth) });
  }
  const ranks = evidence.flatMap(({ label, top }) => (top && top.length < Math.max(...AT) ? [`${label} has ${top.length}`] : []));
  if (ranks.length > 0) notes.push(`Of a ranking with fewer patches than k, P@k is over those there are: ${ranks.join(', ')}.`);
  const unknown = [...new Set(pictures.flatMap((picture) => picture.boxes.map((box) => typicalOf(box, picture))))].filter((label) => !manifest.conditions.includes(label));
  if (unknown.length > 0) notes.push(`Boxes are typical of labels that were not scored: ${unknown.slice(0, 5).join(', ')}${unknown.length > 5 ? ', ...' : ''}.`);

  const figures = await resample(evidence, pictures.length, { bootstrap, seed }, hooks);
  const shares = evidence.map(({ curve }) => (curve && curve.pixels > 0 ? curve.positives / curve.pixels : null));
  return {
    run: run.path,
    boxes: { path: resolve(options.boxes), rows: boxes.length, used },
    options: { smooth, bootstrap, seed, typicalColumn: options.typicalColumn ?? null },
    mean: { ...(figures[evidence.length] as Metrics), share: mean(shares) },
    labels: evidence.map(({ label, own, typicality, top }, i) => ({
      label, pictures: own.length, boxes: own.reduce((sum, picture) => sum + typical(picture, label).length, 0), share: shares[i] ?? null, ...(figures[i] as Metrics), typicality,
      patches: top?.length ?? 0,
    })),
    kinds: evidence.flatMap(kindsOf),
    notes,
  };
}

async function readPictures(run: Run, boxes: readonly TruthBox[]): Promise<Picture[]> {
  const { size, sizeRule } = run.manifest.options;
  const byImage = new Map<string, TruthBox[]>();
  for (const box of boxes) byImage.set(box.image, [...(byImage.get(box.image) ?? []), box]);
  const found = new Map<string, Picture>();
  for (let shard = 0; shard < run.manifest.shards; shard++) {
    const rows = await readTable<ImageRow>(run.shardFile(shard, 'images.parquet'), ['image', 'label', 'source_width', 'source_height', 'width', 'height']);
    for (const { image, label, source_width: across, source_height: down, width, height } of rows) {
      const key = imageKey({ path: image, label });
      if (found.has(key)) continue; // scored under several labels
      const { resized } = scoredSize({ width: across, height: down }, { size, rule: sizeRule, multiple: 1, patch: 1 });
      const inside = (byImage.get(image) ?? []).filter((box) => box.label === undefined || box.label === label);
      found.set(key, { index: found.size, image, label, shard, width, height, scale: [resized.width / across, resized.height / down], boxes: inside });
    }
  }
  return [...found.values()];
}

const typicalOf = (box: TruthBox, picture: Picture): string => box.typicalOf ?? picture.label;
const typical = (picture: Picture, label: string): TruthBox[] => picture.boxes.filter((box) => typicalOf(box, picture) === label);

function meet(patch: Box, picture: Picture | undefined, label: string): Ranked {
  const boxes = (picture ? typical(picture, label) : []).filter((box) => centreIn(patch, box) || iou(patch, box) > MIN_IOU);
  return { picture: picture?.index ?? -1, hit: boxes.length > 0, centre: boxes.some((box) => centreIn(patch, box)), boxes };
}

/** Everything that comes from the maps of a label's own pictures. */
function lookAtMaps(run: Run, label: string, own: readonly Picture[], smooth: number): Pick<Evidence, 'curve' | 'pointing' | 'typicality' | 'kinds'> {
  const pixels: (ScoredPixels | undefined)[] = [];
  const pointing: (boolean | undefined)[] = [];
  const kinds: Evidence['kinds'] = new Map();
  const sums = { own: [0, 0], others: [0, 0], rest: [0, 0] };
  for (const picture of own) {
    for (const box of typical(picture, label)) {
      if (box.kind === undefined) continue;
      const kind = kinds.get(box.kind) ?? { boxes: [], sum: 0, pixels: 0 };
      kind.boxes.push(box);
      kinds.set(box.kind, kind);
    }
  }
  for (let shard = 0; shard < run.manifest.shards; shard++) {
    const here = own.filter((picture) => picture.shard === shard);
    if (here.length === 0) continue;
    const maps = readMaps(run, shard, label, here.map(({ image }) => image));
    for (const picture of here) {
      const map = maps.get(picture.image);
      if (!map) {
        pixels.push(undefined);
        pointing.push(undefined);
        continue;
      }
      const { width, height, scale } = picture;
      const raw = upsample(map, width, height);
      const mask = (boxes: readonly TruthBox[]): Uint8Array =>
        maskOf(boxes.map((box) => ({ x: box.x * scale[0], y: box.y * scale[1], width: box.width * scale[0], height: box.height * scale[1] })), width, height);
      const truth = mask(typical(picture, label));
      const others = mask(picture.boxes.filter((box) => typicalOf(box, picture) !== label));
      const { values: scores } = boxMean(raw, smooth);
      pixels.push({ scores, truth });
      pointing.push(truth.includes(1) ? truth[peak(scores)] === 1 : undefined);
      raw.values.forEach((value, i) => {
        const sum = truth[i] ? sums.own : others[i] ? sums.others : sums.rest;
        sum[0] = (sum[0] as number) + value;
        sum[1] = (sum[1] as number) + 1;
      });
      for (const box of typical(picture, label)) {
        const kind = box.kind === undefined ? undefined : kinds.get(box.kind);
        if (!kind) continue;
        mask([box]).forEach((inside, i) => {
          if (!inside) return;
          kind.sum += raw.values[i] as number;
          kind.pixels += 1;
        });
      }
    }
  }
  const empty: ScoredPixels = { scores: new Float32Array(0), truth: new Uint8Array(0) };
  const ratio = ([sum, count]: number[]): number | null => (count ? (sum as number) / count : null);
  return {
    curve: pixels.some((one) => one) ? new PrecisionCurve(pixels.map((one) => one ?? empty)) : undefined,
    pointing, kinds, typicality: { own: ratio(sums.own), others: ratio(sums.others), rest: ratio(sums.rest) },
  };
}

function kindsOf({ label, kinds, top }: Evidence): KindEvaluation[] {
  const hit = new Set(top?.flatMap(({ boxes }) => boxes));
  const first = top?.slice(0, 50);
  const hit50 = new Set(first?.flatMap(({ boxes }) => boxes));
  return [...kinds].map(([kind, { boxes, sum, pixels }]) => {
    const slot = boxes[0]?.slot;
    const share = (found: Set<TruthBox>): number | null => (top ? boxes.filter((box) => found.has(box)).length / boxes.length : null);
    return {
      label, kind, ...(slot === undefined ? {} : { slot }), boxes: boxes.length, recall: share(hit), recall50: share(hit50),
      patches50: first ? first.filter((patch) => patch.boxes.some((box) => box.kind === kind)).length : null, typicality: pixels > 0 ? sum / pixels : null,
    };
  });
}

// --- figures, and how they vary

/** A label's figures in a fixed order: average precision, pointing, then for `top` and `random` each k with hit and centre. */
function measure(evidence: Evidence, weights: Uint32Array | undefined): (number | null)[] {
  const weight = (picture: number): number => (weights ? (weights[picture] ?? 1) : 1);
  const { curve, own, pointing } = evidence;
  const precision = curve && (weights ? curve.resampled(Uint32Array.from(own, ({ index }) => weight(index))) : curve.averagePrecision());
  let [pointed, asked] = [0, 0];
  pointing.forEach((on, i) => {
    if (on === undefined) return;
    asked += weight((own[i] as Picture).index);
    if (on) pointed += weight((own[i] as Picture).index);
  });
  return [precision ?? null, asked > 0 ? pointed / asked : null, ...precisionAt(evidence.top, weight), ...precisionAt(evidence.random, weight)];
}

/** Hit and centre for each k, where a patch stands in the ranking as often as its picture was drawn. */
function precisionAt(ranking: readonly Ranked[] | undefined, weight: (picture: number) => number): (number | null)[] {
  return AT.flatMap((k) => {
    let [taken, hits, centres] = [0, 0, 0];
    for (const { picture, hit, centre } of ranking ?? []) {
      const times = Math.min(weight(picture), k - taken);
      taken += times;
      if (hit) hits += times;
      if (centre) centres += times;
      if (taken === k) break;
    }
    return taken > 0 ? [hits / taken, centres / taken] : [null, null];
  });
}

/** Figures of each label, then of their mean, with intervals: pictures are drawn with replacement within each label. */
async function resample(evidence: Evidence[], pictures: number, { bootstrap, seed }: { bootstrap: number; seed: number }, hooks: EvaluateHooks): Promise<Metrics[]> {
  const rowOf = (weights?: Uint32Array): (number | null)[][] => {
    const labels = evidence.map((one) => measure(one, weights));
    return [...labels, (labels[0] ?? []).map((_, figure) => mean(labels.map((label) => label[figure] ?? null)))];
  };
  const values = rowOf();
  const draws: number[][][] = values.map((row) => row.map(() => []));
  const random = new Random('bootstrap', seed);
  for (let time = 0; time < bootstrap; time++) {
    if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Evaluating was cancelled.');
    hooks.onProgress?.({ stage: 'resample', done: time, total: bootstrap });
    await setImmediate();
    const weights = new Uint32Array(pictures);
    for (const { own } of evidence) {
      for (let i = 0; i < own.length; i++) {
        const { index } = random.pick(own);
        weights[index] = (weights[index] as number) + 1;
      }
    }
    rowOf(weights).forEach((row, label) => row.forEach((value, figure) => value !== null && draws[label]?.[figure]?.push(value)));
  }
  return values.map((row, label) => {
    const figures = row.map((value, i): Figure => {
      const sorted = Float64Array.from(draws[label]?.[i] ?? []).sort();
      const at = (share: number): number | null => (value === null || sorted.length === 0 ? null : (sorted[Math.round(share * (sorted.length - 1))] as number));
      return { value, low: at(TAIL), high: at(1 - TAIL) };
    });
    const lists = (from: number): Metrics['top'] => AT.map((k, i) => ({ k, hit: figures[from + 2 * i] as Figure, centre: figures[from + 2 * i + 1] as Figure }));
    return { averagePrecision: figures[0] as Figure, pointing: figures[1] as Figure, top: lists(2), random: lists(2 + 2 * AT.length) };
  });
}

function mean(values: readonly (number | null)[]): number | null {
  const there = values.filter((value) => value !== null);
  return there.length > 0 ? there.reduce((sum, value) => sum + value, 0) / there.length : null;
}
