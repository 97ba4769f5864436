// Which rows of a run's tables are exported.
import { namedLabels } from '../../data/labels.js';
import { DiffmineError } from '../../util/errors.js';
import { readMine } from '../../runs/mining.js';
import type { Run } from '../../runs/run.js';
import {
  CLUSTER_SCHEMA,
  imageSchema,
  MINED_PATCH_SCHEMA,
  type ImageRow,
  type MinedListName,
  type MinedPatchRow,
} from '../../runs/columns.js';
import type { Row, Schema } from '../../runs/tables.js';
import { groupBy } from '../../util/group.js';
import type { ExportTable } from './options.js';

/** Columns of the exported patches, in their documented order; `list` and what places a patch in the scored image come last. */
const PATCH_ORDER = [
  'image',
  'label',
  'condition',
  'rank',
  'x',
  'y',
  'width',
  'height',
  'typicality',
  'standard_error',
  'samples',
  'cluster',
  'list',
  'distance',
  'row',
  'column',
  'patch',
];
export const PATCH_COLUMNS: Schema = PATCH_ORDER.flatMap((name) =>
  MINED_PATCH_SCHEMA.filter(([column]) => column === name),
);

export interface Selection {
  list?: MinedListName | undefined;
  labels?: readonly string[] | undefined;
  top?: number | undefined;
}

/** @throws RUN_INVALID if the run has no such table yet; INVALID_ARGUMENT for a label or list that it does not have */
export async function load(
  run: Run,
  table: Exclude<ExportTable, 'maps'>,
  selection: Selection,
): Promise<{ rows: Row[]; schema: Schema }> {
  if (table === 'patches') return { rows: await patchesOf(run, selection), schema: PATCH_COLUMNS };
  if (selection.list !== undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`list\` does not apply to the table ${table}.`,
      'Leave it out, or export patches.',
    );
  const labels = labelsOf(run, selection.labels);
  const { top = Infinity } = selection;
  if (table === 'images')
    return { rows: await imagesOf(run, labels, top), schema: imageSchema(run.manifest.dataset.columns) };
  await requireMined(run, table);
  const rows: Row[] = [];
  for (const label of labels) for await (const row of run.clusters({ label })) if (row.cluster < top) rows.push(row);
  return { rows, schema: CLUSTER_SCHEMA };
}

/** By label, then list, then rank. */
export async function patchesOf(run: Run, { list, labels, top = Infinity }: Selection): Promise<MinedPatchRow[]> {
  await requireMined(run, 'patches');
  const wanted = new Set(labelsOf(run, labels));
  const rows: MinedPatchRow[] = [];
  for await (const row of run.patches({ ...(list === undefined ? {} : { list }), limit: top }))
    if (wanted.has(row.condition)) rows.push(row);
  if (list === 'diverse' && rows.length === 0)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${run.path} has no diverse ranking.`,
      'Mine it with --diverse: diffmine mine RUN --diverse',
    );
  return rows;
}

/** In the run's order; the best `top` of each label by descending typicality. */
async function imagesOf(run: Run, labels: readonly string[], top: number): Promise<ImageRow[]> {
  const wanted = new Set(labels);
  const rows: ImageRow[] = [];
  for await (const row of run.images()) if (wanted.has(row.condition)) rows.push(row);
  if (top === Infinity) return rows;
  return groupBy(rows, ({ condition }) => condition).flatMap((own) =>
    own.sort((a, b) => b.typicality - a.typicality).slice(0, top),
  );
}

/** The labels meant, in the run's order. */
export function labelsOf(run: Run, asked: readonly string[] | undefined): string[] {
  const { conditions } = run.manifest;
  if (asked === undefined || asked.length === 0) return conditions;
  const named = new Set(namedLabels(asked, conditions, true));
  const unknown = [...named].find((label) => !conditions.includes(label));
  if (unknown !== undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${run.path} has no patches of the label ${JSON.stringify(unknown)}.`,
      `Known labels: ${conditions.slice(0, 20).join(', ')}${conditions.length > 20 ? ', …' : ''}.`,
    );
  return conditions.filter((label) => named.has(label));
}

async function requireMined(run: Run, what: string): Promise<void> {
  if (await readMine(run)) return;
  throw new DiffmineError(
    'RUN_INVALID',
    `${run.path} is not mined: it has no ${what}.`,
    'Mine it first: diffmine mine RUN. The images table needs no mining.',
  );
}
