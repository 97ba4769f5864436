// translate: the same image under every label.
import { join } from 'node:path';

import { DiffmineError } from '../../util/errors.js';
import type { Quality, TranslateSummary } from '../../stages/translate/options.js';
import { count } from '../../web/html.js';
import { closing, state } from '../closing.js';
import { command } from '../command.js';
import { TRANSLATE } from '../options.js';
import { defined, onScan } from '../stages.js';

export function translateText({
  translated,
  translations,
  pictures,
  skipped,
  psnr,
  complete,
  shards,
  seconds,
  out,
  page,
}: TranslateSummary): string {
  return [
    closing({ verb: 'Translated', noun: 'image', done: translated, total: pictures, skipped, shards, seconds }),
    ...(translated > 0
      ? [
          `${count(translations, 'translation')}${psnr === null ? '' : `; mean PSNR of the reconstructions ${psnr.toFixed(1)} dB`}.`,
        ]
      : []),
    state('translation', complete, shards, out),
    page,
  ].join('\n');
}

function qualityText({ structure, label, places }: Quality): string {
  const percent = (value: number): string => `${Math.round(100 * value)} %`;
  const lines = [
    `Structure similarity to the source: ${structure.mean.toFixed(3)}${structure.control === null ? '' : ` (to other images: ${structure.control.toFixed(3)})`}.`,
    `Denoised better with the target label than with the source label: ${percent(label.preferred)} of the translations.`,
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
  name: 'translate',
  describe: 'Show every picture under the other labels: the same place, made typical of them',
  native: true,
  options: TRANSLATE,
  examples: [
    [
      'diffmine translate cars --model cars-model --out parallel --preset cars',
      "The paper's setting for cars: every picture under every decade",
    ],
    [
      'diffmine translate photos --model sd15 --to 1950 --to 1980 --out parallel --limit 5',
      'Five pictures of each label under two',
    ],
  ],
  resumeHint: 'Finished shards are kept. Run the same command to resume.',
  async handle(values, { output, signal }) {
    const { translate } = await import('../../stages/translate/translate.js');
    const {
      dataset,
      model,
      out,
      variant,
      to,
      guidance,
      negative,
      preset,
      prompt,
      size,
      limit,
      steps,
      shard,
      batch,
      device,
      dtype: precision,
      threads,
      boxes,
      samples,
    } = values;
    if (!values.evaluate && (boxes !== undefined || samples !== undefined || values['t-range'] !== undefined)) {
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        '--boxes, --samples and --t-range belong to --evaluate.',
        'Add --evaluate, or leave them out.',
      );
    }
    const options = {
      dataset,
      model,
      out,
      ...defined({
        encoding: values.encoding,
        imageRoot: values['image-root'],
        variant,
        to,
        guidance,
        negative,
        preset,
        prompt,
        size,
        limit,
        steps,
        shard,
        batch,
        device,
        precision,
        threads,
        inversionSteps: values['inversion-steps'],
        guidanceRange: values['guidance-range'],
        featureShare: values['feature-share'],
        attentionShare: values['attention-share'],
        featureLayers: values['feature-layers'],
        attentionLayers: values['attention-layers'],
        nullPrompt: values['null-prompt'],
        shardSize: values['shard-size'],
      }),
    };
    const log = (line: string): void => output.log(line);
    const summary = await translate(options, { signal, onProgress: onTranslate(output), log });
    if (summary.complete && summary.translated === 0) {
      throw new DiffmineError(
        'IMAGE_UNREADABLE',
        `None of ${count(summary.pictures, 'image')} could be translated.`,
        `The reasons are in ${join(summary.out, 'skipped.jsonl')}.`,
      );
    }
    if (!values.evaluate) return { text: translateText(summary), json: summary };
    const { evaluateTranslation } = await import('../../stages/translate/quality.js');
    const quality = await evaluateTranslation(
      summary.out,
      { model, ...defined({ variant, boxes, samples, tRange: values['t-range'], device, threads }) },
      { signal, onProgress: output.progress, log },
    );
    return { text: `${translateText(summary)}\n${qualityText(quality)}`, json: { ...summary, quality } };
  },
});

/** As a scan's, but for its words. */
function onTranslate(output: Parameters<typeof onScan>[0]): ReturnType<typeof onScan> {
  const others = onScan(output);
  return (event) => {
    if (event.type === 'plan') {
      output.log(
        `${event.resumed ? 'Resuming' : 'Translating into'} ${event.run}: ${event.pictures - event.picturesDone} of ${count(event.pictures, 'image')} to translate, ` +
          `${event.evaluations} UNet calls in batches of ${event.batch} on ${event.device}.`,
      );
    } else if (event.type === 'evaluations') {
      output.progress({
        stage: 'translate',
        done: event.done,
        total: event.total,
        rate: event.rate,
        secondsLeft: event.secondsLeft,
      });
    } else {
      others(event);
    }
  };
}
