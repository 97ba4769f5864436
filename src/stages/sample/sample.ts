// Samples images: DDIM with guidance for each label, one folder of PNGs per label, and a grid.
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import sharp from 'sharp';
import { asDiffmineError, DiffmineError } from '../../util/errors.js';
import { nullCondition, prepareConditions } from '../../models/index.js';
import { Engine } from '../../engine/index.js';
import type { Image } from '../../engine/types.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import { autoBatch, unetShape } from '../../pipeline/batch.js';
import { sampleDdim, type Denoise } from '../../models/ddim.js';
import { channelsOf } from '../../models/denoiser.js';
import { toImages } from '../../models/images.js';
import {
  labelFolder,
  mergedRecord,
  recordRequest,
  resolveRequest,
  GRID,
  type SampledLabel,
  type SampleRequest,
  type SampleSettings,
} from './request.js';
import type { SampleOptions } from './options.js';
import { writeGrid } from '../../models/grid.js';
import type { Hooks, Progress } from '../../util/hooks.js';
import { count, duration, whole } from '../../web/html.js';
import { rateOfCpu } from '../../pipeline/computed-rate.js';
import { secondsAt, type Plan } from '../../pipeline/plan.js';
import { knownRate, rateKey, rememberRate } from '../../pipeline/remembered-rates.js';
import { makeFolder } from '../../util/paths.js';

/** The grid shows the first labels and the first images of each: it is there to be looked at. */
const SHEET_ROWS = 40;
const SHEET_COLUMNS = 16;

/** Seconds that a rate is measured over, at least, to be remembered; times shorter than `SHORT` seconds are not worth telling. */
const [MEASURED, SHORT] = [5, 1];

/** Stages "load" (tensors) and "sample" (steps of images). */
export type SampleEvent = Progress;

export interface SampleSummary {
  /** of the folder of images, absolute */
  path: string;
  grid: string;
  options: SampleSettings;
  /** in the grid's order */
  labels: { label: string; folder: string; images: number }[];
  /** images sampled now, and images that existed before */
  made: number;
  kept: number;
  batch: number | null;
  device: string;
  seconds: number;
}

/** Image `number` of a label. */
interface Item {
  label: number;
  number: number;
}

/**
 * Samples images of each label, DIR/LABEL/00000.png and so on; existing images of the same request are kept. Image i of a label
 * depends only on model, options and i (the batch changes only the rounding), and starts from the same noise for every label.
 *
 * @throws RUN_MISMATCH if the folder holds another request's images; before work begins, INVALID_ARGUMENT, MODEL_*, DEVICE_UNAVAILABLE;
 * CANCELLED after hooks.signal (finished images are kept); NUMERICS, OUT_OF_MEMORY, IO
 */
export async function sample(options: SampleOptions, hooks: Hooks<SampleEvent> = {}): Promise<SampleSummary> {
  const begun = performance.now();
  const request = await resolveRequest(options, hooks);
  const { record, device } = request;
  const { labels } = record;
  if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Sampling was cancelled before it began.');
  const out = resolve(options.out);
  await makeFolder(out);
  await recordRequest(out, options.out, request);

  for (const { folder } of labels) await makeFolder(join(out, folder));
  const todo = await missing(out, labels);
  const all = labels.reduce((sum, { images }) => sum + images, 0);
  const batch = todo.length > 0 ? await make(request, out, todo, hooks) : null;

  const grid = join(out, GRID);
  await writeGrid(grid, await Promise.all(labels.slice(0, SHEET_ROWS).map(async (label) => gridRow(out, label))));
  if (labels.length > SHEET_ROWS) hooks.onLog?.(`The grid shows the first ${SHEET_ROWS} of ${labels.length} labels.`);
  return {
    path: out,
    grid,
    options: record.options,
    labels: labels.map(({ label, folder, images }) => ({ label, folder: join(out, folder), images })),
    made: todo.length,
    kept: all - todo.length,
    batch,
    device: device.id,
    seconds: (performance.now() - begun) / 1000,
  };
}

/** What `sample` would do. @throws as `sample` before work begins */
export async function planSample(options: SampleOptions, hooks: Hooks<SampleEvent> = {}): Promise<Plan> {
  const request = await resolveRequest(options, hooks);
  const { record, model, device, threads } = request;
  const out = resolve(options.out);
  await mergedRecord(out, options.out, request);
  const all = record.labels.reduce((sum, { images }) => sum + images, 0);
  const todo = await missing(out, record.labels);
  const { size, inferenceSteps: steps, dtype, device: kind } = record.options;
  const shape = unetShape(size, size, model.vaeFactor, model.fold);
  const fanOut = conditionsOf(record.options);
  const sized = { source: model.source, shape, dtype, device: kind, fanOut, workers: 1 };
  const weights = model.summary().parameters * (dtype === 'fp32' ? 4 : 2);
  const batch =
    request.batch === 'auto' ? autoBatch({ ...sized, available: device.memoryFree - weights }) : request.batch;
  const known = await knownRate(sampleKey(request, batch));
  const rate: Plan['rate'] =
    known !== undefined
      ? { perSecond: known, from: 'earlier' }
      : device.id === 'cpu'
        ? { perSecond: rateOfCpu(model, shape, dtype, threads || undefined), from: 'computed' }
        : null;
  const calls = todo.length * steps * fanOut;
  return {
    dryRun: true,
    path: out,
    item: 'image',
    items: { total: all, done: all - todo.length },
    shards: null,
    unit: 'UNet call',
    calls,
    atMost: false,
    rate,
    seconds: secondsAt(calls, rate),
    disk: all * 3 * size ** 2, // before PNG makes it smaller
    ...{ dtype, batch, device: device.id },
    reuses: [],
    writes: ['samples.json', 'a folder per label', GRID],
  };
}

