// Predicts the cost of a scan: UNet calls, memory, disk, and hours if a rate is known, can be measured, or can be computed.
import type { Dtype } from '../../engine/types.js';
import type { RaceOptions } from '../../runs/manifest.js';
import { usableCores } from '../../engine/cores.js';
import type { Shape } from '../../pipeline/batch.js';
import { speedOfCpu } from '../../pipeline/computed-rate.js';
import { enginesOf, measuredRate, rateWithoutEngine, shardSizeAt } from '../../pipeline/shard-size.js';
import { given, partOf, resolved } from '../../options/check.js';
import { MINING } from '../../options/scoring.js';
import { ESTIMATE, type EstimateOptions } from './options.js';
import { bytesOf, dividedOf, plannedOf, somePrompts } from '../../stages/scan/image-costs.js';
import type { ScanEvent } from '../../stages/scan/options.js';
import { mostImages } from '../../stages/mine/image-count.js';
import { pilotCalls } from '../../stages/scan/pilot.js';
import { operations } from '../../models/operations.js';
import type { Hooks } from '../../util/hooks.js';
import { CONTEXT_BYTES, cpuSpeedFrom } from './machine.js';
import { expectedFraction } from './racing.js';
import { memoryOf, subjectOf, type Asked, type Subject } from './subject.js';
import { timeAt, type Time } from './time.js';

export type { EstimateOptions } from './options.js';

/** `rate`: UNet calls per second of all workers. `hours`: of pilot and scan; of a race as expected */
export interface Estimate extends Time {
  /** the model's path, or the architecture */
  model: string;
  images: number;
  labels: number;
  /** of the largest of the images looked at */
  height: number;
  width: number;
  /** of one UNet call, computed from the model's layers */
  operations: number;
  /** UNet calls per image: samples x conditions */
  unetCallsPerImage: number;
  /** UNet calls of the scan; of a race at most */
  unetCalls: number;
  /** of a race: UNet calls if all images but the winners and the controls leave after the first round */
  unetCallsAtLeast?: number;
  /** of a race: as measured on one dataset (docs/results/estimator.md) */
  unetCallsExpected?: number;
  shards: number;
  /** of the pilot of --t-range auto and --t-weights, before the scan; 0 without one */
  pilotCalls: number;
  /** forward passes for the features of mining, at most */
  featurePasses: number;
  /** null: none was named */
  device: string | null;
  dtype: Dtype;
  batch: number;
  /** bytes, computed. `available`, `fits`: null where no device was named. `least`: with the smallest batch, by dtype, with what CUDA takes */
  memory: {
    weights: number;
    activations: number;
    total: number;
    available: number | null;
    fits: boolean | null;
    least: { fp32: number; half: number };
  };
  /** bytes of the finished scan, computed */
  disk: { tables: number; maps: number; total: number };
  notes: string[];
}

/** Cells of a loss map: the UNet's input, unfolded. */
function mapCells(shape: Shape, fold: number): number {
  return shape.rows * shape.columns * fold ** 2;
}

/**
 * Estimates a scan. Opens model and dataset as the scan would, so that what is wrong with the options shows here too; loads the model only to calibrate.
 * With `like` it needs neither.
 *
 * @throws as `scan` before its work begins
 */
export async function estimate(asked: EstimateOptions, hooks: Hooks<ScanEvent> = {}): Promise<Estimate> {
  const options = given(ESTIMATE, asked);
  const subject = await subjectOf(options, hooks);
  const { contrasts, samples, perImage, allLabels, race, shape, source, dtype, batch, available } = subject;
  const images = subject.images.length;
  const outputs = images * (allLabels ? contrasts.scored.length : 1);
  const unetCallsPerImage = samples * contrasts.fanOut;
  const unetCalls = images * unetCallsPerImage;
  const pilot = subject.needsPilot ? pilotCalls(images, contrasts.fanOut) : 0;
  const raced = race && {
    unetCallsAtLeast: fewestSamples(race, subject) * contrasts.fanOut,
    unetCallsExpected: Math.round(expectedSamples(race, subject) * contrasts.fanOut),
  };

  const { weights, activations } = memoryOf(subject, dtype, Math.max(batch, contrasts.fanOut));
  const total = weights + activations;
  const least = (of: Dtype): number => {
    const { weights, activations } = memoryOf({ ...subject, engines: 1 }, of, contrasts.fanOut);
    return weights + activations + CONTEXT_BYTES;
  };
  const perCall = operations(source, shape.rows, shape.columns);
  const timed = await time(options, subject, pilot + (raced?.unetCallsExpected ?? unetCalls), perCall, hooks);
  return {
    model: subject.title,
    images,
    labels: subject.labels,
    height: shape.height,
    width: shape.width,
    operations: perCall,
    unetCallsPerImage,
    unetCalls,
    ...raced,
    shards: Math.ceil(images / (await shardSizeOf(options, subject, timed))),
    pilotCalls: pilot,
    featurePasses: featurePasses(options, subject),
    device: subject.device,
    dtype,
    batch,
    memory: {
      weights,
      activations,
      total,
      available,
      fits: available === null ? null : total <= available,
      least: { fp32: least('fp32'), half: least('fp16') },
    },
    disk: bytesOf(outputs, perImage, subject.maps ? mapCells(shape, subject.fold) : 0),
    ...timed,
    notes: subject.notes,
  };
}

