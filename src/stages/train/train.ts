// `train`: fine-tunes the UNet of a model, or trains a small model from scratch, and writes a model folder.
//
//   OUT/train.json         settings, data, state          OUT/metrics.jsonl   loss of every step, validations, grids
//   OUT/checkpoints/       the last few, and the best      OUT/samples/        grids of sampled images
//   OUT/cache/             latents and text embeddings     OUT/train-report.html
//   OUT/model_index.json, unet/, scheduler/, ...           the model, once the training is done
//
// A step is a function of the seed, its number and the weights before it: so an interrupted training resumes exactly.
import { existsSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { datasetNotes, openDataset } from '../../data/index.js';
import { distinctLabels } from '../../data/labels.js';
import { prefetch, type Fetched } from '../../data/prefetch.js';
import { asDiffmineError, DiffmineError } from '../../util/errors.js';
import { Engine, readSafetensors, writeSafetensors, type Trainer } from '../../engine/index.js';
import { elements, fromFloat32 } from '../../engine/tensor.js';
import type { Tensor, TrainingBatch } from '../../engine/types.js';
import { discard } from '../../runs/atomic.js';
import { chooseTrainingDevice } from '../../runs/device.js';
import { sha256 } from '../../util/sha256.js';
import { LockFolder, nameOf } from '../../runs/locks.js';
import { writeLora, type Base } from './base.js';
import { Checkpoints } from './checkpoints.js';
import { Journal, LossWatch, type Metric } from './journal.js';
import type { TrainEvent, TrainOptions, TrainSettings, TrainSummary } from './options.js';
import { openCrops, type Crops } from './images.js';
import {
  changed,
  newRecord,
  openTraining,
  readRecord,
  RECORD,
  resolveSteps,
  writeRecord,
  type TrainRecord,
} from './record.js';
import { writeTrainReport } from './report.js';
import { drawGrid } from './grid.js';
import { Order, validationOf } from './split.js';
import type { Hooks } from '../../util/hooks.js';

/** Maximum number of validation images. */
const MOST_VALIDATED = 512;
/** Key of the fixed noise of validation. */
const VALIDATION_KEY = 0x76616c69;

/** The training and validation images, and the labels. */
interface Data {
  labels: string[];
  crops: Crops;
  /** row of conditions of each usable image */
  rows: number[];
  /** indices into the usable images */
  training: number[];
  validation: number[];
  fingerprint: string;
}

/**
 * Trains.
 *
 * @throws INVALID_ARGUMENT, DATASET_INVALID, RUN_MISMATCH, and what opening and loading a model throws; NUMERICS if the training diverges: its checkpoints are kept;
 *   CANCELLED after hooks.signal, once the current step is saved
 */
export async function train(options: TrainOptions, hooks: Hooks<TrainEvent> = {}): Promise<TrainSummary> {
  const opened = await openTraining(options);
  const { folder, base } = opened;
  await mkdir(join(folder, 'locks'), { recursive: true });
  const locks = new LockFolder(join(folder, 'locks'));
  const lock = await locks.acquire('train');
  if (lock) opened.record = (await readRecord(folder)) ?? opened.record; // an earlier owner may have continued the training
  if (!lock)
    throw new DiffmineError(
      'RUN_MISMATCH',
      `${options.out} is being trained by ${nameOf(await locks.holder('train'))}.`,
      'Wait for it, or give `out` another folder.',
    );
  try {
    await removeTemporaries(folder);
    const { dtype, loraRank } = opened.settings;
    const device = chooseTrainingDevice(options.device ?? 'auto', dtype);
    const engine = new Engine({
      device: device.id,
      dtype,
      ...(options.threads === undefined ? {} : { threads: options.threads }),
    });
    try {
      if (base.encoder)
        await engine.loadModel(base.encoder, {
          ...signalOf(hooks),
          onProgress: ({ done, total }) => hooks.onProgress?.({ type: 'load', done, total }),
        });
      const data = await prepare(opened.settings, opened.record, folder, base, engine, hooks);
      const settings = resolveSteps(opened, data.training.length);
      const conditions = await conditionsOf(base, engine, data.labels, settings, folder);
      const source = base.start(data.labels, settings.seed);
      const { trainTimesteps } = source.schedule;
      const trainer = await engine.createTrainer(
        source,
        conditions,
        {
          seed: settings.seed,
          learningRate: settings.learningRate,
          lrSchedule: settings.lrSchedule,
          warmup: settings.warmupSteps,
          totalSteps: settings.steps,
          weightDecay: settings.weightDecay,
          tBegin: Math.round(settings.trainTRange[0] * trainTimesteps),
          tEnd: Math.round(settings.trainTRange[1] * trainTimesteps),
          wideFraction: settings.wide,
          checkpointing: settings.gradientCheckpointing,
          ...(settings.maxGradNorm > 0 && { maxGradientNorm: settings.maxGradNorm }),
          ...(settings.ema > 0 && { emaDecay: settings.ema }),
          ...(settings.minSnr > 0 && { minSnr: settings.minSnr }),
          ...(loraRank > 0 && { lora: { rank: loraRank, alpha: settings.loraAlpha } }),
        },
        signalOf(hooks),
      );
      try {
        const { all, trained } = await trainer.parameters();
        const facts = {
          dataset: {
            path: settings.dataset,
            fingerprint: data.fingerprint,
            labels: data.labels.map((label, row) => ({
              label,
              training: countOf(data.training, data.rows, row),
              validation: countOf(data.validation, data.rows, row),
            })),
          },
          model: {
            from: settings.from,
            size: settings.new,
            kind: base.kind,
            conditioning: base.conditioning,
            parameters: all,
            trained,
          },
          device: device.id,
          dtype,
        };
        if (opened.record && JSON.stringify(opened.record.dataset.labels) !== JSON.stringify(facts.dataset.labels)) {
          throw new DiffmineError(
            'RUN_MISMATCH',
            'The set of readable images has changed since this training began, so its image order cannot be kept.',
            'Restore the images, or begin a new training in another folder.',
          );
        }
        const record: TrainRecord = opened.record ? { ...opened.record, ...facts } : newRecord(settings, facts);
        return await new Training(folder, base, engine, trainer, settings, record, data, hooks).run();
      } finally {
        await trainer.dispose();
      }
    } finally {
      await engine.dispose();
    }
  } finally {
    await lock.release();
  }
}

const signalOf = ({ signal }: Hooks<TrainEvent>): Pick<Hooks, 'signal'> => ({ signal });
const countOf = (indices: readonly number[], rows: readonly number[], row: number): number =>
  indices.filter((index) => rows[index] === row).length;

/** Removes leftovers of killed processes from the folder. Call it only while holding its lock. */
async function removeTemporaries(folder: string): Promise<void> {
  for (const place of ['.', 'unet', 'cache', 'checkpoints', 'samples']) {
    const names = await readdir(join(folder, place)).catch(() => [] as string[]);
    for (const name of names) if (/\.tmp-/.test(name)) await discard(join(folder, place, name));
  }
}

/** Opens the dataset, and splits its usable images. */
async function prepare(
  settings: TrainSettings,
  record: TrainRecord | undefined,
  folder: string,
  base: Base,
  engine: Engine,
  hooks: Hooks<TrainEvent>,
): Promise<Data> {
  const dataset = await openDataset(settings.dataset, {
    out: folder,
    ...(typeof settings.encoding === 'string' ? { encoding: settings.encoding } : {}),
    ...(typeof settings.imageRoot === 'string' ? { imageRoot: settings.imageRoot } : {}),
  });
  for (const note of datasetNotes(dataset)) hooks.onLog?.(note);
  if (record && record.dataset.fingerprint !== dataset.fingerprint) {
    throw new DiffmineError(
      'RUN_MISMATCH',
      `The dataset ${settings.dataset} is no longer what this training began with.`,
      'Restore it, or begin a new training in another folder.',
    );
  }
  base.checkLabels(dataset.labels, settings, hooks.onLog);
  const crops = await openCrops(dataset.images, base, engine, {
    side: settings.size,
    mirrored: settings.flips,
    cache: join(folder, 'cache'),
    signal: hooks.signal,
    onLog: hooks.onLog,
    onProgress: (done, total) => hooks.onProgress?.({ type: 'prepare', done, total }),
  });
  const { usable, skipped } = crops;
  for (const { image, reason } of skipped.slice(0, 5)) hooks.onLog?.(`skipped ${image}: ${reason}`);
  if (skipped.length > 5) hooks.onLog?.(`skipped ${skipped.length - 5} more`);
  if (usable.length === 0) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `None of the ${dataset.images.length} images of ${settings.dataset} can be used: ${skipped[0]?.reason ?? ''}`,
      'Images must be at least as large as the crops: try a smaller `size`.',
    );
  }
  const used = dataset.labels.filter((label) => usable.some(({ image }) => image.label === label));
  for (const label of dataset.labels)
    if (!used.includes(label)) hooks.onLog?.(`The label '${label}' is left out: none of its images can be used.`);
  const labels = distinctLabels(used);
  if (labels.length === 1)
    hooks.onLog?.(`All images have the label '${labels[0]}': a model with one label is of no use for typicality.`);
  const rowOf = new Map(labels.map((label, row) => [label.normalize('NFC'), row]));
  const rows = usable.map(({ image }) => rowOf.get(image.label.normalize('NFC')) as number);
  const fraction = Math.min(settings.validation, MOST_VALIDATED / usable.length);
  const pathOf = (index: number): string => (usable[index] as Crops['usable'][number]).image.path;
  // By path: an image with two labels is kept from training under both.
  const kept = new Set<string>();
  for (const row of labels.keys()) {
    const own = [...usable.keys()].filter((index) => rows[index] === row);
    for (const place of validationOf(own.map(pathOf), fraction, settings.seed)) kept.add(pathOf(own[place] as number));
  }
  const all = [...usable.keys()];
  return {
    labels,
    crops,
    rows,
    validation: all.filter((index) => kept.has(pathOf(index))),
    training: all.filter((index) => !kept.has(pathOf(index))),
    fingerprint: dataset.fingerprint,
  };
}

