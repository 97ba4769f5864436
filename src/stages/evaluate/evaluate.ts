// Compares a run with boxes of known elements: pixels of its maps, positions of its ranked patches, and controls (formulas:
// docs/explanation/metrics.md).
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import sharp from 'sharp';
import { readBoxes } from '../../data/boxes/index.js';
import { sharesLabel } from '../../data/labels.js';
import { asDiffmineError, DiffmineError } from '../../util/errors.js';
import { readMine } from '../../runs/mining.js';
import { EVALUATION_FILES, updateReport } from '../report/report.js';
import { removeLeftovers, replaceFolder } from '../../runs/atomic.js';
import { haveSameRows } from '../../runs/list.js';
import { Run } from '../../runs/run.js';
import { imageRoot } from '../../runs/scored.js';
import { VERSION } from '../../util/version.js';
import { colorEvidence } from './color.js';
import { checkFinished, gather, kindsOf, type Evidence } from './evidence.js';
import { readImages, typical, typicalOf } from './images.js';
import { mean } from '../../metrics/bootstrap.js';
import { figuresOf, type Fractions } from './figures.js';
import { resolved } from '../../options/check.js';
import type { Plan } from '../../pipeline/plan.js';
import {
  AT,
  EVALUATE,
  type EvaluateEvent,
  type EvaluateOptions,
  type EvaluateSummary,
  type PixelMetrics,
  type RegionTypicality,
} from './options.js';
import {
  EVALUATION_FILE,
  EVALUATION_FORMAT,
  evaluationFolder,
  GRID_FILE,
  type EvaluationRecord,
} from '../../runs/evaluation.js';
import { forMaps, withLocalRun } from '../../runs/store/copy.js';
import { drawGrid } from './grid.js';
import type { Hooks } from '../../util/hooks.js';
import { count } from '../../web/html.js';

/**
 * Evaluates a run, writes the results to RUN/evaluate (replacing an earlier evaluation), and adds them to an existing report.
 *
 * @throws DATASET_INVALID for boxes that cannot be read, do not fit the images of the run or meet none of them; RUN_INVALID for a run that is not finished, or has neither maps nor
 *   rankings; RUN_MISMATCH for a control of other images; INVALID_ARGUMENT; CANCELLED
 */
export async function evaluate(options: EvaluateOptions, hooks: Hooks<EvaluateEvent> = {}): Promise<EvaluateSummary> {
  const { controlRun } = options;
  const makes = ['evaluate', ...EVALUATION_FILES.map((name) => `report/${name}`)];
  return withLocalRun(options.run, hooks, { reads: forMaps, makes, lock: 'evaluate' }, async (run, local) =>
    controlRun === undefined
      ? evaluateFolder({ ...options, run }, local)
      : withLocalRun(controlRun, local, { reads: forMaps, makes: [], lock: '' }, async (control, both) =>
          evaluateFolder({ ...options, run, controlRun: control }, both),
        ),
  );
}

/** What `evaluate` would do. @throws as `evaluate` before work begins */
export async function planEvaluation(
  { run: place, controlRun, ...given }: EvaluateOptions,
  hooks: Hooks<EvaluateEvent> = {},
): Promise<Plan> {
  const copy = { reads: forMaps, makes: [], lock: '' };
  const planned = async (runPath: string, control: string | undefined): Promise<Plan> => {
    const asked = control === undefined ? given : { ...given, controlRun: control };
    const { options, run, other, truth, root } = await resolveEvaluation(runPath, asked);
    for (const one of other ? [run, other] : [run]) {
      await checkFinished(one);
      await readImages(one, truth, root, hooks);
    }
    const { rows: total } = run.manifest.index;
    return {
      ...{ dryRun: true, path: run.path, item: 'image', items: { total, done: 0 }, shards: null },
      ...{ unit: 'UNet call', calls: 0, atMost: false, rate: null, seconds: null, disk: null },
      ...{ dtype: null, batch: null, device: null },
      reuses: [
        `The maps and rankings of the run${other ? ', and those of the control' : ''}, compared with ${count(truth.boxes.length, 'box', 'boxes')} in ${count(options.bootstrap, 'bootstrap resample')}.`,
      ],
      writes: [`evaluate/${EVALUATION_FILE}`, ...(options.gridImages > 0 ? [`evaluate/${GRID_FILE}`] : [])],
    };
  };
  return withLocalRun(place, hooks, copy, async (run, local) =>
    controlRun === undefined
      ? planned(run, undefined)
      : withLocalRun(controlRun, local, copy, async (control) => planned(run, control)),
  );
}

