// A training as one page to look at: train-report.html in its folder, opened from disk with no server and no network. Curves are drawn here, as SVG;
// style and script lie in the page, allowed by their hashes; the grids of sampled images stay the files they are.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { DiffmineError } from '../../util/errors.js';
import { learnedSentence, unmeasuredSentence, verdictSentence } from '../../models/learned.js';
import type { Learned } from '../../models/training.js';
import { parseJson } from '../../util/json.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import { drawChart, type ChartData, type ChartOptions } from './page/chart.js';
import { lowest } from './page/curves.js';
import { document, readStyle } from '../../web/document.js';
import {
  address,
  count,
  duration,
  html,
  json,
  large,
  raw,
  short,
  verbatim,
  whole,
  type Markup,
} from '../../web/html.js';
import { shownName } from '../../web/shown-name.js';
import { readMetrics, type Metrics, type Series, type Grid } from './page/metrics.js';
import { RECORD, TRAINING_FORMAT, type TrainRecord } from './record.js';

const REPORT = 'train-report.html';
/** Grids on the page: the newest, and of the others as many as fit, evenly. */
const GRIDS = 48;
/** Width of a grid in px from which the newest has a row of the page to itself. */
const BROAD = 640;
/** Steps over which the speed is measured. */
const SPEED_STEPS = 200;

/**
 * Writes train-report.html into the folder of a training, from its train.json and metrics.jsonl. Works at any time, also while the training runs or
 * after it was killed. Curves are drawn with at most about 2000 points, which include the extremes.
 *
 * @returns the page's path
 * @throws RUN_INVALID for a folder that is not a training's
 */
export async function writeTrainReport(folder: string): Promise<string> {
  const training = await readTraining(folder);
  const metrics = await readMetrics(join(folder, 'metrics.jsonl'));
  const style = await readStyle(...['page.css', 'curves.css'].map((name) => join(import.meta.dirname, 'page', name)));
  const script = await readFile(join(import.meta.dirname, 'page', 'hover.js'), 'utf8');
  const file = join(folder, REPORT);
  await writeFileAtomic(
    file,
    page(training, metrics, await grids(folder, metrics.grids, training.learned), style, script).text,
  );
  return file;
}

async function readTraining(folder: string): Promise<TrainRecord> {
  const file = join(folder, RECORD);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new DiffmineError(
      'RUN_INVALID',
      `${folder} is not a training folder: it has no readable ${RECORD}.`,
      'Give the folder that was given to `diffmine train --out`.',
      { cause },
    );
  }
  try {
    const training = parseJson(text) as Omit<TrainRecord, 'format'> & { format: unknown };
    if (
      training.format === TRAINING_FORMAT &&
      Array.isArray(training.dataset.labels) &&
      typeof training.settings === 'object' &&
      typeof training.model === 'object' &&
      Array.isArray(training.changes)
    )
      return training as TrainRecord;
  } catch {
    // named below
  }
  throw new DiffmineError(
    'RUN_INVALID',
    `${file} is not the record of a training (${TRAINING_FORMAT}).`,
    'It is damaged, or from another version of diffmine.',
  );
}

function page(training: TrainRecord, metrics: Metrics, samples: Markup, style: string, script: string): Markup {
  const { dataset } = training;
  const title = shownName(dataset.path);
  const { markup: charts, data } = curves(metrics);
  return document(
    { title: `${title} · diffmine training`, style, script },
    html`<a class="skip" href="#curves-title">Skip to the curves</a>
${header(title, training, metrics)}
<main>
<section aria-labelledby="curves-title">
<h2 id="curves-title" tabindex="-1">Curves</h2>
${metrics.loss.steps.length > 0 ? charts : html`<p class="sub">No step has been logged yet.</p>`}
</section>
${learnedTable(training, metrics)}
${samples}
${labelTable(dataset.labels)}
</main>
${footer(training)}
<script type="application/json" id="curves">${json(data)}</script>
${verbatim('script', script)}
`,
  );
}

// ------------------------------------------------------------------------------------------------ what the training is