/** Conditions of the labels, then the null condition; embeddings of a text are computed once. */
async function conditionsOf(
  base: Base,
  engine: Engine,
  labels: string[],
  settings: TrainSettings,
  folder: string,
): Promise<Tensor> {
  if (base.conditioning === 'class') return base.conditions(engine, labels, settings);
  const key = sha256(
    JSON.stringify([base.encoderFingerprint, settings.dtype, labels, settings.prompt, settings.nullPrompt]),
  ).slice(0, 16);
  const file = join(folder, 'cache', `text-${key}.safetensors`);
  if (!existsSync(file)) {
    await mkdir(join(folder, 'cache'), { recursive: true });
    writeSafetensors(file, { conditions: await base.conditions(engine, labels, settings) });
  }
  return readSafetensors(file, ['conditions']).conditions as Tensor;
}

class Training {
  private readonly watch: LossWatch;
  /** what was done so far: 'grid 500', 'validation 500' */
  private readonly seen = new Set<string>();
  private readonly order: Order;
  private readonly average: boolean;
  private readonly validations: TrainSummary['validation'] = [];
  private journal!: Journal;
  private checkpoints!: Checkpoints;
  private step = 0;
  /** seconds trained before this process */
  private before = 0;
  private readonly began = performance.now();

  constructor(
    private readonly folder: string,
    private readonly base: Base,
    private readonly engine: Engine,
    private readonly trainer: Trainer,
    private readonly settings: TrainSettings,
    private readonly record: TrainRecord,
    private readonly data: Data,
    private readonly hooks: Hooks<TrainEvent>,
  ) {
    this.order = new Order(data.training.length, settings);
    this.average = settings.ema > 0;
    this.watch = new LossWatch(settings.trainBatch);
  }

