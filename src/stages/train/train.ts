// `train`: fine-tunes the UNet of a model, or a LoRA of its denoiser, or trains a small model from scratch, and writes a model folder.
//
//   OUT/train.json         settings, data, state          OUT/metrics.jsonl   loss of every step, validations, grids
//   OUT/checkpoints/       the last few, and the best      OUT/samples/        grids of sampled images
//   OUT/cache/             latents and text embeddings     OUT/train-report.html
//   OUT/model_index.json, unet/, scheduler/, ...           the model, once the training is done
//
// A step is a function of the seed, its number and the weights before it: so an interrupted training resumes exactly.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Engine } from '../../engine/index.js';
import { nullAfter } from '../../models/null-condition.js';
import { discard } from '../../runs/atomic.js';
import { chooseTrainingDevice } from '../../runs/device.js';
import { LockFolder } from '../../runs/lock-folder.js';
import { nameOf } from '../../runs/locks.js';
import { DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';
import { conditionsOf, openData } from './data.js';
import type { TrainEvent, TrainOptions, TrainSummary } from './options.js';
import { newRecord, openTraining, readRecord, resolveSteps, type TrainRecord } from './record.js';
import { Training } from './training.js';
import { makeFolder } from '../../util/paths.js';

/**
 * Trains, or resumes the training that `out` holds: then only options that differ from its own need to be given.
 *
 * @throws INVALID_ARGUMENT, DATASET_INVALID, RUN_MISMATCH, and what opening and loading a model throws; NUMERICS if the training diverges: its checkpoints are kept;
 *   CANCELLED after hooks.signal, once the current step is saved
 */
export async function train(options: TrainOptions, hooks: Hooks<TrainEvent> = {}): Promise<TrainSummary> {
  const opened = await openTraining(options, hooks);
  const { folder, base } = opened;
  await makeFolder(join(folder, 'locks'));
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
      const data = await openData(opened.settings, opened.record, folder, base, engine, hooks);
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
          cell: base.vaeFactor * base.fold,
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
              heldOut: countOf(data.heldOut, data.rows, row),
            })),
          },
          model: {
            from: settings.from,
            size: settings.new,
            kind: base.kind,
            conditioning: base.conditioning,
            nullCondition: await nullAfter(settings.drop, settings.from),
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
        const cost = {
          ...{ base, denoiser: source, settings, parameters: all },
          ...{ device: device.id === 'cpu' ? 'cpu' : device.name, dtype, threads: options.threads },
        };
        return await new Training(folder, base, engine, trainer, settings, record, data, cost, hooks).run();
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