const STATES: Record<TrainRecord['status'], string> = {
  running: 'Running',
  done: 'Done',
  stopped: 'Stopped',
  diverged: 'Diverged',
};

function header(title: string, training: TrainRecord, metrics: Metrics): Markup {
  const { settings, status } = training;
  const step = Math.max(metrics.last, status === 'running' ? 0 : training.step);
  const total = settings.steps > 0 ? settings.steps : undefined;
  const seconds = metrics.seconds.values.filter((value) => !Number.isNaN(value)).pop();
  const stepsASecond = speed(metrics.seconds);
  const best = lowest(metrics.validation.values);
  const { trainBatch: batch } = settings;
  const facts: [string, string | undefined][] = [
    ['Step', total === undefined ? whole(step) : `${whole(step)} of ${whole(total)}`],
    ['Time', seconds === undefined ? undefined : duration(seconds)],
    [
      'Time left',
      status === 'running' && total !== undefined && stepsASecond
        ? duration(Math.max(0, total - step) / stepsASecond)
        : undefined,
    ],
    ['Images per second', stepsASecond ? String(Number((stepsASecond * batch).toPrecision(3))) : undefined],
    ['Best validation loss', best < 0 ? undefined : short(metrics.validation.values[best] as number)],
    ['Device', [training.device.toUpperCase(), training.dtype].filter(Boolean).join(', ') || undefined],
  ];
  return html`<header class="top">
  <p class="brand">diffmine training</p>
  <div class="heading"><h1>${title}</h1><p class="state ${status}">${STATES[status]}</p></div>
  <p class="lede">${lede(training)}</p>
  ${total !== undefined && html`<progress class="progress" max="${total}" value="${Math.min(step, total)}" aria-label="Steps done"></progress>`}
  <dl class="facts">${facts.map(([name, value]) => value !== undefined && html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
  ${status === 'diverged' && html`<p class="notice wrong">The training was stopped at step ${whole(step)}, because the loss exploded or was not finite. The last good checkpoint is kept.</p>`}
  ${metrics.torn > 1 && html`<p class="notice">${count(metrics.torn, 'line')} of metrics.jsonl could not be read and ${metrics.torn === 1 ? 'is' : 'are'} ignored.</p>`}
</header>`;
}

function lede({ model, dataset }: TrainRecord): string {
  const images = dataset.labels.reduce((sum, { training }) => sum + training, 0);
  const space = model.kind === 'pixel' ? 'pixel-space' : 'latent';
  const from = model.from
    ? `${shownName(model.from)}, a ${space} diffusion model, fine-tuned`
    : `A ${space} diffusion model${model.size ? ` of size “${model.size}”` : ''}, trained from scratch`;
  const by = model.conditioning === 'text' ? 'text' : 'the label';
  const fraction = model.trained < model.parameters ? `, ${large(model.trained)} of them trained` : '';
  return `${from} on ${count(images, 'image')} of ${count(dataset.labels.length, 'label')}, conditioned on ${by}.${model.parameters > 0 ? ` ${large(model.parameters)} parameters${fraction}.` : ''}`;
}

/** Steps per second over the latest steps. A resumed training continues the clock. */
function speed({ steps, values }: Series): number | undefined {
  const last = steps.length - 1;
  const first = Math.max(0, last - SPEED_STEPS);
  const [from, to] = [values[first], values[last]];
  return from !== undefined && to !== undefined && to > from
    ? ((steps[last] as number) - (steps[first] as number)) / (to - from)
    : undefined;
}

// ------------------------------------------------------------------------------------------------ its parts

function curves(metrics: Metrics): { markup: Markup; data: Record<string, ChartData> } {
  const wanted: [Series, Omit<ChartOptions, 'last'>][] = [
    [metrics.loss, { key: 'loss', title: 'Training loss', height: 300, smoothed: true }],
    [metrics.validation, { key: 'validation', title: 'Validation loss', height: 190, best: true }],
    [metrics.gradientNorm, { key: 'gradient', title: 'Gradient norm', height: 190, smoothed: true }],
    [metrics.learningRate, { key: 'rate', title: 'Learning rate', height: 190 }],
  ];
  const drawn = wanted
    .filter(([series]) => series.steps.length > 0)
    .map(([series, options]) => ({ key: options.key, ...drawChart(series, { ...options, last: metrics.last }) }));
  return {
    markup: html`<div class="charts${drawn.length === 3 ? ' three' : ''}">${drawn.map(({ markup }) => markup)}</div>`,
    data: Object.fromEntries(drawn.map(({ key, data }) => [key, data])),
  };
}

