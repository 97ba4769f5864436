// translate: translates each image to the other labels.
import { join } from 'node:path';

import { DiffmineError } from '../../util/errors.js';
import { partOf } from '../../options/check.js';
import * as fields from '../../options/fields.js';
import { inContext, option, optionsOf } from '../../options/option.js';
import { DRY_RUN } from '../../options/shared.js';
import { preferenceSentence, reconstructionWarning } from '../../runs/reconstruction-words.js';
import { MEASUREMENT, TRANSLATE, type Quality, type TranslateSummary } from '../../stages/translate/options.js';
import { count } from '../../web/html.js';
import { closing, state } from '../closing.js';
import { command } from '../command.js';
import { dryRunHooks, planned } from '../dry-run.js';
import { onScan, stoppingOf } from '../stages.js';

const WORDS = { into: 'Translating into', item: 'image', todo: 'to translate', bar: 'translate' };

export function translateText({
  translated,
  translations,
  images,
  skipped,
  psnr,
  complete,
  shards,
  seconds,
  path,
  page,
}: TranslateSummary): string {
  return [
    closing({ verb: 'Translated', noun: 'image', done: translated, total: images, skipped, shards, seconds }),
    ...(translated > 0
      ? [
          `${count(translations, 'translation')}${psnr === null ? '' : `; mean PSNR of the reconstructions ${psnr.toFixed(1)} dB`}.`,
          ...[reconstructionWarning(psnr)].filter((line) => line !== undefined),
        ]
      : []),
    state('translation', complete, shards, path),
    page,
  ].join('\n');
}

function qualityText({ structure, label, places }: Quality): string {
  const percent = (value: number): string => `${Math.round(100 * value)} %`;
  const lines = [
    `Structure similarity to the source: ${structure.mean.toFixed(3)}${structure.control === null ? '' : ` (to other images: ${structure.control.toFixed(3)})`}.`,
    preferenceSentence(label.preferred),
  ];
  for (const [what, place] of [
    ['typical of the source label', places?.own],
    ['typical of another label', places?.others],
  ] as const) {
    if (place && place.preferred !== null && place.preferredBefore !== null)
      lines.push(`Boxes ${what}: ${percent(place.preferredBefore)} before, ${percent(place.preferred)} after.`);
  }
  return lines.join('\n');
}

export const translateCommand = command({
  native: true,
  options: optionsOf('translate', {
    ...TRANSLATE.shape,
    evaluate: option(fields.flag().default(false), {
      group: 'Scoring',
      description: 'Measure with the model how much structure is kept and how well the target label is recognized',
    }),
    boxes: inContext(MEASUREMENT.shape.boxes, 'With `evaluate`: '),
    samples: inContext(MEASUREMENT.shape.samples, 'With `evaluate`: '),
    tRange: inContext(MEASUREMENT.shape.tRange, 'With `evaluate`: '),
    dryRun: DRY_RUN,
  }),
  examples: [
    [
      'diffmine translate cars --model cars-model --out parallel --preset cars',
      "The paper's setting for cars: each image in every decade",
    ],
    [
      'diffmine translate photos --model sd15 --to 1950 --to 1980 --out parallel --images-per-label 5',
      'Five images of each label, two target labels',
    ],
  ],
  resumeHint: 'Finished shards are kept. Run the same command to resume.',
  stopping: stoppingOf,
  async handle({ evaluate = false, boxes, samples, tRange, dryRun, ...options }, { output, signal }) {
    const { planTranslation, translate } = await import('../../stages/translate/translate.js');
    if (!evaluate && (boxes !== undefined || samples !== undefined || tRange !== undefined)) {
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        '`boxes`, `samples` and `tRange` need `evaluate`.',
        'Add `evaluate`, or leave them out.',
      );
    }
    if (dryRun) return planned(await planTranslation(options, dryRunHooks(output, signal)));
    const onLog = (line: string): void => output.log(line);
    const summary = await translate(options, { signal, onProgress: onScan(output, WORDS), onLog });
    if (summary.complete && summary.translated === 0) {
      throw new DiffmineError(
        'IMAGE_UNREADABLE',
        `None of ${count(summary.images, 'image')} could be translated.`,
        `The reasons are in ${join(summary.path, 'skipped.jsonl')}.`,
      );
    }
    if (!evaluate) return { text: translateText(summary), json: summary };
    const { evaluateTranslation } = await import('../../stages/translate/quality.js');
    const { device = options.devices?.[0] } = options;
    const quality = await evaluateTranslation(
      { parallel: summary.path, ...partOf(MEASUREMENT, options), boxes, samples, tRange, device },
      { signal, onProgress: output.progress, onLog },
    );
    return { text: `${translateText(summary)}\n${qualityText(quality)}`, json: { ...summary, quality } };
  },
});
