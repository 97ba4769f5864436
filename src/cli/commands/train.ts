// train: fine-tunes a model, or trains a small one from scratch.
import { count } from '../../web/html.js';
import { command } from '../command.js';
import { TRAIN } from '../options.js';
import { duration, table, type Output } from '../output.js';
import { defined } from '../stages.js';
import type { TrainEvent, TrainOptions, TrainSummary } from '../../stages/train/options.js';
import { SIZES, type Size } from '../../stages/train/sizes.js';

function sizesText(): string {
  const rows = Object.entries<Size>(SIZES).map(([name, size]) => [
    name,
    size.kind,
    `${size.side} px`,
    `${size.channels.join(', ')} x ${size.layers}`,
    `${size.millions} M`,
    String(size.steps),
    String(size.batch),
    String(size.learningRate),
    size.describe,
  ]);
  return `${table(['size', 'denoises', 'images', 'channels x layers', 'weights', 'steps', 'batch', 'rate', ''], rows, [4, 5, 6, 7])}\n\nConditioned on the labels as classes, or with --text-encoder MODEL on prompts; latent sizes need --vae MODEL. All values can be changed by options.`;
}

function onTrain(output: Output): (event: TrainEvent) => void {
  return (event) => {
    switch (event.type) {
      case 'load':
        output.progress({ type: 'load', done: event.done, total: event.total });
        break;
      case 'prepare':
        output.progress({ type: 'prepare', done: event.done, total: event.total });
        break;
      case 'plan':
        output.log(
          `${event.resumed ? `Resuming at step ${event.step}` : 'Training'} in ${event.folder}: ${count(event.images, 'image')} of ${count(event.labels, 'label')} (${event.validation} more for validation), ` +
            `${(event.trained / 1e6).toPrecision(3)} of ${(event.parameters / 1e6).toPrecision(3)} million parameters, ${count(event.steps, 'step')}, ${event.dtype} on ${event.device}.`,
        );
        break;
      case 'step':
        output.progress({
          type: 'train',
          done: event.step,
          total: event.steps,
          rate: event.rate,
          secondsLeft: event.secondsLeft,
          note: `loss ${event.loss.toPrecision(4)}`,
        });
        break;
      case 'checkpoint':
        output.log(
          `Step ${event.step}: checkpoint${event.validation === null ? '' : `, validation loss ${event.validation.toPrecision(5)}${event.best ? ' (best)' : ''}`}.`,
        );
        break;
      case 'grid':
        output.debug(`Step ${event.step}: samples in ${event.path}`);
        break;
    }
  };
}

export function trainText({ path, steps, loss, best, step, images, skipped, seconds, report }: TrainSummary): string {
  return [
    `Trained for ${count(steps, 'step')} on ${count(images, 'image')}${skipped > 0 ? ` (${skipped} skipped)` : ''} in ${duration(seconds)}${loss === null ? '' : `; loss ${loss.toPrecision(4)}`}${best ? `; best validation loss ${best.loss.toPrecision(5)} at step ${best.step}` : ''}.`,
    `Model (weights of step ${step}): ${path}`,
    `Report: ${report}`,
  ].join('\n');
}

export const trainCommand = command({
  name: 'train',
  describe: 'Fine-tune a model on labeled images, or train a small one from scratch',
  native: true,
  options: { ...TRAIN },
  examples: [
    [
      'diffmine train photos --from sd15 --out cars --prompt "A car from the {label}s." --null-prompt "A car."',
      "Fine-tuning, the paper's recipe",
    ],
    ['diffmine train world/train --new small --flips --dtype bf16 --out model', 'A 64 x 64 pixel model from scratch'],
    ['diffmine train --resume --out cars', 'Resume an interrupted training'],
  ],
  resumeHint: 'Add --resume to continue from here; --steps N sets a new end.',
  async handle(values, { output, signal }) {
    if (values['list-sizes']) return { text: sizesText(), json: SIZES };
    if (values.out === undefined) {
      const { DiffmineError } = await import('../../util/errors.js');
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        '--out is missing.',
        'Give the folder for the training and its model: --out DIR.',
      );
    }
    const { train } = await import('../../stages/train/train.js');
    const options: TrainOptions = {
      out: values.out,
      ...defined({
        dataset: values.dataset,
        encoding: values.encoding,
        imageRoot: values['image-root'],
        from: values.from,
        new: values.new,
        vae: values.vae,
        textEncoder: values['text-encoder'],
        variant: values.variant,
        fold: values.fold,
        prompt: values.prompt,
        nullPrompt: values['null-prompt'],
        size: values.size,
        steps: values.steps,
        epochs: values.epochs,
        trainBatch: values['train-batch'],
        gradientAccumulationSteps: values['gradient-accumulation-steps'],
        learningRate: values['learning-rate'],
        lrSchedule: values['lr-schedule'],
        warmupSteps: values['warmup-steps'],
        weightDecay: values['weight-decay'],
        maxGradNorm: values['max-grad-norm'],
        ema: values.ema,
        drop: values.drop,
        trainTRange: values['train-t-range'],
        wide: values.wide,
        minSnr: values['min-snr'],
        flips: values.flips,
        seed: values.seed,
        dtype: values.dtype,
        gradientCheckpointing: values['gradient-checkpointing'],
        loraRank: values['lora-rank'],
        loraAlpha: values['lora-alpha'],
        validation: values.validation,
        checkpointEvery: values['checkpoint-every'],
        keep: values.keep,
        sampleEvery: values['sample-every'],
        sampleCount: values['sample-count'],
        sampleInferenceSteps: values['sample-inference-steps'],
        sampleGuidanceScale: values['sample-guidance-scale'],
        use: values.use,
        saveDtype: values['save-dtype'],
        resume: values.resume,
        device: values.device,
        threads: values.threads,
      }),
    };
    const summary = await train(options, { signal, onProgress: onTrain(output), onLog: (line) => output.log(line) });
    return { text: trainText(summary), json: summary };
  },
});
