// RUN/evaluate: what an evaluation found, kept beside the run for its report.
//
//   evaluate/evaluation.json     EvaluationRecord
//   evaluate/maps.webp           images beside their maps (grid.ts); absent without them
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MineRecord } from '../mine/record.js';
import { readMine } from '../mine/record.js';
import { canonicalJson, type Json } from '../../runs/fingerprint.js';
import type { Run } from '../../runs/run.js';
import type { EvaluateSummary } from './options.js';

export const EVALUATION_FORMAT = 'diffmine-evaluation-2';
export const EVALUATION_FILE = 'evaluation.json';
export const GRID_FILE = 'maps.webp';

export interface EvaluationRecord extends EvaluateSummary {
  format: typeof EVALUATION_FORMAT;
  version: string;
  /** the run's */
  fingerprint: string;
  /** how the run was mined; null where it was not */
  mine: MineRecord['options'] | null;
}

export const evaluationFolder = (run: Run): string => join(run.path, 'evaluate');

/** The evaluation of the run as it is mined now; undefined where there is none, or only one of an earlier mining. */
export async function readEvaluation(run: Run): Promise<EvaluationRecord | undefined> {
  let record: EvaluationRecord;
  try {
    record = JSON.parse(await readFile(join(evaluationFolder(run), EVALUATION_FILE), 'utf8')) as EvaluationRecord;
  } catch {
    return undefined;
  }
  if (record?.format !== EVALUATION_FORMAT || record.fingerprint !== run.manifest.fingerprint) return undefined;
  const mined = (await readMine(run))?.options ?? null;
  return canonicalJson(record.mine as unknown as Json) === canonicalJson(mined as unknown as Json) ? record : undefined;
}
