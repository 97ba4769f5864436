// translate: the same picture under every label.
import { join } from 'node:path';

import { DiffmineError } from '../../errors';
import type { Quality, TranslateSummary } from '../../translate/options';
import { command } from '../command';
import { TRANSLATE } from '../options';
import { defined, onScan, took } from '../stages';

function translateText({ translated, translations, pictures, skipped, psnr, complete, shards, seconds, out, page }: TranslateSummary): string {
  return (
    `Translated ${translated} of ${pictures} pictures (${skipped} skipped) into ${translations} ${took(seconds)}.` +
    (psnr === null ? '' : ` Reconstructions: ${psnr.toFixed(1)} dB.`) +
    `\n${complete ? `The translation is complete: ${out}` : `${shards.done} of ${shards.total} shards are finished: ${out}`}\n${page}`
  );
}

function qualityText({ structure, label, places }: Quality): string {
  const percent = (value: number): string => `${Math.round(100 * value)} %`;
  const lines = [
    `Structure kept: ${structure.mean.toFixed(3)}${structure.control === null ? '' : ` (other pictures: ${structure.control.toFixed(3)})`}.`,
    `Looks more like the target than like its own label: ${percent(label.preferred)} of the translations.`,
  ];
  for (const [what, place] of [['typical of their own label', places?.own], ['typical of another', places?.others]] as const) {
    if (place && place.preferred !== null && place.preferredBefore !== null) lines.push(`Of boxes ${what}: ${percent(place.preferredBefore)} before, ${percent(place.preferred)} after.`);
  }
  return lines.join('\n');
}

export const translateCommand = command({
  name: 'translate',
  describe: 'Show every picture under the other labels: the same place, made typical of them',
  native: true,
  options: TRANSLATE,
  examples: [
    ['diffmine translate cars --model cars-model --out parallel --preset cars', "The paper's setting for cars: every picture under every decade"],
    ['diffmine translate photos --model sd15 --to 1950 --to 1980 --out parallel --limit 5', 'Five pictures of each label under two'],
  ],
  resumeHint: 'Finished shards are kept: the same command goes on where this one stopped.',
  async handle(values, { output, signal }) {
    const { translate } = await import('../../translate/translate.js');
    const { dataset, model, out, variant, to, guidance, negative, preset, prompt, size, limit, steps, shard, batch, device, dtype: precision, threads, boxes, samples } = values;
    if (!values.evaluate && (boxes !== undefined || samples !== undefined || values['t-range'] !== undefined)) {
      throw new DiffmineError('INVALID_ARGUMENT', '--boxes, --samples and --t-range belong to --evaluate.', 'Add --evaluate, or leave them out.');
    }
    const options = {
      dataset, model, out,
      ...defined({
        variant, to, guidance, negative, preset, prompt, size, limit, steps, shard, batch, device, precision, threads, inversionSteps: values['inversion-steps'], guidanceRange: values['guidance-range'], featureShare: values['feature-share'],
        attentionShare: values['attention-share'], featureLayers: values['feature-layers'], attentionLayers: values['attention-layers'], nullPrompt: values['null-prompt'], shardSize: values['shard-size'],
      }),
    };
    const log = (line: string): void => output.log(line);
    const summary = await translate(options, { signal, onProgress: onTranslate(output), log });
    if (summary.complete && summary.translated === 0) {
      throw new DiffmineError('IMAGE_UNREADABLE', `None of the ${summary.pictures} pictures could be translated.`, `The reasons are in ${join(summary.out, 'skipped.jsonl')}.`);
    }
    if (!values.evaluate) return { text: translateText(summary), json: summary };
    const { evaluateTranslation } = await import('../../translate/quality.js');
    const quality = await evaluateTranslation(summary.out, { model, ...defined({ variant, boxes, samples, tRange: values['t-range'], device, threads }) }, { signal, onProgress: output.progress, log });
    return { text: `${translateText(summary)}\n${qualityText(quality)}`, json: { ...summary, quality } };
  },
});

/** As a scan's, but for its words. */
function onTranslate(output: Parameters<typeof onScan>[0]): ReturnType<typeof onScan> {
  const others = onScan(output);
  return (event) => {
    if (event.type === 'plan') {
      output.log(
        `${event.resumed ? 'Resuming' : 'Translating into'} ${event.run}: ${event.pictures - event.picturesDone} of ${event.pictures} pictures to translate, ` +
          `${event.evaluations} evaluations in batches of ${event.batch} on ${event.device}.`,
      );
    } else if (event.type === 'evaluations') {
      output.progress({ stage: 'translate', done: event.done, total: event.total, rate: event.rate, secondsLeft: event.secondsLeft });
    } else {
      others(event);
    }
  };
}
