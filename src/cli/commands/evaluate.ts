// evaluate: a run against boxes of what is known to be in its pictures.
import type { EvaluateSummary, Figure, KindEvaluation, Metrics, PrecisionAt } from '../../evaluate/options';
import { command } from '../command';
import { EVALUATE, RUN } from '../options';
import { table } from '../output';
import { defined } from '../stages';

const number = (value: number | null, digits = 3): string => (value === null ? '-' : value.toFixed(digits));
const signed = (value: number | null): string => (value === null ? '-' : value.toPrecision(2));

function figure({ value, low, high }: Figure, digits = 3): string {
  return low === null || high === null ? number(value, digits) : `${number(value, digits)} [${number(low, digits)}, ${number(high, digits)}]`;
}

function at(lists: PrecisionAt[], which: 'hit' | 'centre'): string[] {
  return lists.map((one) => figure(one[which], 2));
}

export function evaluateText({ boxes, options, labels, mean, kinds, notes }: EvaluateSummary): string {
  const rows: [string, Metrics][] = [...labels.map((one) => [one.label, one] as [string, Metrics]), ['mean', mean]];
  const shares = [...labels.map(({ share }) => share), mean.share];
  const maps = rows.map(([label, { averagePrecision, pointing }], i) => {
    const { typicality } = labels[i] ?? {};
    return [
      label, String(labels[i]?.pictures ?? ''), String(labels[i]?.boxes ?? ''), number(shares[i] ?? null), figure(averagePrecision), figure(pointing),
      ...(typicality ? [signed(typicality.own), signed(typicality.others), signed(typicality.rest)] : []),
    ];
  });
  const precision = (which: 'hit' | 'centre'): string => {
    const columns = mean.top.map(({ k }) => `P@${k}`);
    return table(['label', ...columns, ...columns.map((name) => `random ${name}`)], rows.map(([label, { top, random }]) => [label, ...at(top, which), ...at(random, which)]));
  };
  const kind = ({ label, kind: name, slot, boxes: count, recall, recall50, patches50, typicality }: KindEvaluation): string[] => [
    label, name, slot ?? '', String(count), number(recall, 2), number(recall50, 2), String(patches50 ?? '-'), signed(typicality),
  ];
  return [
    `${boxes.used} of ${boxes.rows} boxes are in pictures of the run.${options.bootstrap > 0 ? ` In brackets: 95 % intervals over pictures, ${options.bootstrap} resamples.` : ''}`,
    '',
    `Pixels of the maps, smoothed over ${options.smooth} x ${options.smooth} (share: of typical pixels; typicality: mean in own boxes, in those of other labels, elsewhere)`,
    table(['label', 'pictures', 'boxes', 'share', 'average precision', 'pointing game', 'own', 'others', 'rest'], maps, [1, 2, 3]),
    '',
    'Ranked patches: the centre in a box of a typical element, or IoU above 0.1',
    precision('hit'),
    '',
    'Ranked patches: the centre in a box of a typical element',
    precision('centre'),
    ...(kinds.length > 0
      ? ['', 'Elements (recall: share of boxes that a patch hits, in the whole ranking and in its first 50; patches of the first 50)', table(['label', 'kind', 'slot', 'boxes', 'recall', 'in 50', 'patches', 'typicality'], kinds.map(kind), [3, 4, 5, 6, 7])]
      : []),
    ...(notes.length > 0 ? ['', ...notes] : []),
  ].join('\n');
}

export const evaluateCommand = command({
  name: 'evaluate',
  describe: 'Compare a run with boxes: average precision of pixels, pointing game, precision of the top patches',
  options: { ...RUN, ...EVALUATE },
  examples: [['diffmine evaluate run --boxes world/boxes.csv', 'With 95 % intervals and random patches as the control']],
  native: true,
  async handle({ run, boxes, smooth, bootstrap, seed, 'typical-column': typicalColumn }, { output, signal }) {
    const { evaluate } = await import('../../evaluate/evaluate.js');
    const summary = await evaluate(run, { boxes, ...defined({ smooth, bootstrap, seed, typicalColumn }) }, { signal, onProgress: output.progress });
    return { text: evaluateText(summary), json: summary };
  },
});
