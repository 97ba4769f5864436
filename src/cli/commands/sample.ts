// sample: generates images of each label with a model.
import type { SampleSummary } from '../../stages/sample/sample.js';
import { count } from '../../web/html.js';
import { optionsOf } from '../../options/option.js';
import { DRY_RUN } from '../../options/shared.js';
import { command } from '../command.js';
import { dryRunHooks, planned } from '../dry-run.js';
import { SAMPLE } from '../../stages/sample/options.js';
import { took } from '../stages.js';

export function sampleText({ made, kept, labels, seconds, grid }: SampleSummary): string {
  const of = labels.length === 1 ? `the label ${labels[0]?.label ?? ''}` : count(labels.length, 'label');
  if (made === 0)
    return `Nothing left to do: ${count(kept, 'image')} of ${of} ${kept === 1 ? 'was' : 'were'} there before.\n${grid}`;
  return `Sampled ${count(made, 'image')} of ${of}${kept > 0 ? ` (${kept} more ${kept === 1 ? 'was' : 'were'} there before)` : ''} ${took(seconds)}.\n${grid}`;
}

export const sampleCommand = command({
  native: true,
  options: optionsOf('sample', { ...SAMPLE.shape, dryRun: DRY_RUN }),
  examples: [
    ['diffmine sample trained --out samples', 'Eight images of each label of a class model, and a grid of them'],
    [
      'diffmine sample sd15 --labels 1920 --labels 1980 --prompt "A photo from the {label}s." -n 4 --out samples',
      'A text model',
    ],
  ],
  resumeHint: 'Finished images are kept. Run the same command to resume.',
  async handle({ dryRun, ...values }, { output, signal }) {
    const { planSample, sample } = await import('../../stages/sample/sample.js');
    if (dryRun) return planned(await planSample(values, dryRunHooks(output, signal)));
    const summary = await sample(values, { signal, onProgress: output.progress, onLog: (line) => output.log(line) });
    return { text: sampleText(summary), json: summary };
  },
});
