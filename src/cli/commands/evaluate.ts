// evaluate: compares a run with boxes of known elements.
import { optionsOf } from '../../options/option.js';
import {
  EVALUATE,
  type EvaluateSummary,
  type Figure,
  type KindEvaluation,
  type PrecisionAt,
  type RegionTypicality,
} from '../../stages/evaluate/options.js';
import { rivalName } from '../../runs/contrast-words.js';
import { count, significant, whole } from '../../web/html.js';
import { DRY_RUN } from '../../options/shared.js';
import { command } from '../command.js';
import { dryRunHooks, planned } from '../dry-run.js';
import { RUN } from '../options.js';
import { table } from '../output.js';

const number = (value: number | null | undefined, digits = 3): string =>
  value === null || value === undefined ? '-' : value.toFixed(digits);
const signed = (value: number | null): string => (value === null ? '-' : significant(value, 2));
const times = (value: number | null | undefined): string =>
  value === null || value === undefined ? '-' : `x ${value.toFixed(1)}`;

function figure({ value, low, high }: Figure, digits = 3): string {
  return low === null || high === null
    ? number(value, digits)
    : `${number(value, digits)} [${number(low, digits)}, ${number(high, digits)}]`;
}

function at(lists: PrecisionAt[], which: 'hit' | 'center'): string[] {
  return lists.map((one) => figure(one[which], 2));
}

/** What the control run is called in a table. */
export function controlName({ controls }: Pick<EvaluateSummary, 'controls'>): string {
  return controls.run?.untrained ? 'untrained' : 'control';
}

export function evaluateText(summary: EvaluateSummary): string {
  const { boxes, options, labels, mean, kinds, notes, controls } = summary;
  const rows = [
    ...labels.map((one) => ({ ...one, name: one.label, counts: [String(one.images), String(one.boxes)] })),
    { ...mean, name: 'mean', counts: ['', ''] },
  ];
  const regions = ({ own, others, rest }: RegionTypicality): string[] => [own, others, rest].map(signed);
  const maps = rows.map((row) => [
    row.name,
    ...row.counts,
    number(row.fraction),
    figure(row.averagePrecision),
    times(row.lift),
    figure(row.pointing),
    ...regions(row.typicality),
  ]);
  const precision = (which: 'hit' | 'center'): string => {
    const columns = mean.top.map(({ k }) => `P@${k}`);
    const diverse = mean.diverse.map(({ k }) => `diverse P@${k}`);
    return table(
      ['label', ...columns, ...diverse, ...columns.map((name) => `random ${name}`)],
      rows.map((row) => [row.name, ...at(row.top, which), ...at(row.diverse, which), ...at(row.random, which)]),
    );
  };
  const spread = mean.diverse.length > 0;
  const kind = ({
    label,
    kind: name,
    slot,
    boxes: count,
    recall,
    recall50,
    patches50,
    diverseRecall50,
    diversePatches50,
    typicality,
  }: KindEvaluation): string[] => [
    label,
    name,
    slot ?? '',
    String(count),
    number(recall, 2),
    number(recall50, 2),
    String(patches50 ?? '-'),
    ...(spread ? [number(diverseRecall50, 2), String(diversePatches50 ?? '-')] : []),
    signed(typicality),
  ];
  return [
    `${whole(boxes.used)} of ${count(boxes.rows, 'box', 'boxes')} ${boxes.used === 1 ? 'is' : 'are'} in images of the run.${options.bootstrap > 0 ? ` In brackets: 95 % intervals, ${options.bootstrap} bootstrap resamples over images.` : ''}`,
    `Typicality is against ${rivalName(summary.against)}${summary.untrained ? ', of a network with random weights (a control)' : ''}.`,
    '',
    `Pixels of the maps${options.smooth > 1 ? `, smoothed over ${options.smooth} x ${options.smooth} px` : ''} (chance: fraction of typical pixels, which is the average precision of a random map; own, others, rest: mean typicality in boxes of the label, of other labels, elsewhere)`,
    table(
      ['label', 'images', 'boxes', 'chance', 'average precision', 'x chance', 'pointing game', 'own', 'others', 'rest'],
      maps,
      [1, 2, 3, 5],
    ),
    ...(controls.color || controls.run ? ['', ...beside(summary)] : []),
    '',
    'Patches of highest typicality: center in a box of a typical element, or IoU above 0.1',
    precision('hit'),
    '',
    'Patches of highest typicality: center in a box of a typical element',
    precision('center'),
    ...(kinds.length > 0
      ? [
          '',
          'Elements (recall: fraction of boxes that a patch is on, for the whole ranking and its first 50; patches: of the first 50)',
          table(
            [
              ...['label', 'kind', 'slot', 'boxes', 'recall', 'in 50', 'patches'],
              ...(spread ? ['in diverse 50', 'patches'] : []),
              'typicality',
            ],
            kinds.map(kind),
            spread ? [3, 4, 5, 6, 7, 8, 9] : [3, 4, 5, 6, 7],
          ),
        ]
      : []),
    ...(notes.length > 0 ? ['', ...notes] : []),
  ].join('\n');
}

