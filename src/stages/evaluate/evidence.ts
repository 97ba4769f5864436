// Collects what the figures are computed from: boxes of the images, scores of their pixels, and hits of the ranked patches.
import { count } from '../../web/html.js';
import { setImmediate } from 'node:timers/promises';
import { centerIn, iou, type Box, type TruthBox } from '../../data/boxes/index.js';
import { DiffmineError } from '../../util/errors.js';
import { readMine } from '../../runs/mining.js';
import { strength } from '../../web/heatmap.js';
import { raceMaps } from '../../runs/race-words.js';
import { readMaps } from '../../runs/maps.js';
import { imageKey, type Run } from '../../runs/run.js';
import type { MinedPatchRow } from '../../runs/columns.js';
import { readTable } from '../../runs/tables.js';
import { boxMean, upsample, type PixelMap } from '../../metrics/maps.js';
import { maskIn, readImages, typical, typicalOfOthers, type BoxesUsed, type Image, type Truth } from './images.js';
import type { EvaluateEvent, KindEvaluation, RegionTypicality } from './options.js';
import { points } from '../../metrics/pointing.js';
import { PrecisionCurve, type ScoredPixels } from '../../metrics/precision.js';
import type { Hooks } from '../../util/hooks.js';

const MIN_IOU = 0.1;

/** A ranked patch: its image, and how it meets boxes of the ranking's label. */
export interface Ranked {
  image: number;
  hit: boolean;
  center: boolean;
  boxes: TruthBox[];
}

/** What a label's figures follow from. */
export interface Evidence {
  label: string;
  own: Image[];
  curve: PrecisionCurve | undefined;
  /** by own image: whether the highest pixel is on a typical element; undefined without such an element or map */
  pointing: (boolean | undefined)[];
  top?: Ranked[] | undefined;
  random?: Ranked[] | undefined;
  /** empty without `mine --diverse` */
  diverse?: Ranked[] | undefined;
}

/** And what else its maps tell. */
export interface MapEvidence extends Evidence {
  typicality: RegionTypicality;
  /** boxes, and sum and count of their pixels' typicality, by kind */
  kinds: Map<string, { boxes: TruthBox[]; sum: number; pixels: number }>;
  /** of the smoothed maps (web/heatmap.ts) */
  strengths: number[];
}

/** @returns whether the run is mined @throws RUN_INVALID for a run that is not finished, or has neither maps nor rankings */
export async function checkFinished(run: Run): Promise<boolean> {
  const { manifest } = run;
  const done = await run.doneShards();
  if (done.length < manifest.shards)
    throw new DiffmineError(
      'RUN_INVALID',
      `${run.path} is not finished: ${done.length} of ${count(manifest.shards, 'shard')} ${manifest.shards === 1 ? 'is' : 'are'} done.`,
      'Run the scan again to resume it, then evaluate.',
    );
  const mined = (await readMine(run)) !== undefined;
  if (!manifest.options.maps && !mined)
    throw new DiffmineError(
      'RUN_INVALID',
      `${run.path} has neither maps nor rankings to evaluate.`,
      'Mine it: diffmine mine RUN',
    );
  return mined;
}

/**
 * @param root the folder of the source images
 * @throws RUN_INVALID for a run that is not finished, or has neither maps nor rankings; DATASET_INVALID for boxes that do not fit its images, or meet none; CANCELLED
 */
export async function gather(
  run: Run,
  boxes: Truth,
  root: string,
  smooth: number,
  hooks: Hooks<EvaluateEvent>,
): Promise<{ images: Image[]; boxes: BoxesUsed; evidence: MapEvidence[]; notes: string[] }> {
  const { manifest } = run;
  const mined = await checkFinished(run);
  const notes: string[] = [];
  if (!manifest.options.maps)
    notes.push('The run has no maps (--no-maps), so there is no average precision, pointing game or mean typicality.');
  const { race } = manifest.options;
  if (race && manifest.options.maps) notes.push(raceMaps(race));
  if (!mined) notes.push('The run is not mined, so there is no P@k or recall. Run: diffmine mine');

  const { images, used } = await readImages(run, boxes, root, hooks);
  const ranked = mined ? await readTable<MinedPatchRow>(run.mineFile('patches.parquet')) : undefined;
  const byKey = new Map(images.map((image) => [imageKey({ path: image.image, label: image.label }), image]));
  const evidence: MapEvidence[] = [];
  for (const label of manifest.conditions) {
    hooks.onProgress?.({ type: 'evaluate', done: evidence.length, total: manifest.conditions.length });
    if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Evaluating was cancelled.');
    await setImmediate();
    const own = images.filter((image) => image.label === label);
    const ranking = (list: string): Ranked[] | undefined =>
      ranked
        ?.filter((row) => row.condition === label && row.list === list)
        .sort((a, b) => a.rank - b.rank)
        .map((row) => meet(row, byKey.get(imageKey({ path: row.image, label: row.label })), label));
    evidence.push({
      label,
      own,
      top: ranking('top'),
      random: ranking('random'),
      diverse: ranking('diverse'),
      ...lookAtMaps(run, label, own, smooth),
    });
  }
  return { images, boxes: used, evidence, notes };
}