  async run(): Promise<TrainSummary> {
    const { settings, data, record, hooks } = this;
    this.checkpoints = await Checkpoints.open(join(this.folder, 'checkpoints'), settings.keep);
    if (!existsSync(join(this.folder, RECORD))) await writeRecord(this.folder, record);
    await this.goBack();
    const change = changed(record, settings);
    if (Object.keys(change).length > 0)
      record.changes.push({
        step: this.step,
        settings: Object.fromEntries(
          Object.keys(change).map((name) => [name, record.settings[name as keyof TrainSettings]]),
        ),
      });
    Object.assign(record, { settings, status: 'running', step: this.step });
    await writeRecord(this.folder, record);
    hooks.onProgress?.({
      type: 'plan',
      path: this.folder,
      resumed: this.step > 0,
      step: this.step,
      steps: settings.steps,
      images: data.training.length,
      validation: data.validation.length,
      labels: data.labels.length,
      parameters: record.model.parameters,
      trained: record.model.trained,
      device: record.device,
      dtype: record.dtype,
    });
    try {
      // The last step may still need its grid or validation, if Ctrl-C interrupted them.
      if (this.step <= settings.steps) await this.loop();
    } catch (thrown) {
      await this.stop(asDiffmineError(thrown));
    } finally {
      this.journal.close();
    }
    return this.finish();
  }

