// What is estimated: a scan of a given model and dataset, or of a known architecture.
import { ofLabels, type ImageList } from '../../data/index.js';
import { distinctLabels } from '../../data/labels.js';
import type { Dtype, ModelSource } from '../../engine/types.js';
import { partOf, resolved, type Given } from '../../options/check.js';
import { autoBatch, encodeBytes, isAuto, rowBytes, shapeOf, unetShape, type Shape } from '../../pipeline/batch.js';
import { enginesTogether } from '../../pipeline/devices.js';
import { check, heldOutOf, imagesOf, presetOptions } from '../../pipeline/resolve.js';
import type { RaceOptions } from '../../runs/manifest.js';
import { VERSION } from '../../util/version.js';
import { planContrasts, type ContrastPlan } from '../../stages/scan/contrasts.js';
import { SCAN, type ScanEvent, type ScanOptions } from '../../stages/scan/options.js';
import { raceOptions } from '../../stages/scan/race-options.js';
import { labelsToScan, rivalOf } from '../../stages/scan/against.js';
import { resolveOptions, type Resolved } from '../../stages/scan/resolve.js';
import { cached } from '../../models/hub/hub.js';
import { hubIdOf } from '../../models/index.js';
import { byteSize } from '../../util/bytes.js';
import { count } from '../../web/html.js';
import { planModel } from '../pull/pull.js';
import { DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';
import { architecture, type Architecture } from './architectures.js';
import { isCard, machineOf, type Machine } from './machine.js';
import { CARDS } from './machines.js';
import type { ESTIMATE } from './options.js';

export type Asked = Given<typeof ESTIMATE>;
/** As the option's description says. */
const LABELS = 10;

type Counts = Pick<ImageList, 'length' | 'countByLabel'>;

export interface Subject extends Machine {
  title: string;
  images: Counts;
  labels: number;
  contrasts: Pick<ContrastPlan, 'fanOut' | 'scored' | 'of'>;
  samples: number;
  perImage: number;
  allLabels: boolean;
  maps: boolean;
  race: RaceOptions | undefined;
  needsPilot: boolean;
  /** images */
  /** undefined: for a minute */
  shardSize: number | undefined;
  source: Pick<ModelSource, 'unet' | 'vae'>;
  parameters: number;
  fold: number;
  shape: Shape;
  batch: number;
  /** engines that share the memory of a device */
  engines: number;
  notes: string[];
  /** of a scan of a given model and dataset */
  scan?: Resolved;
}

export async function subjectOf(asked: Asked, hooks: Hooks<ScanEvent>): Promise<Subject> {
  return asked.like === undefined ? atHand(asked, hooks) : known(asked, architecture(asked.like), hooks);
}

async function atHand(asked: Asked, hooks: Hooks<ScanEvent>): Promise<Subject> {
  const { device } = asked;
  for (const key of ['dataset', 'model'] as const)
    check(asked[key] !== undefined, `\`${key}\` is missing.`, 'Give it, or `like` and `images`.');
  for (const key of ['images', 'labelCount'] as const)
    check(asked[key] === undefined, `\`${key}\` does not apply without \`like\`.`, 'Give `like`, or leave it out.');
  if (isCard(device))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`device\` ${device} is not a device of this machine.`,
      'Estimate for it with `like`, or give auto, cpu, cuda or cuda:N.',
    );
  const id = hubIdOf(asked.model ?? '', asked);
  if (id && !(await cached(id, { t5: asked.t5 }))) {
    const { model, files, missing } = await planModel(id, asked.t5, { signal: hooks.signal });
    throw new DiffmineError(
      'MODEL_INVALID',
      `The model ${model} is not in the cache: ${count(files.length, 'file')}, ${byteSize(missing)} to download.`,
      `Download it first with diffmine pull ${model}, or estimate with \`like\`, which needs no model.`,
    );
  }
  const options = partOf(SCAN.omit({ out: true, shard: true }), asked) as Omit<ScanOptions, 'out'>;
  const scan = await resolveOptions(options, VERSION, hooks);
  const { draft, devices, sizes, contrasts } = scan;
  const { samples, perImage, allLabels, maps, race, dtype, batch } = draft.options;
  const shape = await shapeOf(scan.dataset.images, sizes, scan.model);
  return {
    title: scan.model.path,
    images: scan.images,
    labels: scan.dataset.labels.length,
    contrasts,
    samples,
    perImage,
    allLabels,
    maps,
    race,
    needsPilot: scan.needsPilot,
    shardSize: isAuto(asked.shardSize) ? undefined : scan.draft.options.shardSize,
    source: scan.model.source,
    parameters: scan.model.summary().parameters,
    fold: scan.model.fold,
    shape,
    device: devices[0].id,
    dtype,
    batch,
    engines: enginesTogether(devices, asked),
    available: Math.min(...devices.map(({ memoryFree }) => memoryFree)),
    notes: [],
    scan,
  };
}

