// sample: pictures of a model under its labels.
import type { SampleSummary } from '../../stages/sample/sample.js';
import { count } from '../../web/html.js';
import { command } from '../command.js';
import { SAMPLE } from '../options.js';
import { defined, took } from '../stages.js';

export function sampleText({ made, kept, labels, seconds, sheet }: SampleSummary): string {
  const of = labels.length === 1 ? `the label ${labels[0]?.label ?? ''}` : count(labels.length, 'label');
  if (made === 0)
    return `Nothing left to do: ${count(kept, 'image')} of ${of} ${kept === 1 ? 'was' : 'were'} there before.\n${sheet}`;
  return `Sampled ${count(made, 'image')} of ${of}${kept > 0 ? ` (${kept} more ${kept === 1 ? 'was' : 'were'} there before)` : ''} ${took(seconds)}.\n${sheet}`;
}

export const sampleCommand = command({
  name: 'sample',
  describe: 'Make pictures with a model under its labels: what has it learnt?',
  native: true,
  options: SAMPLE,
  examples: [
    ['diffmine sample trained --out samples', 'Eight pictures of each label of a class model, and a sheet of them'],
    [
      'diffmine sample sd15 --label 1920 --label 1980 --prompt "A car from the {label}s." -n 4 --out cars',
      'A text model',
    ],
  ],
  resumeHint: 'Finished pictures are kept: the same command goes on where this one stopped.',
  async handle(values, { output, signal }) {
    const { sample } = await import('../../stages/sample/sample.js');
    const {
      model,
      variant,
      out,
      label: labels,
      count,
      steps,
      guidance,
      seed,
      size,
      prompt,
      'null-prompt': nullPrompt,
      batch,
      device,
      dtype: precision,
      threads,
    } = values;
    const options = {
      model,
      out,
      ...defined({
        variant,
        labels,
        count,
        steps,
        guidance,
        seed,
        size,
        prompt,
        nullPrompt,
        batch,
        device,
        precision,
        threads,
      }),
    };
    const summary = await sample(options, { signal, onProgress: output.progress, log: (line) => output.log(line) });
    return { text: sampleText(summary), json: summary };
  },
});