/** Grids that are there, the newest first. */
async function grids(folder: string, all: readonly Grid[], learned: Learned | null | undefined): Promise<Markup> {
  const newest = [...all].sort((a, b) => b.step - a.step);
  const chosen =
    newest.length <= GRIDS
      ? newest
      : Array.from({ length: GRIDS }, (_, i) => newest[Math.round((i * (newest.length - 1)) / (GRIDS - 1))] as Grid);
  const figures = await Promise.all(
    chosen.map(async ({ step, file, labels }, i) => {
      const { width, height } = await sharp(join(folder, file))
        .metadata()
        .catch(() => ({ width: 0, height: 0 }));
      if (!width || !height) return undefined;
      const rows =
        labels.length > 0 &&
        html`<ul class="rows" aria-label="Rows, from above">${labels.map((label) => html`<li><span title="${label}">${label}</span></li>`)}</ul>`;
      const image = html`<a href="${address(file)}"><img src="${address(file)}" width="${width}" height="${height}" loading="${i === 0 ? 'eager' : 'lazy'}" alt="Images sampled at step ${whole(step)}${labels.length > 0 && ', one row per label'}"></a>`;
      return html`<figure class="${i === 0 && width > BROAD && 'broad'}"><figcaption>Step ${whole(step)}${i === 0 && html` <span>· the newest</span>`}</figcaption><div class="${labels.length > 24 ? 'samples dense' : 'samples'}">${rows}${image}</div></figure>`;
    }),
  );
  const shown = figures.filter((figure) => figure !== undefined);
  if (shown.length === 0) return raw('');
  return html`<section aria-labelledby="samples-title">
<h2 id="samples-title">Sampled images</h2>
${learned?.verdict !== 'yes' && html`<p class="sub">Noise and blobs are expected until the model has learned its labels: images take shape late in a training.</p>`}
<div class="grids">${shown}</div>
${newest.length > chosen.length && html`<p class="aside">${whole(shown.length)} of ${count(newest.length, 'image grid')} are shown.</p>`}
</section>`;
}

/** What the written model has learned of its labels, the least first. */
function learnedTable({ learned, dataset: { labels } }: TrainRecord, metrics: Metrics): Markup {
  if (!learned) return raw('');
  const { steps, values } = metrics.validation;
  const validation = steps.map((step, i) => ({ step, loss: values[i] as number }));
  const rows = [...learned.labels].sort((a, b) => a.helped - b.helped);
  return html`<section aria-labelledby="learned-title">
<h2 id="learned-title">Has it learned its labels?</h2>
<p class="sub">${learnedSentence(learned)} ${verdictSentence(learned, validation)} ${unmeasuredSentence(labels) ?? ''}</p>
<div class="scroll" tabindex="0" role="region" aria-labelledby="learned-title"><table>
<thead><tr><th scope="col">Label</th><th scope="col">Held-out images</th><th scope="col">Loss with it</th><th scope="col">With other labels</th><th scope="col">Helps</th></tr></thead>
<tbody>${rows.map(({ label, images, loss, others, helped }) => html`<tr><th scope="row">${label}</th><td>${whole(images)}</td><td>${loss.toPrecision(4)}</td><td>${others.toPrecision(4)}</td><td>${whole(Math.round(100 * helped))} %</td></tr>`)}</tbody>
</table></div>
</section>`;
}

