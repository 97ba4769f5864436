// pull: fetches a model of the hub, or copies a run from a bucket.
import type { HubModelFiles } from '../../tools/pull/pull.js';
import { PULL } from '../../tools/pull/options.js';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { isBucket } from '../../util/place.js';
import { byteSize } from '../../util/bytes.js';
import { DiffmineError } from '../../util/errors.js';
import { count } from '../../web/html.js';
import { command, type CommandContext, type Outcome } from '../command.js';
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
    source: option(fields.text(), {
      group: 'Input',
      description: 'Model of the Hugging Face hub: owner/name[@revision][:variant]; or a run: s3://BUCKET/PREFIX',
    }),
    folder: option(fields.path().optional(), { group: 'Input', description: 'For a run: directory to copy it to' }),
    ...PULL.shape,
  }),
  examples: [
    ['diffmine pull stable-diffusion-v1-5/stable-diffusion-v1-5:fp16 --dry-run', 'What would be downloaded'],
    ['diffmine pull diff-mining/cardb', 'Download the model, or what is missing of it'],
    ['diffmine pull s3://scans/cars cars', 'Copy a run with its results, or what is missing of it'],
  ],
  resumeHint: 'What was downloaded is kept. Run the same command to resume.',
  async handle({ source, folder, ...options }, context) {
    if (isBucket(source)) return run(source, folder, options, context);
    if (folder !== undefined)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        '`folder` is for runs: models go to the cache of the hub.',
        'Leave it out.',
      );
    const { output, signal } = context;
    const { pullModel } = await import('../../tools/pull/pull.js');
    const summary = await pullModel(source, options, {
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

async function run(
  place: string,
  folder: string | undefined,
  options: { dryRun?: boolean | undefined; variant?: string | undefined },
  { output, signal }: CommandContext,
): Promise<Outcome> {
  if (options.dryRun === true || options.variant !== undefined)
    throw new DiffmineError('INVALID_ARGUMENT', '`variant` and `dryRun` are for models.', 'Leave them out.');
  if (folder === undefined)
    throw new DiffmineError('INVALID_ARGUMENT', '`folder` is missing.', 'Give the directory to copy the run to.');
  const { pull } = await import('../../tools/copy/copy.js');
  const summary = await pull(
    { source: place, folder },
    { signal, onProgress: output.progress, onLog: (line) => output.log(line) },
  );
  return {
    text: `Copied ${count(summary.shards, 'shard')} and ${count(summary.files, 'other file')} to ${summary.to}.`,
    json: summary,
  };
}
