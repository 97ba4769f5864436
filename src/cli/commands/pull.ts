// pull: fetches a model.
import type { HubModelFiles } from '../../tools/pull/pull.js';
import { PULL } from '../../tools/pull/options.js';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { byteSize } from '../../util/bytes.js';
import { count } from '../../web/html.js';
import { command } from '../command.js';
import { table } from '../output.js';

/** The files of a model of the hub, as a table. */
export function hubFilesText({ model, renamed, revision, path, files, bytes, missing }: HubModelFiles): string {
  return [
    `Model ${model} of the Hugging Face hub${renamed === undefined ? '' : ` (now called ${renamed})`}, revision ${revision}.`,
    `${count(files.length, 'file')}, ${byteSize(bytes)}; ${missing === 0 ? 'all of it is cached' : `${byteSize(missing)} to download`}: ${path}`,
    '',
    table(
      ['file', 'size', 'cached'],
      files.map((file) => [file.path, byteSize(file.size), byteSize(file.cached)]),
      [1, 2],
    ),
  ].join('\n');
}

export const pullCommand = command({
  options: optionsOf('pull', {
    model: option(fields.text(), {
      group: 'What',
      description: 'Model of the Hugging Face hub: owner/name[@revision][:variant]',
    }),
    ...PULL.shape,
  }),
  examples: [
    ['diffmine pull stable-diffusion-v1-5/stable-diffusion-v1-5:fp16 --dry-run', 'What would be downloaded'],
    ['diffmine pull diff-mining/cardb', 'Download the model, or what is missing of it'],
  ],
  resumeHint: 'What was downloaded is kept. Run the same command to resume.',
  async handle({ model, ...options }, { output, signal }) {
    const { pullModel } = await import('../../tools/pull/pull.js');
    const summary = await pullModel(model, options, {
      signal,
      onProgress: output.progress,
      onLog: (line) => output.log(line),
    });
    const text = summary.dryRun
      ? hubFilesText(summary)
      : `${summary.fetched === 0 ? 'Nothing to download' : `Downloaded ${byteSize(summary.fetched)}`}: ${summary.path}`;
    return { text, json: summary };
  },
});