function labelTable(labels: TrainRecord['dataset']['labels']): Markup {
  const validated = labels.some(({ heldOut }) => heldOut > 0);
  const sum = (of: 'training' | 'heldOut'): number => labels.reduce((total, label) => total + label[of], 0);
  return html`<section aria-labelledby="data-title">
<h2 id="data-title">Dataset</h2>
<div class="scroll" tabindex="0" role="region" aria-labelledby="data-title"><table>
<thead><tr><th scope="col">Label</th><th scope="col">Training images</th>${validated && html`<th scope="col">Held-out images</th>`}</tr></thead>
<tbody>${labels.map(({ label, training, heldOut }) => html`<tr><th scope="row">${label}</th><td>${whole(training)}</td>${validated && html`<td>${whole(heldOut)}</td>`}</tr>`)}</tbody>
${labels.length > 1 && html`<tfoot><tr><th scope="row">All</th><td>${whole(sum('training'))}</td>${validated && html`<td>${whole(sum('heldOut'))}</td>`}</tr></tfoot>`}
</table></div>
</section>`;
}

/** Settings whose names do not say enough. */
const NAMES: Record<string, string> = {
  gradientAccumulationSteps: 'Gradient accumulation steps',
  trainBatch: 'Batch size',
  checkpointEvery: 'Steps between checkpoints',
  gradientCheckpointing: 'Gradient checkpointing',
  maxGradNorm: 'Max gradient norm',
  lrSchedule: 'Learning-rate schedule',
  drop: 'Label dropout',
  ema: 'EMA decay',
  flips: 'Horizontal flips',
  holdout: 'Held-out fraction',
  keep: 'Checkpoints kept',
  loraAlpha: 'LoRA alpha',
  loraRank: 'LoRA rank',
  minSnr: 'Min-SNR gamma',
  new: 'New model of size',
  nullPrompt: 'Unconditional prompt',
  dtype: 'Dtype',
  sampleCount: 'Sampled images per label',
  sampleEvery: 'Steps between samples',
  sampleGuidanceScale: 'Guidance scale of samples',
  sampleInferenceSteps: 'DDIM steps of samples',
  saveDtype: 'Dtype of saved weights',
  size: 'Crop size, px',
  trainTRange: 'Timesteps, fractions of the schedule',
  use: 'Model weights',
  vae: 'VAE',
  warmupSteps: 'Warmup steps',
  wide: 'Fraction of timesteps from the full schedule',
};
const words = (name: string): string =>
  (Object.hasOwn(NAMES, name) ? NAMES[name] : undefined) ??
  name.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`).replace(/^./, (c) => c.toUpperCase());

function said(value: unknown): string {
  if (value === null || value === undefined || value === '') return 'none';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'number')
    return Number.isInteger(value) && Math.abs(value) < 1e15 ? whole(value) : String(value);
  if (Array.isArray(value)) return value.map(said).join(', ');
  return typeof value === 'string' ? value : JSON.stringify(value);
}

const moment = (iso: string): string => iso.replace(/^(.{10})T(.{5}).*Z$/, '$1 $2 UTC');

function footer({ settings, changes, version, format, created, dataset, model }: TrainRecord): Markup {
  const settingsList = (entries: [string, unknown][]): Markup =>
    html`<dl class="settings">${entries.map(([name, value]) => html`<div class="${said(value).length > 34 ? 'wide' : ''}"><dt>${name}</dt><dd>${name === 'Seed' ? String(value) : said(value)}</dd></div>`)}</dl>`;
  return html`<footer class="foot">
<section><h2>Settings</h2>${settingsList(
    Object.entries(settings)
      .filter(([name, value]) => value !== null && name !== 'dataset')
      .map(([name, value]) => [words(name), value]),
  )}
${changes.map(
  ({ step, settings: before }) =>
    html`<p>Before step ${whole(step)}: ${Object.entries(before)
      .map(([name, value]) => `${words(name)} ${said(value)}`)
      .join('; ')}.</p>`,
)}</section>
<section><h2>Provenance</h2>${settingsList([
    ['diffmine', version],
    ['Training format', format],
    ['Training started', moment(created)],
    ['Page written', moment(new Date().toISOString())],
    ['Dataset', shownName(dataset.path)],
    ['Dataset fingerprint', dataset.fingerprint],
    [model.from ? 'Model' : 'Model size', model.from ? shownName(model.from) : model.size],
    ['Smoothed curves', 'running mean over about 1/40 of the steps'],
  ])}</section>
</footer>`;
}
