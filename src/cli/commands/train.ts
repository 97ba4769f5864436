// train: fine-tunes a model, or trains a small one from scratch.
import { relative } from 'node:path';
import { sourceOf } from '../../data/options.js';
import { learnedSentence, overfitAfter, unmeasuredSentence, verdictSentence } from '../../models/learned.js';
import type { Learned } from '../../models/training.js';
import { count, millions, significant, whole } from '../../web/html.js';
import { quoted } from '../../util/shell.js';
import { command } from '../command.js';
import { DRY_RUN } from '../../options/shared.js';
import { trainPlanText } from '../dry-run.js';
import { duration, table, type Output } from '../output.js';
import * as fields from '../../options/fields.js';
import { kebab, option, optionsOf } from '../../options/option.js';
import { TRAIN, type TrainEvent, type TrainSummary, type TrainTime } from '../../stages/train/options.js';
import { DiffmineError } from '../../util/errors.js';
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

/** Seconds that training is measured over before a time is told, and the shortest time worth telling. */
const [MEASURED, SHORT] = [10, 20];

/** How the time of a training is told before its first step. */
function timeText(time: TrainTime | undefined): string {
  if (!time) return '';
  const { seconds, from } = time;
  return {
    itself: `, about ${duration(seconds)} left at its rate before`,
    earlier: `, about ${duration(seconds)} at the last rate measured here`,
    computed: `, about ${duration(seconds)} (computed)`,
  }[from];
}

function onTrain(output: Output): (event: TrainEvent) => void {
  let begun: number | undefined;
  let timeTold = false;
  return (event) => {
    switch (event.type) {
      case 'download':
      case 'load':
        output.progress({ type: event.type, done: event.done, total: event.total });
        break;
      case 'prepare':
        output.progress({ type: 'prepare', done: event.done, total: event.total });
        break;
      case 'measure':
        output.progress({ type: 'measure', done: event.done, total: event.total });
        break;
      case 'plan':
        if (event.step >= event.steps) {
          output.log(`The training in ${event.path} is complete: ${count(event.step, 'step')}.`);
          break;
        }
        output.log(
          `${event.resumed ? `Resuming at step ${event.step}` : 'Training'} in ${event.path}: ${count(event.images, 'image')} of ${count(event.labels, 'label')} (${whole(event.heldOut)} more held out), ` +
            `${millions(event.trained)} of ${millions(event.parameters)} million parameters, ${count(event.steps, 'step')}, ${event.dtype} on ${event.device}${timeText(event.time)}.`,
        );
        break;
      case 'step':
        begun ??= performance.now();
        if (!timeTold && performance.now() - begun >= 1000 * MEASURED && event.secondsLeft > SHORT) {
          timeTold = true;
          output.log(`About ${duration(event.secondsLeft)} left, at ${significant(event.rate, 2)} steps per second.`);
        }
        output.progress({
          type: 'train',
          done: event.step,
          total: event.steps,
          rate: event.rate,
          secondsLeft: event.secondsLeft,
          note: `loss ${significant(event.loss, 4)}`,
        });
        break;
      case 'busy':
        output.progress({ type: 'train', done: event.step, total: event.steps, doing: event.doing });
        break;
      case 'checkpoint':
        output.log(
          `Step ${event.step}: checkpoint${event.validation === null ? '' : `, validation loss ${significant(event.validation, 5)}${event.best ? ' (best)' : ''}`}.`,
        );
        break;
      case 'grid':
        output.debug(`Step ${event.step}: samples in ${event.path}`);
        break;
    }
  };
}

export function trainText(summary: TrainSummary): string {
  const { path, steps, loss, best, step, images, skipped, seconds, page, learned } = summary;
  return [
    `Trained for ${count(steps, 'step')} on ${count(images, 'image')}${skipped > 0 ? ` (${skipped} skipped)` : ''} in ${duration(seconds)}${loss === null ? '' : `; loss ${significant(loss, 4)}`}${best ? `; best validation loss ${significant(best.loss, 5)} at step ${best.step}` : ''}.`,
    `Model (weights of step ${step}): ${path}`,
    `Report: ${page}`,
    ...(learned
      ? ['', ...learnedLines(learned, summary)]
      : ['', 'No image is held out, or there is one label alone: what the model has learned was not measured.']),
    '',
    `Next: ${nextCommand(summary)}`,
  ].join('\n');
}

