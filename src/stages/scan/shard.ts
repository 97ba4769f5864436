// One shard: its images measured, grouped by shape, decoded ahead and scored.
import {
  measureImage,
  prefetch,
  readImage,
  scoredSize,
  type DatasetImage,
  type Fetched,
  type ImageList,
  type ReadImage,
  type SizeOptions,
} from '../../data/index.js';
import { imagesPerCall } from '../../pipeline/batch.js';
import type { ShardContext, ShardCounts } from '../../pipeline/stage.js';
import { DiffmineError, reasonAlone } from '../../util/errors.js';
import type { Conditions, Engine } from '../../engine/index.js';
import type { Tensor, TypicalityInput, TypicalityOutput } from '../../engine/types.js';
import { contentOf } from '../../data/checksums.js';
import { randomKey } from '../../runs/fingerprint.js';
import { listedImage } from '../../runs/images.js';
import type { Replay } from '../../runs/replay.js';
import type { Run } from '../../runs/run.js';
import { conditionsOf, perSample, unetCallsOf, type Contrast, type ContrastPlan } from './contrasts.js';
import { collect, writeShard, type Outcome } from './write-shard.js';

/** Bytes of decoded pixels that one engine call may hold. */
const CALL_BYTES = 256 * 2 ** 20;
/** Images of one engine call that denoises only a few of the samples, as in the first rounds of a race: more fill a forward pass. */
const ROUND_IMAGES = 64;

/** What shards are scored with. */
export interface Scoring {
  run: Run;
  engine: Engine;
  conditions: Conditions;
  contrasts: ContrastPlan;
  sizes: SizeOptions;
  replay: Replay | undefined;
  /** of the samples, with mean 1; undefined where all are equal */
  weights: number[] | undefined;
  /** of the run, in order */
  images: ImageList;
}

export type ScoringContext = Scoring & ShardContext;

/** Images that are scored together, and with which of the samples. */
export interface Task {
  /** places in the run's list */
  places: readonly number[];
  /** [begin, end) of the samples */
  samples: readonly [begin: number, end: number];
  /** what the samples before found of images by their index in `places`, for an engine call: F32 [B, begin, M, h', w'] */
  earlier?: (indexes: readonly number[]) => Tensor;
  /** keep what each sample finds */
  keepDifferences?: boolean;
}

/** What the engine found of one image. */
export interface Found {
  outputs: TypicalityOutput[];
  /** F32 [samples of this task, M, h', w'] */
  differences?: Tensor;
}

export interface Item {
  /** in the task's places */
  index: number;
  image: DatasetImage;
  contrast: Contrast;
  width: number;
  height: number;
}

/**
 * Scores a shard and writes it.
 *
 * @throws NUMERICS naming the image; OUT_OF_MEMORY where the batch does not fit; CANCELLED
 */
export async function scoreShard(scoring: Scoring, shard: number, context: ShardContext): Promise<ShardCounts> {
  const { batch, notes } = context;
  const [begin, end] = scoring.run.shardRange(shard);
  const task: Task = {
    places: Array.from({ length: end - begin }, (_, index) => begin + index),
    samples: [0, scoring.run.manifest.options.samples],
  };
  const outcome = await scoreImages({ ...scoring, ...context }, task, (item, decoded, { outputs }) =>
    collect(scoring, item, decoded, outputs, scoring.run.manifest.options.samples),
  );
  return writeShard(scoring.run, shard, outcome, { batch, notes });
}

/** The images at these places of the run's list, with the files that they are today. */
export async function imagesAt(
  { run, images }: Pick<Scoring, 'run' | 'images'>,
  places: readonly number[],
): Promise<DatasetImage[]> {
  const { columns } = run.manifest.dataset;
  const all: DatasetImage[] = [];
  for (const place of places) {
    const [row] = await run.list.read(place, place + 1);
    if (!row) throw new DiffmineError('INTERNAL', `The run has no image ${place}.`);
    const { path, label, extra } = listedImage(row, columns);
    const found = images.at(place);
    if (found.path !== path || found.label !== label)
      throw new DiffmineError('INTERNAL', `The image ${path} of the run is no longer in the dataset.`);
    delete found.extra; // further columns are those of the run's start
    all.push({ ...found, ...(extra ? { extra } : {}) });
  }
  return all;
}

