// scan: scores every image and keeps its most and least typical patches.
import { join } from 'node:path';

import { optionsOf } from '../../options/option.js';
import { DiffmineError } from '../../util/errors.js';
import { SCAN, type ScanSummary } from '../../stages/scan/options.js';
import { percent, spentFraction } from '../../runs/race-words.js';
import { count, whole } from '../../web/html.js';
import { closing, state } from '../closing.js';
import { command } from '../command.js';
import { DRY_RUN } from '../../options/shared.js';
import { scanPlanText } from '../dry-run.js';
import { onScan, stoppingOf } from '../stages.js';

export const RESUME_HINT = 'Finished shards are kept. Run the same command to resume.';

/** Engines that wait less than this fraction of their time, or fewer seconds, are not worth a sentence. */
const WAITING = { fraction: 0.1, seconds: 60 };

function waitingSentence({ engineWaiting = 0, seconds }: ScanSummary): string {
  return engineWaiting >= WAITING.fraction && engineWaiting * seconds >= WAITING.seconds
    ? `\nThe engine had nothing to do for ${percent(engineWaiting)} of the time: it waited for images to be read or results to be written.`
    : '';
}

export function scanText(summary: ScanSummary): string {
  const { scored, images, skipped, shards, seconds, complete, path, race } = summary;
  return `${closing({ verb: 'Scored', noun: 'image', done: scored, total: images, skipped, shards, seconds })}${race ? `\nRacing made ${whole(race.spent)} of ${count(race.spent + race.saved, 'UNet call')} (${percent(spentFraction(race))}).` : ''}${waitingSentence(summary)}\n${state('scan', complete, shards, path)}`;
}

/** A scan that finds every image unusable has succeeded at nothing. */
export function requireScores({ complete, scored, images, path }: ScanSummary): void {
  if (complete && scored === 0) {
    throw new DiffmineError(
      'IMAGE_UNREADABLE',
      `None of ${count(images, 'image')} could be scored.`,
      `The reasons are in ${join(path, 'skipped.jsonl')}.`,
    );
  }
}

export const scanCommand = command({
  native: true,
  options: optionsOf('scan', { ...SCAN.shape, dryRun: DRY_RUN }),
  examples: [
    [
      'diffmine scan photos --model cars --out run --preset cars',
      "With the paper's prompts, sizes and timesteps for cars",
    ],
    [
      'diffmine scan photos --model tuned --prompt "A photo from the {label}s." --out run --devices 0,1,2,3',
      'Four GPUs of this machine',
    ],
    ['diffmine scan photos --model cars --out run --preset cars --shard 0/8', 'The first of eight machines'],
  ],
  resumeHint: RESUME_HINT,
  stopping: stoppingOf,
  async handle({ dryRun, ...values }, { output, signal }) {
    if (dryRun) {
      const { planScan } = await import('../../tools/estimate/dry-run.js');
      const hooks = { signal, onProgress: onScan(output), onLog: (line: string) => output.log(line) };
      const plan = await planScan(values, ['manifest.json', 'shards/'], hooks);
      return { text: scanPlanText(plan), json: plan };
    }
    const { scan } = await import('../../stages/scan/scan.js');
    const summary = await scan(values, { signal, onProgress: onScan(output), onLog: (line) => output.log(line) });
    requireScores(summary);
    return { text: scanText(summary), json: summary };
  },
});
