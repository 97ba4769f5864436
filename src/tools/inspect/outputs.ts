// Folders that diffmine wrote and that are neither a model nor a run: the demo's, and outputs of stages.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { OUTPUT_MARKERS, outputFormat } from '../../data/ignored.js';
import { RECORD } from '../../models/training.js';
import { readEvaluation } from '../../runs/evaluation.js';
import { MANIFEST } from '../../runs/manifest.js';
import { Run } from '../../runs/run.js';
import { parseJson } from '../../util/json.js';

/** A demo's folder. Paths are null where it has no such folder or page. */
export interface DemoInspection {
  kind: 'demo';
  path: string;
  world: string | null;
  run: string | null;
  control: string | null;
  translation: string | null;
  cotypicality: string | null;
  localization: string | null;
  /** the report of the run; of a full demo also the page that links all reports */
  report: string | null;
  page: string | null;
  /** means over the cities, once the run is evaluated */
  figures: { averagePrecision: number | null; precision50: number | null; random50: number | null } | null;
}

/** The folder of a translation, of consistent changes, of an unfinished training or another output. */
export interface OutputInspection {
  kind: 'output';
  path: string;
  /** of its record, without the version */
  format: string;
  /** 'the output of translate', 'a training that stopped at step 20 of 100: …' */
  what: string;
  /** to open in a browser */
  page: string | null;
}

const OUTPUTS: Readonly<Record<string, string>> = {
  'diffmine-translation': 'the output of translate',
  'diffmine-cotypicality': 'the output of cotypicality',
  'diffmine-localization': 'the output of localize',
  'diffmine-mine': 'the part of a run that mine writes: inspect the run instead',
  'diffmine-evaluation': 'the part of a run that evaluate writes: inspect the run instead',
  'diffmine-report': 'a report: open its page',
};

/** Describes such a folder; undefined for any other. */
export async function inspectOutput(path: string): Promise<DemoInspection | OutputInspection | undefined> {
  const format = (await outputFormat(path, [...OUTPUT_MARKERS, 'index.html', 'data']))?.replace(/-$/, '');
  if (format === undefined) return undefined;
  if (format === 'diffmine-demo') return inspectDemo(resolve(path));
  const what = format === 'diffmine-train' ? await trainingText(path) : OUTPUTS[format];
  return what === undefined ? undefined : { kind: 'output', path: resolve(path), format, what, page: pageOf(path) };
}

function there(...parts: [string, ...string[]]): string | null {
  const path = resolve(...parts);
  return existsSync(path) ? path : null;
}

const pageOf = (path: string): string | null =>
  there(path, 'index.html') ?? there(path, 'page', 'index.html') ?? there(path, 'train-report.html');

async function trainingText(path: string): Promise<string> {
  const { status, step, settings } = parseJson(await readFile(join(path, RECORD), 'utf8')) as {
    status?: string;
    step?: number;
    settings?: { steps?: number };
  };
  const state = status === 'running' ? 'is running, or was killed,' : status === 'diverged' ? 'diverged' : 'stopped';
  return `a training that ${state} after step ${step ?? 0} of ${settings?.steps ?? '?'}: it has no model yet, and the same train command resumes it`;
}

async function inspectDemo(path: string): Promise<DemoInspection> {
  const run = there(path, 'run', MANIFEST) && join(path, 'run');
  const mean = run === null ? undefined : (await readEvaluation(await Run.open(run)))?.mean;
  const at50 = (figures: readonly { k: number; hit: { value: number | null } }[]): number | null =>
    figures.find(({ k }) => k === 50)?.hit.value ?? null;
  return {
    kind: 'demo',
    path,
    world: there(path, 'world'),
    run,
    control: there(path, 'control'),
    translation: there(path, 'translation'),
    cotypicality: there(path, 'cotypicality'),
    localization: there(path, 'localization'),
    report: there(path, 'run', 'report', 'index.html'),
    page: there(path, 'index.html'),
    figures: mean
      ? { averagePrecision: mean.averagePrecision.value, precision50: at50(mean.top), random50: at50(mean.random) }
      : null,
  };
}
