// inspect: describes a model, dataset, run or another output.
import type { DatasetInspection, DemoInspection, Inspection, RunInspection } from '../../tools/inspect/inspect.js';
import { PROPERTIES, telling } from '../../data/properties.js';
import { command } from '../command.js';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { INSPECT } from '../../tools/inspect/options.js';
import { table } from '../output.js';
import { byteSize } from '../../util/bytes.js';
import { count } from '../../web/html.js';
import { ignoredSentence } from '../../data/ignored.js';
import { hubFilesText } from './pull.js';
import { formatJson } from '../../util/json.js';

/** Pairs of near-duplicates that are listed. */
const SHOWN = 10;

/** Nested values as `name.inner: value` lines. */
function lines(value: object, prefix = ''): string[] {
  return Object.entries(value).flatMap(([key, one]: [string, unknown]) => {
    if (one === null || one === undefined) return [];
    if (typeof one === 'object' && !Array.isArray(one)) return lines(one, `${prefix}${key}.`);
    return [`${prefix}${key}: ${Array.isArray(one) ? one.map(shown).join(', ') : shown(one)}`];
  });
}

const shown = (value: unknown): string => (typeof value === 'string' ? value : formatJson(value));

function datasetText(found: DatasetInspection): string {
  const { measured } = found;
  const range = (sides: [number, number] | null): string =>
    sides ? (sides[0] === sides[1] ? `${sides[0]}` : `${sides[0]} ... ${sides[1]}`) : '?';
  return [
    `Dataset ${found.path}${found.layout ? ` (in the layout of --preset ${found.layout})` : ''}: ${count(found.images, 'image')} of ${count(found.labels.length, 'label')}, ${byteSize(found.bytes)}.`,
    `Of ${measured.images} measured: short side ${range(measured.shortSide)} px, long side ${range(measured.longSide)} px, ${measured.unreadable.length} unreadable.`,
    ...measured.unreadable.map(({ image, reason }) => `  ${image} ${reason}`),
    ...found.warnings,
    ...[ignoredSentence(found.ignoredBy)].filter((line) => line !== undefined),
    ...confoundText(found.confounds),
    ...(found.imageGrid
      ? [`image grid: ${found.imageGrid.path}, rows from the top: ${found.imageGrid.labels.join(', ')}`]
      : []),
    `fingerprint: ${found.fingerprint}`,
    '',
    table(
      ['label', 'images'],
      found.labels.map(({ label, images }) => [label, String(images)]),
      [1],
    ),
  ].join('\n');
}

/** What tells labels apart without any element in it. */
function confoundText(found: DatasetInspection['confounds']): string[] {
  if (!found) return [];
  const told = telling(found.confounds);
  const figure = (value: number | null): string => (value ?? NaN).toFixed(2);
  const pairs = found.duplicates.slice(0, SHOWN);
  return [
    told.length === 0
      ? `Confounds: none of ${PROPERTIES.join(', ')} alone tells a label from the others (${count(found.images, 'image')} measured).`
      : `Confounds: labels that a property of the whole image tells from the others (${count(found.images, 'image')} measured; an AUROC of 0.5 is chance, 0 or 1 tells every image):`,
    ...told.map(
      ({ label, property, auroc: { value, low, high } }) =>
        `  ${label}: ${property}, AUROC ${figure(value)} [${figure(low)}, ${figure(high)}]`,
    ),
    ...(found.duplicates.length > 0
      ? [`${count(found.duplicates.length, 'pair')} of near-duplicate images under different labels:`]
      : []),
    ...pairs.map(({ image, label, other, otherLabel }) => `  ${image} (${label}) and ${other} (${otherLabel})`),
    ...(found.duplicates.length > SHOWN ? [`  and ${found.duplicates.length - SHOWN} more; see --json`] : []),
  ];
}

function runText(found: RunInspection): string {
  const { shards, dataset, model } = found;
  const state =
    shards.done < shards.total
      ? `${shards.done} of ${count(shards.total, 'shard')} ${shards.total === 1 ? 'is' : 'are'} scanned`
      : found.mined
        ? found.report
          ? 'scanned, mined and reported'
          : 'scanned and mined'
        : 'scanned';
  return [
    `Run ${found.path}: ${state}; ${count(found.scored, 'image')} scored, ${found.skipped} skipped.`,
    `model: ${model.path} (${model.kind}, ${model.conditioning})`,
    `dataset: ${dataset.path} (${count(dataset.images, 'image')}, ${count(dataset.labels.length, 'label')})`,
    ...lines(found.options),
    ...(found.report ? [`report: ${found.report}`] : []),
    `fingerprint: ${found.fingerprint}`,
  ].join('\n');
}

function demoText({ kind: _, path, figures, ...places }: DemoInspection): string {
  const figure = (value: number | null): string => value?.toFixed(2) ?? '?';
  return [
    `Demo ${path}`,
    ...lines(places),
    ...(figures
      ? [
          `average precision: ${figure(figures.averagePrecision)}`,
          `first 50 patches on something planted: ${figure(figures.precision50)}; random ones: ${figure(figures.random50)}`,
        ]
      : []),
  ].join('\n');
}

function inspectionText(found: Inspection): string {
  switch (found.kind) {
    case 'model':
      return [`Model ${found.path}`, ...lines(found.summary)].join('\n');
    case 'hub':
      return hubFilesText(found);
    case 'dataset':
      return datasetText(found);
    case 'run':
      return runText(found);
    case 'demo':
      return demoText(found);
    case 'output':
      return [`${found.path} is ${found.what}.`, ...(found.page === null ? [] : [`page: ${found.page}`])].join('\n');
  }
}

export const inspectCommand = command({
  options: optionsOf('inspect', {
    path: option(fields.path(), { group: 'Input', description: 'Model, dataset, run or demo directory' }),
    ...INSPECT.shape,
  }),
  async handle({ path, ...options }, { signal }) {
    const { inspect } = await import('../../tools/inspect/inspect.js');
    const found = await inspect(path, options, { signal });
    return { text: inspectionText(found), json: found };
  },
});
