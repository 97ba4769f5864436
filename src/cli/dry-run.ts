// --dry-run: what would be done, what it costs, and where it would be written.
import type { Plan } from '../pipeline/plan.js';
import type { BenchPlan } from '../tools/bench/bench.js';
import type { ScanPlan, TrainPlan } from '../tools/estimate/dry-run.js';
import { cellName } from '../tools/bench/report.js';
import { byteSize } from '../util/bytes.js';
import type { Hooks } from '../util/hooks.js';
import { count, significant, whole } from '../web/html.js';
import { estimateText } from './commands/estimate.js';
import { trainingText } from './commands/estimate-train.js';
import { about, line } from './estimates.js';
import type { Outcome } from './command.js';
import { duration, type Output } from './output.js';

const UNMEASURED = 'diffmine estimate measures it';
const NOTHING = 'Dry run: nothing was computed or written.';

/** What a plan is made with: models are not downloaded. */
export const dryRunHooks = (
  output: Output,
  signal: AbortSignal,
): Pick<Hooks, 'signal' | 'onLog'> & { download: false } => ({
  signal,
  onLog: (sentence) => output.log(sentence),
  download: false,
});

const UNITS = { 'UNet call': 'UNet calls', 'forward pass': 'passes' } as const;

const FROM = {
  earlier: 'the last rate measured here',
  manifest: 'the rate measured when the run began',
  computed: 'computed, at least',
} as const;

function timeLine({ calls, seconds, rate, unit }: Plan): string[] {
  if (calls === 0) return [];
  return [
    line(
      'time',
      seconds === null || rate === null
        ? 'unknown: no rate was measured here'
        : `${about(seconds)} at ${significant(rate.perSecond, 3)} ${UNITS[unit]} per second (${FROM[rate.from]})`,
    ),
  ];
}

/** What is left. `items`: also how many there are */
function leftLines(plan: Plan, items: boolean): string[] {
  const { item, shards, unit, calls, atMost, device, dtype, batch } = plan;
  const { total, done } = plan.items;
  return [
    ...(items
      ? [line(`${item}s`, `${count(total, item)}${done > 0 ? `, ${whole(done)} of them done and kept` : ''}`)]
      : []),
    ...(shards
      ? [
          line(
            'shards',
            `${count(shards.total, 'shard')}${shards.done > 0 ? `; ${whole(shards.done)} of them are finished and would be kept` : ''}`,
          ),
        ]
      : []),
    ...(dtype === null
      ? []
      : [
          line(
            UNITS[unit],
            `${atMost ? 'at most ' : ''}${whole(calls)} left, in ${dtype}${batch === null ? '' : ` with batches of ${batch}`} on ${device ?? 'no device'}`,
          ),
        ]),
    ...timeLine(plan),
  ];
}

export function planText(plan: Plan): string {
  const { disk, reuses } = plan;
  return [
    ...leftLines(plan, true),
    ...(disk === null ? [] : [line('disk', `at most ${byteSize(disk)} (computed)`)]),
    ...reuses.map((one) => line('reuses', one)),
    ...outputsText(plan.path, plan.writes),
    NOTHING,
  ].join('\n');
}

export const planned = (plan: Plan): Outcome => ({ text: planText(plan), json: plan });

export function localizePlanText({ baseline, ...plan }: Plan & { baseline: Plan | null }): string {
  return baseline ? `${planText(plan).replace(`\n${NOTHING}`, '')}\n\nBaseline\n${planText(baseline)}` : planText(plan);
}

export function scanPlanText(plan: ScanPlan): string {
  return [
    estimateText(plan.estimate, UNMEASURED),
    ...(plan.items.done > 0 ? leftLines(plan, true) : leftLines(plan, false).slice(0, 1)),
    ...outputsText(plan.path, plan.writes),
    NOTHING,
  ].join('\n');
}

export function trainPlanText({ path, begun, time, estimate }: TrainPlan): string {
  const from = {
    itself: 'at its rate before',
    earlier: 'at the last rate measured here',
    computed: 'computed, at most',
  };
  return [
    trainingText(
      estimate,
      UNMEASURED.replace('estimate', 'estimate-train'),
      time ? `about ${duration(time.seconds)}${begun ? ' left' : ''} (${from[time.from]})` : undefined,
    ),
    ...(begun ? [line('resumes', `at step ${begun.step} of ${begun.steps}`)] : []),
    ...outputsText(path, ['the model folder', 'train.json', 'metrics.jsonl', 'train-report.html']),
    NOTHING,
  ].join('\n');
}

export function benchPlanText({ cells, rounds, training, pipeline, calls, device, writes }: BenchPlan): string {
  return [
    ...cells.map((cell) => line('UNet', `${cellName(cell)}, ${count(rounds, 'round')}`)),
    ...training.map((name) => line('training', name)),
    ...(pipeline
      ? [line('pipeline', `${count(pipeline.images, 'image')} with ${count(pipeline.samples, 'sample')} each`)]
      : []),
    line('UNet calls', `${whole(calls)} on ${device ?? ''}, and those of the stages around them`),
    line('writes', writes.length > 0 ? writes.join(', ') : 'no file'),
    NOTHING,
  ].join('\n');
}

const outputsText = (folder: string, outputs: readonly string[]): string[] => [
  line('writes', outputs.length > 0 ? `${folder}: ${outputs.join(', ')}` : 'no file'),
];
