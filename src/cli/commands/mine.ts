// mine: ranks the patches of a scanned run and clusters the best of each label.
import { optionsOf } from '../../options/option.js';
import { MINE, type MineSummary } from '../../stages/mine/options.js';
import { SHAPES } from '../../metrics/trend.js';
import { patchesOf } from '../../runs/contrast-words.js';
import { concentrations, type Dropped } from '../../runs/mining.js';
import { count, significant } from '../../web/html.js';
import { DRY_RUN } from '../../options/shared.js';
import { command } from '../command.js';
import { dryRunHooks, planned } from '../dry-run.js';
import { RUN } from '../options.js';
import { table } from '../output.js';
import { onMine, took } from '../stages.js';

export function mineText(summary: MineSummary): string {
  const rows = summary.conditions.map(({ condition, patches, clusters, inertia }) => [
    condition,
    String(patches),
    String(clusters),
    significant(inertia, 4),
  ]);
  const patches = summary.conditions.reduce((sum, one) => sum + one.patches, 0);
  const what = `${count(patches, `${patchesOf(summary.rank, true)} patch`, `${patchesOf(summary.rank, true)} patches`)} of ${count(summary.conditions.length, 'label')}`;
  const done = summary.reused
    ? `Already mined with these options (${what}): ${summary.path}`
    : `Clustered ${what}, from ${count(summary.images, 'image')}, ${took(summary.seconds)}: ${summary.path}`;
  return [
    table(['label', 'patches', 'clusters', 'inertia'], rows, [1, 2, 3]),
    ...droppedText(summary.conditions.map(({ dropped }) => dropped)),
    ...concentrations(summary.conditions),
    ...(summary.trends ? [trendsText(summary.trends)] : []),
    ...(summary.clusters === 'auto'
      ? ['Clusters: one per 25 patches, at most 32. Set their number with --clusters.']
      : []),
    ...(summary.reusedFeatures > 0
      ? [`The scan is complete. Features of ${count(summary.reusedFeatures, 'patch', 'patches')} were reused.`]
      : []),
    done,
  ].join('\n');
}

function trendsText(trends: NonNullable<MineSummary['trends']>): string {
  const total = Object.values(trends).reduce((sum, one) => sum + one, 0);
  return `Trends: ${count(total, 'element')} of all labels: ${SHAPES.map((shape) => `${trends[shape]} ${shape}`).join(', ')}.`;
}

function droppedText(dropped: readonly Dropped[]): string[] {
  const sum = (which: keyof Dropped): number => dropped.reduce((total, one) => total + one[which], 0);
  const reasons = [
    [sum('duplicates'), 'of near-duplicate images'],
    [sum('contrast'), 'below the minimum contrast'],
    [sum('groups'), 'of groups with their maximum'],
  ].flatMap(([patches, why]) => (patches ? [`${patches} ${why}`] : []));
  return reasons.length > 0 ? [`Patches left out: ${reasons.join(', ')}.`] : [];
}

export const mineCommand = command({
  native: true,
  options: optionsOf('mine', { ...RUN, ...MINE.shape, dryRun: DRY_RUN }),
  examples: [
    [
      'diffmine mine run --rank random',
      'As a control, cluster random patches instead; replaces the clusters of the run',
    ],
  ],
  resumeHint: 'The scan is kept. Run the same command to mine it again.',
  async handle({ run, dryRun, ...options }, { output, signal }) {
    const { planMining, mine } = await import('../../stages/mine/mine.js');
    if (dryRun) return planned(await planMining({ run, ...options }, dryRunHooks(output, signal)));
    const summary = await mine(
      { run, ...options },
      {
        signal,
        onProgress: onMine(output),
        onLog: (line) => output.log(line),
      },
    );
    for (const note of summary.notes) output.log(note);
    return { text: mineText(summary), json: summary };
  },
});