  /** Goes back to the last readable checkpoint, if there is one. */
  private async goBack(): Promise<void> {
    const diverged = this.record.status === 'diverged' ? this.record.best?.step : undefined;
    for (const step of this.checkpoints.steps.reverse()) {
      if (diverged !== undefined && step > diverged) {
        await this.checkpoints.remove(step); // later checkpoints led to the divergence
        continue;
      }
      try {
        this.step = await this.trainer.load(this.checkpoints.file(step));
        break;
      } catch (thrown) {
        const error = asDiffmineError(thrown);
        if (error.code !== 'WEIGHTS_INVALID') throw error;
        this.hooks.onLog?.(`The checkpoint of step ${step} is damaged and ignored: ${error.message}`);
        await this.checkpoints.remove(step);
      }
    }
    if (this.step === 0 && this.record.step > 0) {
      throw new DiffmineError(
        'RUN_INVALID',
        `${this.folder} has no readable checkpoint, although ${this.record.step} steps were done.`,
        'Begin a new training in another folder.',
      );
    }
    const { journal, kept } = await Journal.open(join(this.folder, 'metrics.jsonl'), this.step);
    this.journal = journal;
    for (const metric of kept) this.remember(metric);
    // Not from the record: a crash may have happened after the checkpoint was written.
    this.record.best = null;
    for (const one of this.validations)
      if (this.checkpoints.steps.includes(one.step) && one.loss < (this.record.best?.loss ?? Infinity))
        this.record.best = one;
  }

  private remember(metric: Metric): void {
    if ('loss' in metric) {
      this.watch.add(metric);
      this.before = metric.seconds;
    } else if ('validation' in metric) {
      this.validations.push({ step: metric.step, loss: metric.validation });
      this.seen.add(`validation ${metric.step}`);
    } else this.seen.add(`grid ${metric.step}`);
  }

  private get seconds(): number {
    return this.before + (performance.now() - this.began) / 1000;
  }

  private async loop(): Promise<void> {
    const { settings, hooks, trainer } = this;
    const { steps, trainBatch: batch } = settings;
    const first = this.step * batch;
    const numbers = (function* () {
      for (let k = first; k < steps * batch; k++) yield k;
    })();
    // The signal is checked between steps, not here: a step that began is finished and saved.
    const views = prefetch(
      numbers,
      (k) => this.image(k),
      ({ x0 }) => x0.byteLength,
      { ahead: 4 * batch },
    );
    let rate = 0;
    try {
      if (this.step > 0) await this.look();
      while (this.step < steps) {
        if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Training was cancelled.');
        const started = performance.now();
        const images = await this.nextBatch(views);
        let done = await trainer.step(images);
        // fp16 gradients overflowed and the loss scale was lowered: the step changed nothing else.
        while (done.skipped) done = await trainer.step(images);
        this.step = done.step;
        const { loss, gradientNorm, learningRate } = done;
        this.journal.write({
          step: this.step,
          loss,
          gradientNorm,
          learningRate,
          seconds: Math.round(this.seconds * 1000) / 1000,
        });
        if (this.watch.add(done)) {
          throw new DiffmineError(
            'NUMERICS',
            `The training diverged: at step ${this.step} the smoothed loss is ${(this.watch.smoothed as number).toPrecision(3)}, several times its minimum.`,
            'Use a lower `learningRate` or `maxGradNorm`.',
          );
        }
        const now = 1000 / Math.max(1e-3, performance.now() - started);
        rate = rate === 0 ? now : 0.95 * rate + 0.05 * now;
        hooks.onProgress?.({
          type: 'step',
          step: this.step,
          steps,
          loss: this.watch.smoothed as number,
          rate,
          secondsLeft: (steps - this.step) / rate,
        });
        await this.look();
      }
    } finally {
      await views.return(undefined);
    }
  }

