// cotypicality: finds what changes consistently between labels, in translated images.
import { COTYPICALITY, type CotypicalityEvent, type CotypicalitySummary } from '../../stages/cotypicality/options.js';
import { count, significant } from '../../web/html.js';
import { closing, state } from '../closing.js';
import { optionsOf } from '../../options/option.js';
import { DRY_RUN } from '../../options/shared.js';
import { command } from '../command.js';
import { dryRunHooks, planned } from '../dry-run.js';
import { table, type Output } from '../output.js';
import { onScan, stoppingOf } from '../stages.js';
import { RESUME_HINT } from './scan.js';

const fraction = (value: number): string => value.toFixed(2);

export function cotypicalityText(summary: CotypicalitySummary): string {
  const { scored, sequences, labels, skipped, shards, path } = summary;
  const head = closing({
    verb: 'Scored',
    noun: 'sequence',
    done: scored,
    total: sequences,
    skipped,
    shards,
    seconds: summary.seconds,
  });
  if (!summary.complete) return `${head}\n${state('search', false, shards, path)}`;
  const rows = summary.clusters.map(({ size, sequences: from, medianCotypicality, mostChanged }, index) => [
    String(index),
    String(size),
    String(from),
    significant(medianCotypicality, 3),
    mostChanged ? `${mostChanged.labels.join(' - ')} (${mostChanged.change.toFixed(2)} x random)` : '',
  ]);
  const parts = [table(['cluster', 'places', 'sequences', 'co-typicality', 'changes most'], rows, [0, 1, 2, 3])];
  if (summary.truth) {
    const { boxes, columns } = summary.truth;
    const lines = Object.entries(columns).flatMap(([column, lists]) =>
      (['top', 'random'] as const).map((list) => {
        const { places, onElement, purity, chance, purityOnElements, chanceOnElements } = lists[list];
        return [
          column,
          list === 'top' ? 'co-typical' : 'random',
          String(places),
          fraction(onElement),
          fraction(purity),
          fraction(chance),
          fraction(purityOnElements),
          fraction(chanceOnElements),
        ];
      }),
    );
    parts.push(
      `\nClusters compared with ${boxes}:`,
      table(
        ['element', 'places', 'number', 'on an element', 'purity', 'chance', 'purity on elements', 'chance'],
        lines,
        [2, 3, 4, 5, 6, 7],
      ),
    );
  }
  return [
    ...parts,
    `\n${head}`,
    `${count(summary.places, 'place')} of ${count(labels.length, 'label')} in ${count(summary.clusters.length, 'cluster')}.`,
    `Consistent changes: ${summary.page ?? path}`,
  ].join('\n');
}

function onCotypicality(output: Output): (event: CotypicalityEvent) => void {
  const scored = onScan(output, { into: 'Scoring into', item: 'sequence', todo: 'to score', bar: 'score' });
  return (event) => {
    switch (event.type) {
      case 'project':
        output.progress({ type: 'project', done: event.done, total: event.total });
        break;
      case 'report':
        output.progress({ type: 'report', done: event.done, total: event.total });
        break;
      case 'download':
      case 'load':
      case 'plan':
      case 'image':
      case 'shard':
      case 'unetCalls':
        scored(event);
        break;
    }
  };
}

export const cotypicalityCommand = command({
  native: true,
  options: optionsOf('cotypicality', { ...COTYPICALITY.shape, dryRun: DRY_RUN }),
  examples: [
    ['diffmine cotypicality parallel --model sd15 --out changes --preset geo', "The paper's setting for countries"],
    [
      'diffmine cotypicality parallel --model sd15 --out changes --preset geo --clusters 16',
      'Cluster the same places again',
    ],
  ],
  resumeHint: RESUME_HINT,
  stopping: stoppingOf,
  async handle({ dryRun, ...values }, { output, signal }) {
    const { planCotypicality, cotypicality } = await import('../../stages/cotypicality/cotypicality.js');
    if (dryRun) return planned(await planCotypicality(values, dryRunHooks(output, signal)));
    const hooks = { signal, onProgress: onCotypicality(output), onLog: (line: string) => output.log(line) };
    const summary = await cotypicality(values, hooks);
    for (const note of summary.notes) output.log(note);
    return { text: cotypicalityText(summary), json: summary };
  },
});