async function time(
  { rate, calibrate: measured = true, perHour, ...options }: Asked,
  { scan, speed, speedFrom }: Subject,
  unetCalls: number,
  perCall: number,
  hooks: Hooks<ScanEvent>,
): Promise<Time> {
  if (rate !== undefined) return timeAt(unetCalls, { rate, rateFrom: 'given' }, perHour);
  if (scan && measured) {
    const tune = scan.draft.options.tune === true;
    const { unetCallsPerSecond: rate } = await measuredRate(
      plannedOf(scan),
      options,
      somePrompts(scan),
      { tune },
      hooks,
    );
    return timeAt(unetCalls, { rate, rateFrom: 'measured' }, perHour);
  }
  if (scan) {
    const known = await rateWithoutEngine(plannedOf(scan), options);
    if (known?.from === 'earlier')
      return timeAt(unetCalls, { rate: known.unetCallsPerSecond, rateFrom: 'earlier' }, perHour);
    if (known) {
      const cores = options.threads ?? usableCores();
      const [low, high] = speedOfCpu(cores, scan.draft.options.dtype);
      const computed = { rate: high / perCall, rateAtLeast: low / perCall, rateFrom: 'computed' } as const;
      return timeAt(unetCalls, { ...computed, computedFrom: cpuSpeedFrom(cores) }, perHour);
    }
  }
  if (!speed) return {};
  const [low, high] = speed;
  return timeAt(
    unetCalls,
    {
      rate: high / perCall,
      rateAtLeast: low / perCall,
      rateFrom: 'computed',
      ...(speedFrom === undefined ? {} : { computedFrom: speedFrom }),
    },
    perHour,
  );
}

/** Images per shard: as asked for, of the run that has begun, or for a minute at the rate of the estimate. */
async function shardSizeOf(
  options: Asked,
  { shardSize, images, contrasts, samples, race, scan }: Subject,
  { rate, hours, hoursAtMost = hours }: Time,
): Promise<number> {
  if (shardSize !== undefined) return shardSize;
  const least = rate === undefined || !hours || !hoursAtMost ? undefined : (rate * hours) / hoursAtMost;
  const known = least ?? (scan && (await rateWithoutEngine(plannedOf(scan), options))?.unetCallsPerSecond);
  const engines = scan ? enginesOf(options, scan.devices[0]) : { here: 1, everywhere: 1 };
  return shardSizeAt(known, dividedOf(images, { contrasts, samples, race }), engines);
}

/** Images of each label, as a race counts them. */
function raceCounts({ images, allLabels }: Subject): number[] {
  return allLabels ? [images.length] : [...images.countByLabel().values()];
}

/** Samples of all images, if a race is decided after its first round: the winners are then K / perImage images of each label, or fewer. */
function fewestSamples({ top, ends, controls }: RaceOptions, subject: Subject): number {
  const [first = 0, all = first] = [ends[0], ends.at(-1)];
  const winners = Math.ceil(top / subject.perImage);
  const wanted = subject.allLabels ? winners * subject.contrasts.scored.length : winners;
  return raceCounts(subject).reduce((sum, count) => {
    const survivors = Math.min(count, Math.max(wanted, Math.ceil(controls * count)));
    return sum + count * first + survivors * (all - first);
  }, 0);
}

/** Samples of all images as measured on one dataset, by K / images of each label. */
function expectedSamples(race: RaceOptions, subject: Subject): number {
  const { top } = race;
  const wanted = subject.allLabels ? top * subject.contrasts.scored.length : top;
  return raceCounts(subject).reduce(
    (sum, count) => sum + count * subject.samples * expectedFraction({ ...race, top: wanted }, count),
    0,
  );
}

/** Every image that mining looks at takes `ensemble` forward passes through part of the model. */
function featurePasses(options: Asked, { images, contrasts, allLabels }: Subject): number {
  const settings = resolved(MINING, partOf(MINING, options));
  const byLabel = images.countByLabel();
  const labels = allLabels ? contrasts.scored : [...byLabel.keys()];
  const counts = labels.map((label) => byLabel.get(label) ?? 0);
  return settings.ensemble * mostImages(allLabels ? labels.map(() => images.length) : counts, counts, settings);
}
