// What the report shows of an evaluation: data/evaluation.js and maps/evaluation.webp, written with the report, or into one that is there when a run is evaluated.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { evaluationFolder, readEvaluation, GRID_FILE } from '../../runs/evaluation.js';
import { contrastOf, contrastWords, mapEnds, mapMeaning } from '../../runs/contrast-words.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import type { Run } from '../../runs/run.js';
import type { ReportBytes } from '../../web/folder.js';
import { legend } from '../../web/heatmap.js';
import { scriptOf } from '../../web/script.js';
import { named } from '../../web/shown-name.js';
import { makeFolder } from '../../util/paths.js';

const LEGEND_STOPS = 41;
/** What a report that can show an evaluation has. */
const DATA = 'data/evaluation.js';
const MAPS = 'maps/evaluation.webp';
/** What a report has of an evaluation, in its folder. */
export const EVALUATION_FILES = [DATA, MAPS];

/** The report's files of the run's evaluation: without one, data that say so. */
export async function evaluationFiles(
  run: Run,
): Promise<{ kind: keyof Omit<ReportBytes, 'total'>; name: string; data: string | Buffer }[]> {
  const record = await readEvaluation(run);
  if (!record) return [{ kind: 'page', name: DATA, data: scriptOf('diffmine.evaluated', null) }];
  const grid = record.grid && (await readFile(join(evaluationFolder(run), GRID_FILE)).catch(() => undefined));
  const { boxes, options, mean, labels, kinds, controls, notes } = record;
  const shown = {
    options,
    mean,
    labels,
    kinds,
    notes,
    boxes: named(boxes),
    controls: { ...controls, run: controls.run && named(controls.run) },
    grid: grid ? record.grid : null,
    legend: legend(LEGEND_STOPS),
    words: wordsOf(run),
  };
  return [
    { kind: 'page', name: DATA, data: scriptOf('diffmine.evaluated', shown) },
    ...(grid ? [{ kind: 'maps', name: MAPS, data: grid } as const] : []),
  ];
}

/** What the page says of the run that was evaluated. */
function wordsOf(run: Run): { run: string; before: string; scores: string; maps: string; ends: [string, string] } {
  const contrast = contrastOf(run);
  const { untrained } = contrast;
  return {
    run: untrained ? 'This run (random weights)' : 'This run',
    before: untrained ? 'With random weights, ' : '',
    scores: `Typicality is against ${contrastWords(contrast).rival}.`,
    maps: mapMeaning(contrast),
    ends: mapEnds(contrast),
  };
}

/**
 * Brings the run's report up to its evaluation.
 *
 * @returns its page; undefined where there is no report, or one that shows no evaluations
 */
export async function updateReport(run: Run, signal?: AbortSignal): Promise<string | undefined> {
  const report = join(run.path, 'report');
  const known = (): boolean => existsSync(join(report, DATA));
  if (!known()) return undefined;
  const lock = await run.locks.wait('report', { signal });
  try {
    if (!known()) return undefined;
    for (const { name, data } of (await evaluationFiles(run)).reverse()) {
      await makeFolder(dirname(join(report, name))); // of a run in a bucket only what is read is here
      await writeFileAtomic(join(report, name), data);
    }
    return join(report, 'index.html');
  } finally {
    await lock.release();
  }
}
