// The loop of a training: steps, and what is due between them: image grids, validations, checkpoints, the report.
import { count, significant } from '../../web/html.js';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Engine, Trainer } from '../../engine/index.js';
import { asDiffmineError, DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';
import type { Base } from './base.js';
import { writeLora } from './fine-tuned.js';
import { Batches } from './batches.js';
import { Checkpoints } from './checkpoints.js';
import { expectedTime, rememberTraining, type TrainCost } from './cost.js';
import type { Data } from './data.js';
import { measureLearned } from './measure.js';
import { drawGrid } from './grid.js';
import { Journal, LossWatch, readMetrics, type Metric } from './journal.js';
import type { TrainEvent, TrainSettings, TrainSummary } from './options.js';
import { changed, RECORD, writeRecord, type TrainRecord } from './record.js';
import { writeTrainReport } from './report.js';
import { validationLoss } from './validate.js';
import { makeFolder } from '../../util/paths.js';

export class Training {
  private readonly watch: LossWatch;
  /** what was done so far: 'grid 500', 'validation 500' */
  private readonly seen = new Set<string>();
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
    private readonly cost: TrainCost,
    private readonly hooks: Hooks<TrainEvent>,
  ) {
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
    const time = await expectedTime(this.cost, settings.steps, { steps: this.step, seconds: this.before });
    hooks.onProgress?.({
      type: 'plan',
      path: this.folder,
      resumed: this.step > 0,
      step: this.step,
      steps: settings.steps,
      images: data.training.length,
      heldOut: data.heldOut.length,
      labels: data.labels.length,
      parameters: record.model.parameters,
      trained: record.model.trained,
      device: record.device,
      dtype: record.dtype,
      ...(time && { time }),
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
        `${this.folder} has no readable checkpoint, although ${count(this.record.step, 'step')} ${this.record.step === 1 ? 'was' : 'were'} done.`,
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
    const { steps } = settings;
    const batches = new Batches(this.data, settings, this.step, hooks.onLog);
    const [first, begun] = [this.step, this.seconds];
    let rate = 0;
    try {
      if (this.step > 0) await this.look();
      while (this.step < steps) {
        if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Training was cancelled.');
        const started = performance.now();
        const images = await batches.next();
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
            `The training diverged: at step ${this.step} the smoothed loss is ${significant(this.watch.smoothed as number, 3)}, several times its minimum.`,
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
      await batches.close();
      await rememberTraining(this.cost, { steps: this.step - first, seconds: this.seconds - begun });
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

  /** Tells what runs before the next step. */
  private busy(doing: string): void {
    this.hooks.onProgress?.({ type: 'busy', step: this.step, steps: this.settings.steps, doing });
  }

  private async checkpoint(): Promise<void> {
    const { record, step } = this;
    if (this.data.validation.length > 0) this.busy('measuring the validation loss');
    const measured = await validationLoss(this.trainer, this.data, this.settings, this.hooks);
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
    this.busy('saving');
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
    this.busy('sampling a grid');
    await makeFolder(join(this.folder, 'samples'));
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
        signal: this.hooks.signal,
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
          ? 'No step was finished. The same command starts again.'
          : `Kept: the checkpoint of step ${record.step} of ${this.settings.steps}; ${this.step > record.step ? `the ${count(this.step - record.step, 'step')} after it will be repeated` : 'no step will be repeated'}. The same command resumes here; with \`steps\` N it ends there.`;
      throw new DiffmineError('CANCELLED', error.message, hint, { cause: error });
    }
    if (error.code !== 'NUMERICS') throw error;
    const good = record.best?.step ?? this.checkpoints.steps.at(-1);
    const kept =
      good === undefined
        ? 'No checkpoint was written before.'
        : `The checkpoint of step ${good} is kept: the same command continues from it, best with a lower \`learningRate\`.`;
    throw new DiffmineError('NUMERICS', error.message, `${error.hint === undefined ? '' : `${error.hint} `}${kept}`, {
      cause: error,
    });
  }

  private async finish(): Promise<TrainSummary> {
    const { settings, record, folder, base, trainer, data } = this;
    let chosen = this.step;
    this.busy('writing the model');
    if (settings.use === 'best' && !record.best)
      this.hooks.onLog?.('No validation loss was measured, so `use` best writes the last weights.');
    if (settings.use === 'best' && record.best && record.best.step !== this.step)
      chosen = await trainer.load(this.checkpoints.file(record.best.step));
    const weights = (file: string): Promise<void> => trainer.exportWeights(file, this.average, settings.saveDtype);
    if (settings.loraRank > 0) await writeLora(folder, settings, weights);
    else await base.write(folder, { labels: data.labels, side: settings.size }, weights);
    if (record.learned?.step !== chosen) {
      const losses = readMetrics(join(folder, 'metrics.jsonl')).flatMap((line) => ('loss' in line ? [line.loss] : []));
      record.learned = await measureLearned(trainer, data, settings, chosen, losses.slice(0, chosen), this.hooks);
    }
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
      labels: record.dataset.labels,
      seconds: this.seconds,
      page: report,
      learned: record.learned,
      settings,
    };
  }
}
