// Predicts the cost of a scan: UNet calls, memory, disk, and hours if a rate is known or can be measured.
import { DiffmineError } from '../../util/errors.js';
import { prepareConditions } from '../../models/index.js';
import { Engine } from '../../engine/index.js';
import type { Dtype } from '../../engine/types.js';
import type { ImageList } from '../../data/index.js';
import type { RaceOptions } from '../../runs/manifest.js';
import { VERSION } from '../../runs/version.js';
import { encodeBytes, largestShape, rowBytes, unetShape, weightBytes, type Shape } from '../../pipeline/batch.js';
import { enginesTogether } from '../../pipeline/devices.js';
import { given } from '../../options/check.js';
import { ESTIMATE, type EstimateOptions } from './options.js';
import { perSample } from '../../stages/scan/contrasts.js';
import type { ScanEvent } from '../../stages/scan/options.js';
import { resolveOptions, type Resolved } from '../../stages/scan/resolve.js';
import type { Hooks } from '../../util/hooks.js';

/** Parquet bytes of a candidate patch and of an image under a condition, measured on real runs with paths of some 20 characters. */
const PATCH_BYTES = 30;
const IMAGE_BYTES = 45;
/** Forward passes of a calibration, after one to warm up. */
const CALIBRATION_PASSES = 2;

export type { EstimateOptions } from './options.js';

export interface Estimate {
  images: number;
  labels: number;
  /** of the largest of the images looked at */
  height: number;
  width: number;
  /** UNet calls per image: samples x conditions */
  unetCallsPerImage: number;
  /** UNet calls of the scan; of a race at most */
  unetCalls: number;
  /** of a race: UNet calls if all images but the winners and the controls leave after the first round */
  unetCallsAtLeast?: number;
  device: string;
  dtype: Dtype;
  batch: number;
  /** bytes */
  memory: { weights: number; activations: number; total: number; available: number; fits: boolean };
  /** bytes of the finished scan */
  disk: { tables: number; maps: number; total: number };
  /** UNet calls a second of all workers; undefined if neither given nor measured */
  rate?: number;
  /** at that rate */
  hours?: number;
}

/** Cells of a loss map: the UNet's input, unfolded. */
function mapCells(shape: Shape, fold: number): number {
  return shape.rows * shape.columns * fold ** 2;
}

/**
 * Estimates a scan. Opens model and dataset as the scan would, so that what is wrong with the options shows here too; loads the model only to calibrate.
 *
 * @throws as `scan` before its work begins
 */
export async function estimate(asked: EstimateOptions, hooks: Hooks<ScanEvent> = {}): Promise<Estimate> {
  const { rate: known, calibrate: measured = true, ...options } = given(ESTIMATE, asked);
  const resolved = await resolveOptions(options, VERSION, hooks);
  const { model, dataset, contrasts, sizes, draft } = resolved;
  const [device] = resolved.devices;
  const { samples, perImage, maps, batch, dtype, allLabels } = draft.options;
  const shape =
    (await largestShape(dataset.images, sizes, model)) ??
    unetShape(model.sampleSize, model.sampleSize, model.vaeFactor, model.fold);
  const images = resolved.images.length;
  const outputs = images * (allLabels ? contrasts.scored.length : 1);
  const unetCallsPerImage = samples * contrasts.fanOut;
  const unetCalls = images * unetCallsPerImage;

  const { race } = draft.options;
  const atLeast =
    race && fewestSamples(race, resolved.images, contrasts.scored, perImage, allLabels) * contrasts.fanOut;

  const engines = enginesTogether(resolved.devices, options);
  const available = Math.min(...resolved.devices.map(({ memoryFree }) => memoryFree));
  const weights = engines * weightBytes(model, dtype);
  const activations =
    engines *
    (Math.max(batch, contrasts.fanOut) * rowBytes(model.source.unet.config, shape, dtype) +
      encodeBytes(model.source, shape));
  const memory = {
    weights,
    activations,
    total: weights + activations,
    available,
    fits: weights + activations <= available,
  };
  const tables = outputs * (3 * perImage * PATCH_BYTES + IMAGE_BYTES);
  const mapBytes = maps ? outputs * mapCells(shape, model.fold) * 2 : 0;

  // CPU processes share the cores that one was timed on; every further GPU adds its own
  const gpus = device.id === 'cpu' ? 1 : new Set(resolved.devices.map(({ id }) => id)).size;
  const rate = known ?? (measured ? gpus * (await calibrate(resolved, shape, options, hooks)) : undefined);
  return {
    images,
    labels: dataset.labels.length,
    height: shape.height,
    width: shape.width,
    unetCallsPerImage,
    unetCalls,
    ...(atLeast === undefined ? {} : { unetCallsAtLeast: atLeast }),
    device: device.id,
    dtype,
    batch,
    memory,
    disk: { tables, maps: mapBytes, total: tables + mapBytes },
    ...(rate === undefined ? {} : { rate, hours: unetCalls / rate / 3600 }),
  };
}

/** Samples of all images, if a race is decided after its first round: the winners are then K / perImage images of each label, or fewer. */
function fewestSamples(
  { top, ends, controls }: RaceOptions,
  images: ImageList,
  scored: readonly string[],
  perImage: number,
  allLabels: boolean,
): number {
  const [first = 0, all = first] = [ends[0], ends.at(-1)];
  const winners = Math.ceil(top / perImage);
  const counts = allLabels ? [images.length] : [...images.countByLabel().values()];
  const wanted = allLabels ? winners * scored.length : winners;
  return counts.reduce((sum, count) => {
    const survivors = Math.min(count, Math.max(wanted, Math.ceil(controls * count)));
    return sum + count * first + survivors * (all - first);
  }, 0);
}

/** UNet calls a second of one engine, on a grey image of the largest shape (what is in it makes no difference to the time). */
async function calibrate(
  { model, dataset, images, contrasts, devices: [device], draft }: Resolved,
  shape: Shape,
  options: Pick<EstimateOptions, 'threads'>,
  { signal }: Hooks<ScanEvent>,
): Promise<number> {
  const { batch, dtype, patch, perImage, tBegin, tEnd, sampler, seed } = draft.options;
  const call = { signal };
  const engine = new Engine({ device: device.id, dtype, threads: options.threads ?? 0 });
  try {
    await engine.loadModel(model.source, call);
    const label = images.label(0);
    const conditions = await prepareConditions(engine, model, [...dataset.labels, ''], call);
    const contrast = contrasts.of(label);
    if (!contrast) throw new DiffmineError('DATASET_INVALID', 'There is no image to calibrate with.');
    const { height, width } = shape;
    const pixels = new Uint8Array(height * width * 3).fill(128);
    const perPass = Math.max(1, Math.floor(batch / contrasts.fanOut));
    const time = async (samples: number): Promise<number> => {
      const begun = performance.now();
      const input = {
        images: [{ pixels, height, width }],
        conditions: [perSample(contrast) ? (contrast.conditions[0] ?? []) : contrast.conditions] as number[][],
        subjects: [contrast.subjects],
        weights: [contrast.weights],
        keys: [0],
      };
      await engine.scoreTypicality(
        conditions,
        input,
        { samples, seed, tBegin, tEnd, sampler, patch, perImage, batch, keepMaps: false },
        call,
      );
      return (performance.now() - begun) / 1000;
    };
    await time(perPass);
    const samples = CALIBRATION_PASSES * perPass;
    return (samples * contrasts.fanOut) / (await time(samples));
  } finally {
    await engine.dispose();
  }
}