function meet(patch: Box, image: Image | undefined, label: string): Ranked {
  const boxes = (image ? typical(image, label) : []).filter((box) => centerIn(patch, box) || iou(patch, box) > MIN_IOU);
  return {
    image: image?.index ?? -1,
    hit: boxes.length > 0,
    center: boxes.some((box) => centerIn(patch, box)),
    boxes,
  };
}

/** Everything that comes from the maps of a label's own images. */
function lookAtMaps(
  run: Run,
  label: string,
  own: readonly Image[],
  smooth: number,
): Pick<MapEvidence, 'curve' | 'pointing' | 'typicality' | 'kinds' | 'strengths'> {
  const found = new Map<Image, ScoredPixels>();
  const strengths: number[] = [];
  const kinds = kindsIn(label, own);
  const sums = { own: [0, 0], others: [0, 0], rest: [0, 0] };
  for (const { image, map } of mapsOf(run, label, own)) {
    const raw = upsample(map, image.width, image.height);
    const truth = maskIn(image, typical(image, label));
    const others = maskIn(image, typicalOfOthers(image, label));
    const smoothed = boxMean(raw, smooth);
    found.set(image, { scores: smoothed.values, truth });
    strengths.push(strength(smoothed));
    raw.values.forEach((value, i) => {
      const sum = truth[i] ? sums.own : others[i] ? sums.others : sums.rest;
      sum[0] = (sum[0] as number) + value;
      sum[1] = (sum[1] as number) + 1;
    });
    for (const box of typical(image, label)) {
      const kind = box.kind === undefined ? undefined : kinds.get(box.kind);
      if (!kind) continue;
      maskIn(image, [box]).forEach((inside, i) => {
        if (!inside) return;
        kind.sum += raw.values[i] as number;
        kind.pixels += 1;
      });
    }
  }
  const ratio = ([sum, count]: number[]): number | null => (count ? (sum as number) / count : null);
  return {
    ...curveOf(own, found),
    kinds,
    strengths,
    typicality: { own: ratio(sums.own), others: ratio(sums.others), rest: ratio(sums.rest) },
  };
}

/** The kinds of elements typical of `label` in its own images, in the order met. */
function kindsIn(label: string, own: readonly Image[]): MapEvidence['kinds'] {
  const kinds: MapEvidence['kinds'] = new Map();
  for (const box of own.flatMap((image) => typical(image, label))) {
    if (box.kind === undefined) continue;
    const kind = kinds.get(box.kind) ?? { boxes: [], sum: 0, pixels: 0 };
    kind.boxes.push(box);
    kinds.set(box.kind, kind);
  }
  return kinds;
}

/** The maps of `images` under `label`, one shard in memory at a time; in the order of shards. */
export function* mapsOf(run: Run, label: string, images: readonly Image[]): Generator<{ image: Image; map: PixelMap }> {
  for (const shard of [...new Set(images.map((image) => image.shard))].sort((a, b) => a - b)) {
    const here = images.filter((image) => image.shard === shard);
    const maps = readMaps(
      run,
      shard,
      label,
      here.map(({ image }) => image),
    );
    for (const image of here) {
      const map = maps.get(image.image);
      if (map) yield { image, map };
    }
  }
}

/** The scored pixels of a label's images as one curve, with a place for every image. */
export function curveOf(
  own: readonly Image[],
  found: ReadonlyMap<Image, ScoredPixels>,
): Pick<Evidence, 'curve' | 'pointing'> {
  const empty: ScoredPixels = { scores: new Float32Array(0), truth: new Uint8Array(0) };
  return {
    curve: found.size > 0 ? new PrecisionCurve(own.map((image) => found.get(image) ?? empty)) : undefined,
    pointing: own.map((image) => {
      const pixels = found.get(image);
      return pixels && points(pixels);
    }),
  };
}

/** What became of each kind of element. */
export function kindsOf({ label, kinds, top, diverse }: MapEvidence): KindEvaluation[] {
  const hits = (ranking: readonly Ranked[] | undefined): Set<TruthBox> =>
    new Set(ranking?.flatMap(({ boxes }) => boxes));
  const first = top?.slice(0, 50);
  const spread = diverse && diverse.length > 0 ? diverse.slice(0, 50) : undefined;
  const [hit, hit50, hitSpread] = [hits(top), hits(first), hits(spread)];
  return [...kinds].map(([kind, { boxes, sum, pixels }]) => {
    const slot = boxes[0]?.slot;
    const fraction = (found: Set<TruthBox>): number | null =>
      top ? boxes.filter((box) => found.has(box)).length / boxes.length : null;
    const patches = (ranking: readonly Ranked[] | undefined): number | null =>
      ranking ? ranking.filter((patch) => patch.boxes.some((box) => box.kind === kind)).length : null;
    return {
      label,
      kind,
      ...(slot === undefined ? {} : { slot }),
      boxes: boxes.length,
      recall: fraction(hit),
      recall50: fraction(hit50),
      patches50: patches(first),
      diverseRecall50: spread ? fraction(hitSpread) : null,
      diversePatches50: patches(spread),
      typicality: pixels > 0 ? sum / pixels : null,
    };
  });
}