/** The run beside what ought not to do as well. */
function beside(summary: EvaluateSummary): string[] {
  const { labels, mean, controls } = summary;
  const { color, run } = controls;
  const name = controlName(summary);
  const k = mean.top.findIndex((one) => one.k === 50);
  const names = [
    'label',
    'AP',
    ...(color ? ['color'] : []),
    ...(run ? [name, 'x chance'] : []),
    'pointing',
    ...(color ? ['color'] : []),
    ...(run ? [name] : []),
    'P@50',
    'random',
    ...(run ? [name] : []),
  ];
  const rows = [...labels, mean].map((ours, i) => {
    const [byColor, other] = [color && (color.labels[i] ?? color.mean), run && (run.labels[i] ?? run.mean)];
    const three = (of: Figure): string => number(of.value);
    return [
      labels[i]?.label ?? 'mean',
      three(ours.averagePrecision),
      ...(byColor ? [three(byColor.averagePrecision)] : []),
      ...(other ? [three(other.averagePrecision), times(other.lift)] : []),
      three(ours.pointing),
      ...(byColor ? [three(byColor.pointing)] : []),
      ...(other ? [three(other.pointing)] : []),
      number(ours.top[k]?.hit.value, 2),
      number(ours.random[k]?.hit.value, 2),
      ...(other ? [number(other.top[k]?.hit.value, 2)] : []),
    ];
  });
  const told = [
    ...(color ? ["color: likelihood ratio of a pixel's color under its label, without any model"] : []),
    ...(run ? [`${name}: ${run.untrained ? 'random weights, ' : ''}${run.path}`] : []),
  ];
  return [`Compared with controls (${told.join('; ')})`, table(names, rows, names.map((_, i) => i).slice(1))];
}

export const evaluateCommand = command({
  options: optionsOf('evaluate', { ...RUN, ...EVALUATE.shape, dryRun: DRY_RUN }),
  examples: [
    ['diffmine evaluate run --boxes world/boxes.csv', 'With 95% intervals; colors and random patches as controls'],
    [
      'diffmine evaluate run --boxes world/boxes.csv --control-run untrained-run',
      'With a run scanned with --untrained as a control',
    ],
  ],
  native: true,
  async handle({ run, dryRun, ...options }, { output, signal }) {
    const { planEvaluation, evaluate } = await import('../../stages/evaluate/evaluate.js');
    if (dryRun) return planned(await planEvaluation({ run, ...options }, dryRunHooks(output, signal)));
    const hooks = { signal, onProgress: output.progress, onLog: (line: string) => output.log(line) };
    const summary = await evaluate({ run, ...options }, hooks);
    return { text: evaluateText(summary), json: summary };
  },
});