/** Opens what is compared. */
async function resolveEvaluation(runPath: string, given: Omit<EvaluateOptions, 'run'>) {
  const options = resolved(EVALUATE, given);
  const run = await Run.open(runPath);
  const other = options.controlRun === undefined ? undefined : await openControl(options.controlRun, run);
  const { boxes: path, boxFrame: frame, typicalColumn } = options;
  const truth = { ...(await readBoxes(path, typicalColumn === undefined ? {} : { typicalColumn })), path, frame };
  return { options, run, other, truth, root: imageRoot(run, options.dataset) };
}

async function evaluateFolder(
  { run: runPath, ...given }: EvaluateOptions,
  hooks: Hooks<EvaluateEvent>,
): Promise<EvaluateSummary> {
  const { options, run, other, truth, root } = await resolveEvaluation(runPath, given);
  const { smooth, bootstrap, seed, gridImages: perLabel } = options;
  const { conditions } = run.manifest;
  hooks.onLog?.(
    `Evaluating ${count(run.manifest.index.rows, 'image')} of ${count(conditions.length, 'label')} against ${count(truth.boxes.length, 'box', 'boxes')}, with ${count(bootstrap, 'bootstrap resample')}: no UNet calls.`,
  );
  const { images, boxes, evidence, notes } = await gather(run, truth, root, smooth, hooks);
  notes.push(...boxes.notes);
  const shown = [...new Set(images.flatMap((image) => image.boxes.map((box) => typicalOf(box, image))))];
  const ranks = evidence.flatMap(({ label, top }) =>
    top && top.length < Math.max(...AT) ? [`${label} has ${top.length}`] : [],
  );
  if (ranks.length > 0)
    notes.push(`Rankings with fewer than k patches give P@k over those patches: ${ranks.join(', ')}.`);
  const unknown = shown.filter((label) => !conditions.some((one) => sharesLabel(one, label)));
  if (unknown.length > 0)
    notes.push(
      `Boxes are typical of labels that were not scored: ${unknown.slice(0, 5).join(', ')}${unknown.length > 5 ? ', ...' : ''}.`,
    );

  const fractions = fractionsOf(evidence);
  const ours = await figuresOf(evidence, images.length, fractions, { bootstrap, seed }, hooks);
  const colors = !options.colorBaseline ? undefined : await colorEvidence(run, root, conditions, images, smooth, hooks);
  if (typeof colors === 'string') notes.push(`No color baseline: ${colors}`);
  const color = Array.isArray(colors)
    ? await figuresOf(colors, images.length, fractionsOf(colors), { bootstrap, seed }, hooks)
    : undefined;
  const drawn = perLabel > 0 ? await gridOf() : undefined;

  const regions = evidence.map(({ typicality }) => typicality);
  const region = (which: keyof RegionTypicality): number | null => mean(regions.map((one) => one[which]));
  const summary: EvaluateSummary = {
    path: evaluationFolder(run),
    run: run.path,
    against: run.manifest.options.against,
    untrained: run.manifest.options.untrained === true,
    boxes: {
      path: resolve(options.boxes),
      rows: truth.boxes.length,
      used: boxes.used,
      turned: boxes.turned,
      clipped: boxes.clipped,
      outside: boxes.outside,
      empty: boxes.empty,
    },
    options: { smooth, bootstrap, seed, typicalColumn: options.typicalColumn ?? null },
    mean: {
      ...ours.mean,
      fraction: fractions.mean,
      typicality: { own: region('own'), others: region('others'), rest: region('rest') },
    },
    labels: evidence.map(({ label, own, typicality, top }, i) => ({
      images: own.length,
      boxes: own.reduce((sum, image) => sum + typical(image, label).length, 0),
      fraction: fractions.labels[i] ?? null,
      ...(ours.labels[i] as (typeof ours.labels)[number]),
      typicality,
      patches: top?.length ?? 0,
    })),
    kinds: evidence.flatMap(kindsOf),
    controls: {
      color: color
        ? {
            mean: ofPixels(color.mean),
            labels: color.labels.map((figures) => ({ label: figures.label, ...ofPixels(figures) })),
          }
        : null,
      run: other ? await controlOf(other) : null,
    },
    grid: drawn?.grid ?? null,
    notes,
  };
  await keep(run, summary, drawn, options.png, hooks);
  return summary;

  async function gridOf(): ReturnType<typeof drawGrid> {
    try {
      return await drawGrid(run, root, evidence, { smooth, perLabel }, hooks);
    } catch (thrown) {
      const error = asDiffmineError(thrown);
      if (error.code !== 'IMAGE_UNREADABLE') throw error;
      notes.push(`No image grid of maps: ${error.message}`);
      return undefined;
    }
  }

  async function controlOf(control: Run): Promise<EvaluateSummary['controls']['run']> {
    const found = await gather(control, truth, root, smooth, hooks);
    notes.push(...found.notes.map((note) => `Control: ${note}`));
    const empty = { own: [], curve: undefined, pointing: [] };
    const aligned = conditions.map(
      (label): Evidence => found.evidence.find((one) => one.label === label) ?? { label, ...empty },
    );
    const figures = await figuresOf(aligned, found.images.length, fractionsOf(aligned), { bootstrap, seed }, hooks);
    return { path: control.path, untrained: control.manifest.options.untrained === true, ...figures };
  }
}

