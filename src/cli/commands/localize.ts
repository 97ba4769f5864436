// localize: heat maps of images, compared with boxes or masks.
import type { Figure } from '../../metrics/bootstrap.js';
import {
  LOCALIZE,
  type LabelLocalization,
  type LocalizeEvent,
  type LocalizeSummary,
  type MapFigures,
} from '../../stages/localize/options.js';
import { rivalName } from '../../runs/contrast-words.js';
import { count, whole } from '../../web/html.js';
import { optionsOf } from '../../options/option.js';
import { DRY_RUN } from '../../options/shared.js';
import { command } from '../command.js';
import { dryRunHooks, localizePlanText } from '../dry-run.js';
import { table, type Output } from '../output.js';
import { onScan, stoppingOf } from '../stages.js';
import { requireScores, RESUME_HINT, scanText } from './scan.js';

const METRICS = [
  ['averagePrecision', 'AP', 3],
  ['paperAucPr', "paper's AUC-PR", 3],
  ['pointing', 'pointing', 2],
  ['bestIou', 'best IoU', 3],
] as const;

function figure({ value, low, high }: Figure, digits: number): string {
  const number = (one: number | null): string => (one === null ? '-' : one.toFixed(digits));
  return low === null || high === null ? number(value) : `${number(value)} [${number(low)}, ${number(high)}]`;
}

function figures(
  labels: readonly LabelLocalization[],
  mean: NonNullable<LocalizeSummary['result']>['mean'],
  part: 'model' | 'baseline' | 'difference',
): string {
  const cells = (one: MapFigures | null): string[] =>
    METRICS.map(([name, , digits]) => (one ? figure(one[name], digits) : '-'));
  const rows = labels.map((one) => [
    one.label,
    String(one.images),
    String(one.marked),
    one.fraction === null ? '-' : one.fraction.toFixed(3),
    ...cells(one[part]),
  ]);
  return table(
    ['label', 'images', 'marked', 'inside', ...METRICS.map(([, title]) => title)],
    [...rows, ['mean', '', '', mean.fraction?.toFixed(3) ?? '-', ...cells(mean[part])]],
    [1, 2, 3],
  );
}

export function localizeText({ scan, baseline, result, page }: LocalizeSummary): string {
  const scans = [scanText(scan), ...(baseline ? [`Baseline: ${scanText(baseline)}`] : [])];
  if (!result) return scans.join('\n');
  const { labels, mean, options } = result;
  const against = result.boxes
    ? [
        '',
        `Compared with ${whole(result.boxes.used)} of ${count(result.boxes.marks, 'box or mask', 'boxes or masks')} (inside: fraction of the marked images' pixels, which is the AP of a random map).` +
          (options.bootstrap > 0
            ? ` In brackets: 95 % intervals, ${options.bootstrap} bootstrap resamples over images.`
            : ''),
        figures(labels, mean, 'model'),
        ...(mean.baseline
          ? [
              '',
              result.baseline?.untrained ? 'Baseline (random weights)' : `Baseline (${result.baseline?.path ?? ''})`,
              figures(labels, mean, 'baseline'),
              '',
              'Difference',
              figures(labels, mean, 'difference'),
            ]
          : []),
      ]
    : [];
  return [...scans, ...against, '', `Maps of typicality against ${rivalName(options.against)}: ${page ?? ''}`].join(
    '\n',
  );
}

function onLocalize(output: Output): (event: LocalizeEvent) => void {
  const scanning = onScan(output);
  return (event) => {
    if (event.type === 'maps' || event.type === 'resample' || event.type === 'draw') output.progress(event);
    else scanning(event);
  };
}

export const localizeCommand = command({
  native: true,
  options: optionsOf('localize', { ...LOCALIZE.shape, dryRun: DRY_RUN }),
  examples: [
    [
      'diffmine localize xrays.csv --model tuned --baseline sd15 --boxes BBox_List_2017.csv --only-marked --preset xray --out maps',
      "The paper's figure 11: AUC-PR before and after fine-tuning",
    ],
    [
      'diffmine localize photos --model M --against others --out maps',
      'Heat maps only, contrasted with the other labels',
    ],
  ],
  resumeHint: RESUME_HINT,
  stopping: stoppingOf,
  async handle({ dryRun, ...values }, { output, signal }) {
    if (dryRun) {
      const { planLocalization } = await import('../../stages/localize/localize.js');
      const plan = await planLocalization(values, dryRunHooks(output, signal));
      return { text: localizePlanText(plan), json: plan };
    }
    const { localize } = await import('../../stages/localize/localize.js');
    const summary = await localize(values, {
      signal,
      onProgress: onLocalize(output),
      onLog: (line) => output.log(line),
    });
    for (const one of [summary.scan, summary.baseline]) if (one) requireScores(one);
    return { text: localizeText(summary), json: summary };
  },
});