/** Scores the images of a task; `take` makes of each what is kept until all are scored. */
export async function scoreImages<T>(
  context: ScoringContext,
  task: Task,
  take: (item: Item, decoded: ReadImage, found: Found) => T,
): Promise<Outcome<T>> {
  const { meter, contrasts, replay, signal, sizes, batch } = context;
  const samples = task.samples[1] - task.samples[0];
  const most = samples < context.run.manifest.options.samples ? ROUND_IMAGES : undefined;
  const reasons = new Map<number, string>();
  const images = await imagesAt(context, task.places);
  const contents = new Map<number, string | null>();
  const skip = (index: number, image: DatasetImage, error: DiffmineError): void => {
    reasons.set(index, reasonAlone(error));
    meter.drop(samples * unetCallsOf(contrasts, [image]));
    meter.image(image.path, reasonAlone(error));
  };

  const perCall = ({ image, width, height, contrast }: Item): number => {
    const fitting = Math.max(1, Math.floor(CALL_BYTES / (3 * width * height)));
    const alone = replay?.isOwn(image.path) === true;
    return alone ? 1 : Math.min(fitting, imagesPerCall(batch, samples, contrast.calls, most));
  };
  const measured = prefetch(
    images.entries(),
    async ([index, image]) => measure(index, image, context),
    () => 0,
    { signal },
  );

  const scored = new Map<number, T>();
  const scoreCall = async (ready: { item: Item; decoded: ReadImage }[]): Promise<void> => {
    const found = await score(context, task, ready);
    ready.forEach(({ item, decoded }, b) => {
      scored.set(item.index, take(item, decoded, found[b] as Found));
      meter.image(item.image.path);
    });
  };
  // While the engine scores one call the next waits in its queue: a GPU does not stand still until this thread has read results and images.
  const running: Promise<void>[] = [];
  const read = async ({ index, image }: Item): Promise<ReadImage> => {
    const [decoded, sha256] = await Promise.all([readImage(image.file, sizes), contentOf(image.file)]);
    contents.set(index, sha256);
    return decoded;
  };
  const calls = callsOf(measured, perCall, skip);
  const ahead = prefetch(
    eachOf(calls),
    async ({ item }) => read(item),
    ({ pixels }) => pixels.byteLength,
    { signal },
  );
  try {
    let ready: { item: Item; decoded: ReadImage }[] = [];
    for await (const { item: next, value, error } of ahead) {
      if (error) skip(next.item.index, next.item.image, error);
      else ready.push({ item: next.item, decoded: value });
      if (!next.last || ready.length === 0) continue;
      const call = scoreCall(ready);
      call.catch(() => undefined); // heard below, in its turn
      running.push(call);
      ready = [];
      if (running.length > 1) await running.shift();
    }
    await Promise.all(running);
  } finally {
    await Promise.allSettled(running);
  }
  const hashes: (string | null)[] = [];
  for (const [index, { file }] of images.entries())
    hashes.push(contents.has(index) ? (contents.get(index) ?? null) : await contentOf(file));
  return { images, scored, reasons, contents: hashes };
}

/**
 * Images of the same shape in calls, each as soon as it is full. Which images share a call follows from their order alone: results do not depend on how fast they
 * are read.
 */