/** Images that are not there yet. */
async function missing(out: string, labels: readonly SampledLabel[]): Promise<Item[]> {
  const todo: Item[] = [];
  for (const [label, { folder, images }] of labels.entries()) {
    const there = new Set(await readdir(join(out, folder)).catch(() => []));
    for (let number = 0; number < images; number++) if (!there.has(fileName(number))) todo.push({ label, number });
  }
  return todo;
}

/** UNet calls of a step: with guidance also under the null condition. */
const conditionsOf = ({ guidanceScale }: Pick<SampleSettings, 'guidanceScale'>): number =>
  guidanceScale === 1 || guidanceScale === 0 ? 1 : 2;

/** What the rate of sampling depends on. */
export function sampleKey(
  { model, device, record, threads }: Pick<SampleRequest, 'model' | 'device' | 'record' | 'threads'>,
  batch: number,
): string {
  const { format, options } = record;
  return rateKey({ format, options: { ...options, batch }, model, devices: [device] }, { threads });
}

/** @returns the batch: UNet calls per forward pass */
async function make(
  { model, device, record, batch: asked, threads }: SampleRequest,
  out: string,
  todo: Item[],
  hooks: Hooks<SampleEvent>,
): Promise<number> {
  const {
    size,
    inferenceSteps: steps,
    guidanceScale: guidance,
    seed,
    dtype,
    device: kind,
    nullPrompt,
  } = record.options;
  const engine = new Engine({ device: device.id, dtype, threads });
  try {
    const call = { signal: hooks.signal };
    await engine.loadModel(model.source, {
      ...call,
      onProgress: (event) => event.type === 'load' && hooks.onProgress?.(event),
    });
    const conditions = await prepareConditions(
      engine,
      model,
      [...record.labels.map(({ label, prompt }) => prompt ?? label), nullCondition(nullPrompt)],
      call,
    );
    const denoise: Denoise = async (x, timesteps, conditionIndex) =>
      (await engine.unetForward(conditions, { x, timesteps, conditionIndex }, call)).sample;

    const shape = unetShape(size, size, model.vaeFactor, model.fold);
    const perImage = conditionsOf(record.options);
    const sized = {
      source: model.source,
      shape,
      dtype,
      device: kind,
      fanOut: perImage,
      available: engine.memory().available,
      workers: 1,
    };
    let batch = asked === 'auto' ? autoBatch(sized) : asked;
    const fixed = {
      steps,
      guidance,
      seed,
      nullRow: record.labels.length,
      spacing: model.timestepSpacing,
      shape: [channelsOf(model.source), shape.rows, shape.columns],
    };
    const unetCalls = todo.length * steps * perImage;
    const key = sampleKey({ model, device, record, threads }, batch);
    const rate = await knownRate(key);
    const time =
      rate === undefined || unetCalls / rate < SHORT
        ? ''
        : `, about ${duration(unetCalls / rate)} at the last rate measured here`;
    hooks.onLog?.(
      `Sampling ${count(todo.length, 'image')} of ${size} x ${size} px, ${steps} steps with guidance ${guidance}: ${whole(unetCalls)} UNet calls on ${device.id}${time}.`,
    );
    const started = performance.now();
    for (let begin = 0; begin < todo.length;) {
      const items = todo.slice(begin, begin + Math.max(1, Math.floor(batch / perImage)));
      const onProgress = ({ done }: Progress): void =>
        hooks.onProgress?.({ type: 'sample', done: begin * steps + done, total: todo.length * steps });
      try {
        const x0 = await sampleDdim(
          model.source.schedule,
          { ...fixed, rows: items.map(({ label }) => label), samples: items.map(({ number }) => number), batch },
          denoise,
          { ...call, onProgress },
        );
        const images = await toImages(engine, model, x0, call);
        for (const [i, { label, number }] of items.entries())
          await writeImage(join(out, labelFolder(record.labels[label]?.label ?? ''), fileName(number)), images[i]);
      } catch (thrown) {
        if (asDiffmineError(thrown).code !== 'OUT_OF_MEMORY' || batch === 1) throw thrown;
        batch = Math.floor(batch / 2);
        hooks.onLog?.(`Memory ran out: resuming a batch of ${batch}.`);
        continue;
      }
      begin += items.length;
    }
    const seconds = (performance.now() - started) / 1000;
    if (seconds >= MEASURED) await rememberRate(key, unetCalls / seconds);
    return batch;
  } finally {
    await engine.dispose();
  }
}

function fileName(number: number): string {
  return `${String(number).padStart(5, '0')}.png`;
}

async function writeImage(file: string, image: Image | undefined): Promise<void> {
  if (!image) throw new DiffmineError('INTERNAL', `There is no image for ${file}.`);
  const { pixels, width, height } = image;
  await writeFileAtomic(
    file,
    await sharp(pixels, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer(),
  );
}

/** From the files: most of them may be of an earlier call. */
async function gridRow(out: string, { folder, images }: SampledLabel): Promise<Image[]> {
  const row: Image[] = [];
  for (let number = 0; number < Math.min(images, SHEET_COLUMNS); number++) {
    const file = join(out, folder, fileName(number));
    try {
      const { data, info } = await sharp(file)
        .toColourspace('srgb')
        .removeAlpha()
        .raw()
        .toBuffer({ resolveWithObject: true });
      row.push({ pixels: data, width: info.width, height: info.height });
    } catch (cause) {
      throw new DiffmineError(
        'IMAGE_UNREADABLE',
        `${file} cannot be read.`,
        'Remove it and run the same command again.',
        { cause },
      );
    }
  }
  return row;
}
