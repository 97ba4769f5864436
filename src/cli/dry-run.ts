// --dry-run of scan, run and train: what would be done, what it costs, and where it would be written.
import type { ScanPlan, TrainPlan } from '../tools/estimate/dry-run.js';
import * as fields from '../options/fields.js';
import { option } from '../options/option.js';
import { count } from '../web/html.js';
import { estimateText } from './commands/estimate.js';
import { trainingText } from './commands/estimate-train.js';
import { line } from './estimates.js';

export const DRY_RUN = option(fields.flag().default(false), {
  group: 'Run folder',
  description: 'Print what would be done, what it costs and where it would be written; compute and write nothing',
});

const UNMEASURED = 'diffmine estimate measures it';

/** @param outputs what is written, below the folder */
export function scanPlanText({ path, begun, estimate }: ScanPlan, outputs: readonly string[]): string {
  const { shards } = estimate;
  const state = begun ? `; ${begun.shards} of them are finished and would be kept` : '';
  return [
    estimateText(estimate, UNMEASURED),
    line('shards', `${count(shards, 'shard')}${state}`),
    ...outputsText(path, outputs),
  ].join('\n');
}

export function trainPlanText({ path, begun, estimate }: TrainPlan): string {
  return [
    ...(estimate ? [trainingText(estimate, UNMEASURED.replace('estimate', 'estimate-train'))] : []),
    ...(begun ? [line('resumes', `at step ${begun.step} of ${begun.steps}`)] : []),
    ...outputsText(path, ['the model folder', 'train.json', 'metrics.jsonl', 'train-report.html']),
  ].join('\n');
}

const outputsText = (folder: string, outputs: readonly string[]): string[] => [
  line('writes', `${folder}: ${outputs.join(', ')}`),
  'Dry run: nothing was computed or written.',
];