async function known(asked: Asked, like: Architecture, hooks: Hooks<ScanEvent>): Promise<Subject> {
  const schema = SCAN.omit({ out: true, shard: true, device: true }).partial({ dataset: true, model: true });
  const options = resolved(schema, partOf(schema, asked), presetOptions(asked.preset));
  const { samples, perImage, allLabels, maps, othersPerSample, seed, tRange, tWeights, holdout = 0 } = options;
  const all = await countsOf(asked, holdout);
  const labels = [...all.countByLabel().keys()];
  const against = rivalOf(options.against, labels);
  const contrasts = planContrasts(labels, { against, othersPerSample, samples, seed }, allLabels);
  const images = countsIn([...all.countByLabel()].filter(([label]) => contrasts.of(label) !== undefined));
  const race = raceOptions(options, { images, scored: contrasts.scored, samples, allLabels }, hooks.onLog);
  const side = options.size === 'source' || options.size === undefined ? like.sampleSize : options.size;
  const shape = unetShape(side, side, like.vaeFactor, like.fold);
  const machine = machineOf(asked, options.dtype);
  const { dtype, available } = machine;
  const weights = like.parameters * (dtype === 'fp32' ? 4 : 2);
  const batch =
    options.batch !== 'auto'
      ? options.batch
      : autoBatch({
          source: like.source as ModelSource,
          shape,
          dtype,
          device: machine.device === 'cpu' ? 'cpu' : 'cuda',
          fanOut: contrasts.fanOut,
          // without a device: as little as there can be
          available: (available ?? weights) - weights,
          workers: 1,
        });
  return {
    title: like.title,
    images,
    labels: labels.length,
    contrasts,
    samples,
    perImage,
    allLabels,
    maps,
    race,
    needsPilot: tRange === 'auto' || tWeights !== 'none',
    shardSize: options.shardSize === 'auto' ? undefined : options.shardSize,
    source: like.source,
    parameters: like.parameters,
    fold: like.fold,
    shape,
    batch,
    engines: 1,
    ...machine,
    notes: [like.note, halfNote(asked)].filter((note) => note !== undefined),
  };
}

/** The images of a dataset that the scan would take, or as many as are asked for, in equal labels. `chosen`: the labels that `labels` names. */
async function countsOf(asked: Asked, holdout: number): Promise<Counts> {
  const { dataset, images } = asked;
  if (images === undefined) {
    if (dataset === undefined)
      throw new DiffmineError('INVALID_ARGUMENT', '`images` is missing.', 'Give the number of images, or a dataset.');
    const complete = await imagesOf({ ...asked, dataset });
    const known = holdout > 0 ? heldOutOf(complete, holdout) : complete;
    const chosen = asked.labels && labelsToScan(known, asked.labels);
    return (chosen ? ofLabels(known, chosen) : known).images;
  }
  check(dataset === undefined, '`images` and `dataset` contradict each other.', 'Give one of them.');
  const chosen = asked.labels && labelsIn(asked.labels);
  const { labelCount = chosen?.length ?? Math.min(LABELS, images) } = asked;
  check(
    labelCount <= images,
    `${count(labelCount, 'label')} are more than ${count(images, 'image')}.`,
    'Give a smaller `labelCount`.',
  );
  const used = holdout > 0 ? Math.max(labelCount, Math.round(holdout * images)) : images;
  const counts = Array.from({ length: labelCount }, (_, i): [string, number] => [
    chosen?.[i] ?? `label ${i + 1}`,
    Math.floor((used + i) / labelCount),
  ]);
  return countsIn(counts);
}

/** Without a dataset, no label is known to hold a comma. */
function labelsIn(asked: readonly string[]): string[] {
  const labels = asked
    .flatMap((value) => value.split(',').map((label) => label.trim()))
    .filter((label) => label !== '');
  check(labels.length > 0, '`labels` names no label.', 'Name the labels, with commas between.');
  return distinctLabels(labels);
}

function countsIn(counts: readonly [label: string, images: number][]): Counts {
  const byLabel = new Map(counts);
  return { length: counts.reduce((sum, [, images]) => sum + images, 0), countByLabel: () => byLabel };
}

/** What fp16 would save, where a GPU computes in fp32 only because its ranking in fp16 is not measured. */
function halfNote({ device, dtype = 'auto' }: Asked): string | undefined {
  if (!isCard(device) || dtype !== 'auto') return undefined;
  const { half, fp32 } = CARDS[device].peak;
  return `\`dtype\` auto is fp32 on a GPU, because the ranking in fp16 is not measured there yet. By the card's peaks fp16 would be ${Math.round(half / fp32)} times faster.`;
}

/** Bytes of weights and activations, with a batch. */
export function memoryOf(
  { source, shape, parameters, engines }: Subject,
  dtype: Dtype,
  batch: number,
): { weights: number; activations: number } {
  return {
    weights: engines * parameters * (dtype === 'fp32' ? 4 : 2),
    activations: engines * (batch * rowBytes(source, shape, dtype) + encodeBytes(source as ModelSource, shape)),
  };
}