async function* callsOf(
  measured: AsyncIterable<Fetched<[number, DatasetImage], Item>>,
  perCall: (item: Item) => number,
  skip: (index: number, image: DatasetImage, error: DiffmineError) => void,
): AsyncGenerator<Item[], void, undefined> {
  const open = new Map<string, Item[]>();
  for await (const { item: place, value: item, error } of measured) {
    if (error) {
      skip(...place, error);
      continue;
    }
    const { width, height, contrast } = item;
    const most = perCall(item);
    const key = JSON.stringify([width, height, contrast.calls, contrast.subjects.length, perSample(contrast), most]);
    const call = [...(open.get(key) ?? []), item];
    if (call.length < most) open.set(key, call);
    else {
      open.delete(key);
      yield call;
    }
  }
  yield* open.values();
}

/** @returns each image, and whether it is the last one of its call */
async function* eachOf(calls: AsyncIterable<Item[]>): AsyncGenerator<{ item: Item; last: boolean }, void, undefined> {
  for await (const call of calls) for (const [i, item] of call.entries()) yield { item, last: i === call.length - 1 };
}

async function measure(index: number, image: DatasetImage, { sizes, contrasts }: Scoring): Promise<Item> {
  const contrast = contrasts.of(image.label);
  if (!contrast)
    throw new DiffmineError('INTERNAL', `The image ${image.path} has the label of \`against\`, so it is not scored.`);
  const { width, height } = scoredSize(await measureImage(image.file), sizes);
  return { index, image, contrast, width, height };
}

/** One engine call. [B] */
async function score(
  context: ScoringContext,
  task: Task,
  ready: { item: Item; decoded: ReadImage }[],
): Promise<Found[]> {
  const { run, engine, conditions, replay, weights, meter, signal, batch } = context;
  const { samples, seed, tBegin, tEnd, sampler, loss, patch, perImage, maps } = run.manifest.options;
  const input: TypicalityInput = {
    images: ready.map(({ decoded: { pixels, width, height } }) => ({ pixels, width, height })),
    conditions: conditionsOf(ready.map(({ item }) => item.contrast)),
    subjects: ready.map(({ item }) => item.contrast.subjects),
    weights: ready.map(({ item }) => item.contrast.weights),
    keys: ready.map(({ item }) => randomKey(item.image.path)),
    ...(replay && ready[0] ? replay.scoring(ready[0].item.image.path) : {}),
    ...(task.earlier ? { earlier: task.earlier(ready.map(({ item }) => item.index)) } : {}),
  };
  const [begin, end] = task.samples;
  let told = 0;
  try {
    const { outputs, differences } = await engine.scoreTypicality(
      conditions,
      input,
      {
        ...{ samples, seed, tBegin, tEnd, sampler, patch, perImage, batch, keepMaps: maps },
        ...(loss ? { loss } : {}),
        ...(weights ? { sampleWeights: weights } : {}),
        ...(end - begin < samples ? { sampleRange: task.samples } : {}),
        ...(task.keepDifferences ? { keepDifferences: true } : {}),
      },
      {
        signal,
        onProgress: ({ type, done }) => {
          if (type !== 'score') return;
          meter.add(done - told);
          told = done;
        },
      },
    );
    meter.add(
      (end - begin) *
        unetCallsOf(
          context.contrasts,
          ready.map(({ item }) => item.image),
        ) -
        told,
    );
    return outputs.map((of, b) => ({
      outputs: of,
      ...(differences ? { differences: row(differences, b) } : {}),
    }));
  } catch (error) {
    meter.add(-told);
    if (!(error instanceof DiffmineError && error.code === 'NUMERICS')) throw error;
    if (ready.length > 1) for (const one of ready) await score(context, task, [one]); // throws at the one that is to blame
    const names = ready.map(({ item }) => item.image.path).join(', ');
    throw new DiffmineError(
      'NUMERICS',
      `Scoring ${names} gave NaN or infinite values.`,
      error.hint ?? 'Try `dtype` fp32. If that does not help, the model is damaged.',
      { cause: error },
    );
  }
}

/** Row b of a tensor [B, ...]. */
function row({ dtype, shape: [count = 1, ...shape], data }: Tensor, b: number): Tensor {
  const bytes = data.byteLength / count;
  return { dtype, shape, data: data.subarray(b * bytes, (b + 1) * bytes) };
}