  /** Does what is due after this step, unless it was done before an interruption: a grid, validation, a checkpoint. */
  private async look(): Promise<void> {
    const { step } = this;
    const { steps, checkpointEvery, sampleEvery } = this.settings;
    if (sampleEvery > 0 && (step % sampleEvery === 0 || step === steps) && !this.seen.has(`grid ${step}`))
      await this.grid();
    if ((step % checkpointEvery === 0 || step === steps) && !this.seen.has(`validation ${step}`))
      await this.checkpoint();
  }

  /** The k-th training image, with the row of its condition. If its file can no longer be read, another image is used. */
  private async image(k: number): Promise<{ x0: Float32Array; row: number }> {
    const { training, rows, crops, labels } = this.data;
    const view = this.order.view(k);
    for (let tries = 0; ; tries++) {
      const index = training[(view.index + tries) % training.length] as number;
      try {
        return { x0: await crops.load(index, view), row: view.unlabeled ? labels.length : (rows[index] as number) };
      } catch (thrown) {
        const error = asDiffmineError(thrown);
        if (error.code !== 'IMAGE_UNREADABLE' || tries >= Math.min(100, training.length)) throw error;
        if (tries === 0) this.hooks.onLog?.(`${error.message} Another image is used instead.`);
      }
    }
  }

  private async nextBatch(
    views: AsyncGenerator<Fetched<number, { x0: Float32Array; row: number }>, void>,
  ): Promise<TrainingBatch[]> {
    const { trainBatch: batch, gradientAccumulationSteps: accumulate } = this.settings;
    const taken: { x0: Float32Array; row: number }[] = [];
    while (taken.length < batch) {
      const next = await views.next();
      if (next.done) throw new DiffmineError('INTERNAL', 'There are no more training images.');
      const { value, error } = next.value;
      if (error) throw error;
      taken.push(value);
    }
    const part = batch / accumulate;
    return Array.from({ length: accumulate }, (_, i) => this.batchOf(taken.slice(i * part, (i + 1) * part)));
  }

  private batchOf(images: { x0: Float32Array; row: number }[]): TrainingBatch {
    const { shape } = this.data.crops;
    const size = elements(shape);
    const x0 = new Float32Array(images.length * size);
    images.forEach((one, i) => x0.set(one.x0, i * size));
    return { x0: fromFloat32([images.length, ...shape], x0), conditions: images.map(({ row }) => row) };
  }