/** A run of the same images. */
async function openControl(path: string, run: Run): Promise<Run> {
  const control = await Run.open(path);
  if (await haveSameRows(control.list, run.list, ['path', 'label'])) return control;
  throw new DiffmineError(
    'RUN_MISMATCH',
    `The control run ${path} has other images.`,
    'Scan the same dataset, for example with `untrained`, into another folder.',
  );
}

/** The fraction of typical pixels, of each label and on the mean. */
function fractionsOf(evidence: readonly Evidence[]): Fractions {
  const labels = evidence.map(({ curve }) => (curve && curve.pixels > 0 ? curve.positives / curve.pixels : null));
  return { labels, mean: mean(labels) };
}

const ofPixels = ({ averagePrecision, lift, pointing }: PixelMetrics): PixelMetrics => ({
  averagePrecision,
  lift,
  pointing,
});

/** Writes RUN/evaluate as a whole, and brings the report up to it. */
async function keep(
  run: Run,
  summary: EvaluateSummary,
  drawn: Awaited<ReturnType<typeof drawGrid>>,
  png: boolean,
  hooks: Hooks<EvaluateEvent>,
): Promise<void> {
  const { path: target, ...kept } = summary;
  const record: EvaluationRecord = {
    format: EVALUATION_FORMAT,
    version: VERSION,
    fingerprint: run.manifest.fingerprint,
    mine: (await readMine(run))?.options ?? null,
    ...kept,
  };
  const lock = await run.locks.wait('evaluate', {
    signal: hooks.signal,
    onWaiting: (holder) => hooks.onLog?.(`Waiting for ${holder}, which writes the evaluation of ${run.path}.`),
  });
  try {
    await removeLeftovers(target);
    await replaceFolder(target, async (folder) => {
      await writeFile(join(folder, EVALUATION_FILE), `${JSON.stringify(record, null, 1)}\n`);
      if (!drawn) return;
      const image = sharp(drawn.pixels, { raw: { width: drawn.width, height: drawn.height, channels: 4 } });
      await writeFile(join(folder, GRID_FILE), await image.clone().webp({ quality: 86, effort: 3 }).toBuffer());
      if (png) await writeFile(join(folder, 'maps.png'), await image.png({ compressionLevel: 9 }).toBuffer());
    });
  } finally {
    await lock.release();
  }
  const page = await updateReport(run, hooks.signal);
  hooks.onLog?.(
    page
      ? `The report shows the evaluation: ${page}`
      : `The evaluation is in ${target}. Reports written from now on show it.`,
  );
}
