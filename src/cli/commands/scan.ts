// scan: scores every picture and keeps its most and least typical patches.
import { join } from 'node:path';

import { DiffmineError } from '../../errors';
import type { ScanSummary } from '../../scan/options';
import { command } from '../command';
import { OUT, SCAN, SHARD } from '../options';
import { onScan, scanOptions, scanWork, took } from '../stages';

export const RESUME_HINT = 'Finished shards are kept: the same command goes on where this one stopped.';

export function scanText(summary: ScanSummary): string {
  const { shards } = summary;
  return (
    `Scored ${summary.scored} of ${summary.pictures} pictures of ${summary.labels.length} labels (${summary.skipped} skipped) ${took(summary.seconds)}.\n` +
    (summary.complete ? `The scan is complete: ${summary.run}` : `${shards.done} of ${shards.total} shards are finished: ${summary.run}`)
  );
}

/** A scan that finds every picture unusable has succeeded at nothing. */
export function requireScores({ complete, scored, pictures, run }: ScanSummary): void {
  if (complete && scored === 0) {
    throw new DiffmineError('IMAGE_UNREADABLE', `None of the ${pictures} pictures could be scored.`, `The reasons are in ${join(run, 'skipped.jsonl')}.`);
  }
}

export const scanCommand = command({
  name: 'scan',
  describe: 'Score every picture: how typical is each of its patches of its label?',
  native: true,
  options: { ...SCAN, ...OUT, ...SHARD },
  examples: [
    ['diffmine scan photos --model sd15 --out run --preset cars', "The paper's setting for cars"],
    ['diffmine scan photos --model sd15 --out run --shard 0/8', 'The first of eight machines'],
    ['diffmine scan photos --model sd15 --out run --devices 0,1,2,3', 'Four GPUs'],
  ],
  resumeHint: RESUME_HINT,
  async handle(values, { output, signal }) {
    const { scan } = await import('../../scan/scan.js');
    const summary = await scan({ ...scanOptions(values), ...scanWork(values) }, { signal, onProgress: onScan(output), log: (line) => output.log(line) });
    requireScores(summary);
    return { text: scanText(summary), json: summary };
  },
});