/** Labels in the table; those that the model helps least come first. */
const SHOWN_LABELS = 20;

function learnedLines(learned: Learned, { labels, validation }: TrainSummary): string[] {
  const rows = [...learned.labels].sort((a, b) => a.helped - b.helped);
  const unmeasured = unmeasuredSentence(labels);
  return [
    learnedSentence(learned),
    table(
      ['label', 'images', 'loss with it', 'with others', 'helps'],
      rows
        .slice(0, SHOWN_LABELS)
        .map(({ label, images, loss, others, helped }) => [
          label,
          String(images),
          significant(loss, 4),
          significant(others, 4),
          `${Math.round(100 * helped)} %`,
        ]),
      [1, 2, 3, 4],
    ),
    ...(rows.length > SHOWN_LABELS ? [`and ${rows.length - SHOWN_LABELS} more labels: see train.json`] : []),
    ...(unmeasured === undefined ? [] : [unmeasured]),
    verdictSentence(learned, validation),
  ];
}

/** Up to this side (px), patches of the default side, an eighth of the image's, are too small for the eye; a quarter is not. */
const SMALL_IMAGE = 128;

/** What to paste next: mine with the model, or train it longer. */
export function nextCommand({ path, step, steps, learned, validation, settings }: TrainSummary): string {
  const named = (location: string): string => {
    const near = relative('', location);
    return near !== '' && !near.startsWith('..') ? near : location;
  };
  const given = (flag: string, value: string | null | undefined): string[] =>
    value === null || value === undefined || value === '' ? [] : [flag, value];
  const best = overfitAfter(validation);
  const words =
    learned && best && best.step !== step
      ? ['train', '--out', named(path), '--use', 'best']
      : learned && !best && learned.verdict !== 'yes'
        ? ['train', '--out', named(path), '--steps', String(2 * steps)]
        : [
            'run',
            named(settings.dataset),
            '--model',
            named(path),
            ...Object.entries(sourceOf(settings)).flatMap(([key, value]) => given(`--${kebab(key)}`, String(value))),
            ...given('--prompt', settings.prompt),
            ...given('--null-prompt', settings.nullPrompt),
            ...(settings.drop > 0 ? [] : ['--against', 'others']),
            ...(settings.size <= SMALL_IMAGE ? ['--patch', String(Math.round(settings.size / 4))] : []),
            '--out',
            `${named(path)}-run`,
          ];
  return ['npx diffmine', ...words.map(quoted)].join(' ');
}

export const trainCommand = command({
  native: true,
  options: optionsOf('train', {
    ...TRAIN.shape,
    out: option(TRAIN.shape.out.optional(), {
      group: 'Run directory',
      description: 'Output directory, which becomes the model folder: new, or one to resume',
    }),
    listSizes: option(fields.flag().default(false), {
      group: 'Input',
      description: 'List the sizes for `new` and exit',
    }),
    dryRun: DRY_RUN,
  }),
  examples: [
    [
      'diffmine train photos --from sd15 --out tuned --prompt "A photo from the {label}s." --null-prompt "A photo."',
      'Fine-tune on one folder of photos per decade',
    ],
    [
      'diffmine train photos --new small --holdout 0.2 --out model',
      'A 64 x 64 pixel model from scratch, to mine a fifth',
    ],
    ['diffmine train --out tuned', 'Resume an interrupted training; so does the same command'],
  ],
  resumeHint: 'Run the same command to continue from here; --steps N sets a new end.',
  async handle({ listSizes, dryRun, out, ...options }, { output, signal }) {
    if (listSizes) return { text: sizesText(), json: SIZES };
    if (out === undefined)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        '--out is missing.',
        'Give the folder for the training and its model: --out DIR.',
      );
    if (dryRun) {
      const { planTraining } = await import('../../tools/estimate/dry-run.js');
      const plan = await planTraining({ ...options, out }, { signal, onLog: (line) => output.log(line) });
      return { text: trainPlanText(plan), json: plan };
    }
    const { train } = await import('../../stages/train/train.js');
    const hooks = { signal, onProgress: onTrain(output), onLog: (line: string) => output.log(line) };
    const summary = await train({ ...options, out }, hooks);
    return { text: trainText(summary), json: summary };
  },
});