  /** Mean loss of the validation images, always with the same noise; null if there are none. */
  private async validate(): Promise<number | null> {
    const { validation, rows, crops } = this.data;
    const size = this.settings.trainBatch / this.settings.gradientAccumulationSteps;
    let [sum, count] = [0, 0];
    for (let begin = 0; begin < validation.length; begin += size) {
      const own = validation.slice(begin, begin + size);
      if (this.hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Training was cancelled.');
      const images: { x0: Float32Array; row: number }[] = [];
      for (const index of own) {
        try {
          images.push({
            x0: await crops.load(index, { across: 0.5, down: 0.5, mirrored: false }),
            row: rows[index] as number,
          });
        } catch (thrown) {
          const error = asDiffmineError(thrown);
          if (error.code !== 'IMAGE_UNREADABLE') throw error;
          this.hooks.onLog?.(`${error.message} It is left out of the validation.`);
        }
      }
      if (images.length > 0)
        sum +=
          images.length * (await this.trainer.evaluate(this.batchOf(images), VALIDATION_KEY + begin, this.average));
      count += images.length;
    }
    return count > 0 ? sum / count : null;
  }

  private async checkpoint(): Promise<void> {
    const { record, step } = this;
    const measured = await this.validate();
    const loss = measured !== null && Number.isFinite(measured) ? measured : null;
    if (loss !== null) {
      const metric = { step, validation: loss };
      this.journal.write(metric);
      this.remember(metric);
    } else if (measured !== null) this.hooks.onLog?.(`The validation of step ${step} is not finite.`);
    const best = loss !== null && (record.best === null || loss < record.best.loss);
    if (loss !== null && best) record.best = { step, loss };
    await this.save();
    this.hooks.onProgress?.({ type: 'checkpoint', step, validation: loss, best });
  }

  /** Writes log, checkpoint and record, in this order, so that the losses of a checkpoint are always in the log. */
  private async save(): Promise<void> {
    this.journal.sync();
    await this.checkpoints.add(this.step, this.record.best?.step, (file) => this.trainer.save(file));
    this.record.step = this.step;
    await writeRecord(this.folder, this.record);
    await this.report();
  }

  /** Updates the report. The training continues if it cannot be written. */
  private async report(): Promise<string> {
    try {
      return await writeTrainReport(this.folder);
    } catch (thrown) {
      const { message } = asDiffmineError(thrown);
      this.hooks.onLog?.(`The training report was not written: ${message}`);
      return join(this.folder, 'train-report.html');
    }
  }

  private async grid(): Promise<void> {
    const { settings, base, step, data, engine, trainer } = this;
    const path = `samples/step-${String(step).padStart(8, '0')}.webp`;
    await mkdir(join(this.folder, 'samples'), { recursive: true });
    const { schedule } = base.start(data.labels, settings.seed);
    try {
      const labels = await drawGrid(join(this.folder, path), {
        base,
        schedule,
        labels: data.labels,
        shape: data.crops.shape,
        settings,
        engine,
        trainer,
        average: this.average,
        ...signalOf(this.hooks),
      });
      const metric = { step, grid: path, labels };
      this.journal.write(metric);
      this.remember(metric);
    } catch (thrown) {
      const error = asDiffmineError(thrown);
      if (error.code !== 'NUMERICS') throw error;
      this.hooks.onLog?.(`No image grid at step ${step}: ${error.message}`); // sampling may overflow although training does not
      return;
    }
    this.hooks.onProgress?.({ type: 'grid', step, path: join(this.folder, path) });
  }

  /** Handles an error: records it, saves the current state if possible, and rethrows. */
  private async stop(error: DiffmineError): Promise<never> {
    const { record } = this;
    if (error.code === 'CANCELLED' && !this.checkpoints.steps.includes(this.step) && this.step > 0) await this.save();
    record.status = error.code === 'NUMERICS' ? 'diverged' : 'stopped';
    record.step = this.checkpoints.steps.at(-1) ?? 0;
    await writeRecord(this.folder, record);
    await this.report();
    if (error.code === 'CANCELLED') {
      const hint =
        record.step === 0
          ? 'No step was finished. The same command with `resume` starts again.'
          : `Kept: the checkpoint of step ${record.step} of ${this.settings.steps}; ${this.step > record.step ? `the ${this.step - record.step} steps after it will be repeated` : 'no step will be repeated'}. The same command with \`resume\` resumes here; with \`steps\` N it ends there.`;
      throw new DiffmineError('CANCELLED', error.message, hint, { cause: error });
    }
    if (error.code !== 'NUMERICS') throw error;
    const good = record.best?.step ?? this.checkpoints.steps.at(-1);
    const kept =
      good === undefined
        ? 'There is no checkpoint yet.'
        : `The checkpoint of step ${good} is kept: \`resume\` continues from it, best with a lower \`learningRate\`.`;
    throw new DiffmineError('NUMERICS', error.message, `${error.hint === undefined ? '' : `${error.hint} `}${kept}`, {
      cause: error,
    });
  }

  private async finish(): Promise<TrainSummary> {
    const { settings, record, folder, base, trainer, data } = this;
    let chosen = this.step;
    if (settings.use === 'best' && !record.best)
      this.hooks.onLog?.('There is no validation loss, so `use` best writes the last weights.');
    if (settings.use === 'best' && record.best && record.best.step !== this.step)
      chosen = await trainer.load(this.checkpoints.file(record.best.step));
    const weights = (file: string): Promise<void> => trainer.exportWeights(file, this.average, settings.saveDtype);
    if (settings.loraRank > 0) await writeLora(folder, settings, weights);
    else await base.write(folder, { labels: data.labels, side: settings.size }, weights);
    Object.assign(record, { status: 'done', step: this.step });
    await writeRecord(folder, record);
    const report = await this.report();
    return {
      path: folder,
      steps: this.step,
      loss: this.watch.smoothed,
      validation: this.validations,
      best: record.best,
      step: chosen,
      images: data.training.length,
      skipped: data.crops.skipped.length,
      seconds: this.seconds,
      page: report,
    };
  }
}
