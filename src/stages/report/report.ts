// `report`: a mined run as a page to look at, opened from disk with no server and no network.
//
//   report/index.html, *.css, *.js         the page (src/stages/report/page, and what pages share, src/web/page)
//   report/data/run.js, label-N.js         its data as classic scripts; a label's is loaded when its tab is opened
//   report/sprites/N-S.webp                patches, up to 120 per sprite sheet
//   report/data/evaluation.js, maps/evaluation.webp   the run's evaluation, where it has one
//   report/data/map.js, leaflet.js         the map of patches, loaded when it is opened
//   report/data/trends.js, sprites/t-S.webp   trends, where the run has them
//   report/maps/all-I.webp                 its typicality under every label side by side (--all-labels); loaded on its page
//   report/images/I.webp                 image number I of the run's list, for context; loaded on click
//   report/maps/N-I.webp                   its typicality under label N, laid over it; loaded on click
//
// Names are numbers only: labels and file names come from the user.
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import type { z } from 'zod';
import { because, DiffmineError } from '../../util/errors.js';
import { readMine, type MineRecord } from '../../runs/mining.js';
import { contrastOf } from '../../runs/contrast-words.js';
import { count } from '../../web/html.js';
import { removeLeftovers, replaceFolder } from '../../runs/atomic.js';
import { readRace } from '../../runs/rounds.js';
import { withLocalRun } from '../../runs/store/copy.js';
import { Run } from '../../runs/run.js';
import { imageRoot } from '../../runs/scored.js';
import type { ClusterRow, MinedPatchRow } from '../../runs/columns.js';
import { readTable } from '../../runs/tables.js';
import { resolved } from '../../options/check.js';
import { REPORT, type ReportOptions } from './options.js';
import { evaluationFiles } from './evaluation.js';
import { ReportFolder, type ReportBytes } from '../../web/folder.js';
import { drawLabel, type DrawContext } from './label.js';
import { layOut } from './layout.js';
import { mapScript, NO_MAP } from './map.js';
import { overviewOf } from './overview.js';
import { promptOf, runData } from './run-data.js';
import { drawStrips } from './strips.js';
import { trendsScript } from './trends.js';
import { scriptOf } from '../../web/script.js';
import { readShared } from '../../web/shared.js';
import type { Hooks, Progress } from '../../util/hooks.js';
import { makeFolder } from '../../util/paths.js';
import { quoted } from '../../util/shell.js';

export { EVALUATION_FILES, updateReport } from './evaluation.js';
export type { ReportOptions } from './options.js';

export type ReportEvent = Progress<'report'>;

export interface ReportSummary {
  /** of index.html */
  path: string;
  labels: number;
  /** patches shown */
  patches: number;
  /** context images, and heat maps over them */
  images: number;
  maps: number;
  /** images that are no longer where they were: the report has their numbers, but not their image */
  missing: { image: string; reason: string }[];
  bytes: ReportBytes;
}

const require = createRequire(import.meta.url);
const PAGE = join(import.meta.dirname, 'page');
const SHARED = ['look.css', 'rows.css', 'dialog.css', 'tools.js', 'figures.js', 'figures.css', 'settings.js'] as const;
const PAGE_FILES = [
  'index.html',
  'page.css',
  'patch.css',
  'explore.css',
  'map.css',
  'tiles.js',
  'basket.js',
  'patch.js',
  'overview.js',
  'map-data.js',
  'map-canvas.js',
  'map-side.js',
  'lasso.js',
  'map.js',
  'trends.js',
  'image.js',
  'foot.js',
  'pilot.js',
  'confounds.js',
  'evaluation.js',
  'addresses.js',
  'tabs.js',
  'rows.js',
  'page.js',
] as const;

/**
 * Writes the report of a mined run to `RUN/report`, in place of an earlier one, which stays whole until then. Where another process writes it, this one
 * waits for its turn.
 *
 * @throws RUN_INVALID for a run that was not mined or is damaged; CANCELLED on abort; IO where it cannot write
 */
export async function writeReport(options: ReportOptions, hooks: Hooks<ReportEvent> = {}): Promise<ReportSummary> {
  // what it does not read is not copied from a bucket
  const reads = (name: string): boolean =>
    !/^(report|localize)\/|(^|\/)shards\/.*\/(files|patches)\.parquet$/.test(name);
  const makes = options.out === undefined ? ['report'] : [];
  return withLocalRun(options.run, hooks, { reads, makes, lock: 'report' }, async (run, local) =>
    reportFolder({ ...options, run }, local),
  );
}

/** A folder that a report may take the place of. @throws INVALID_ARGUMENT for one that holds anything else */
async function reportPlace(out: string): Promise<string> {
  const target = resolve(out);
  const found = await readdir(target).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  });
  if (found.length > 0 && !existsSync(join(target, 'data', 'run.js')))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${out} is not empty and not a report (it has ${JSON.stringify(found[0])}).`,
      'Give a new or empty directory.',
      { option: 'out' },
    );
  await makeFolder(dirname(target));
  return target;
}

async function reportFolder(
  { run: runPath, ...options }: ReportOptions,
  hooks: Hooks<ReportEvent>,
): Promise<ReportSummary> {
  const asked = resolved(REPORT, options);
  const run = await Run.open(runPath);
  const mined = await readMine(run);
  if (run.manifest.options.localize !== undefined) {
    throw new DiffmineError(
      'RUN_INVALID',
      `${runPath} has heat maps, but no patches to report: it was written by localize.`,
      `Its page is ${join(run.path, 'localize', 'index.html')}.`,
    );
  }
  if (!mined)
    throw new DiffmineError(
      'RUN_INVALID',
      `${runPath} is not mined yet: it has no mine/mine.json.`,
      `Run \`diffmine mine ${quoted(runPath)}\` first.`,
    );
  const lock = await run.locks.wait('report', {
    signal: hooks.signal,
    onWaiting: (holder) => hooks.onLog?.(`Waiting for ${holder}, which writes the report of ${runPath}.`),
  });
  try {
    const target = asked.out === undefined ? join(run.path, 'report') : await reportPlace(asked.out);
    await removeLeftovers(target);
    let summary: ReportSummary | undefined;
    await replaceFolder(target, async (path) => {
      summary = await fill(run, mined, new ReportFolder(path), asked, hooks);
    });
    const done = { ...(summary as ReportSummary), path: join(target, 'index.html') };
    for (const line of tell(done, run.manifest.options.maps)) hooks.onLog?.(line);
    return done;
  } finally {
    await lock.release();
  }
}

async function fill(
  run: Run,
  mined: MineRecord,
  folder: ReportFolder,
  options: z.output<typeof REPORT>,
  hooks: Hooks<ReportEvent>,
): Promise<ReportSummary> {
  const { manifest } = run;
  const [patches, clusters, skipped, race] = await Promise.all([
    readTable<MinedPatchRow>(run.mineFile('patches.parquet')),
    readTable<ClusterRow>(run.mineFile('clusters.parquet')),
    run.skipped(),
    readRace(run),
  ]);
  const views = layOut(manifest.conditions, patches, clusters, options.controlPatches);
  const total = views.reduce((sum, view) => sum + new Set(view.patches.map((patch) => patch.image)).size, 0);
  let done = 0;
  const places = await run.placesOf(
    views.flatMap((view) => view.patches.map(({ image: path, label }) => ({ path, label }))),
  );
  const context: DrawContext = {
    run,
    folder,
    contrast: contrastOf(run),
    root: imageRoot(run, options.dataset),
    numberOf: new Map([...places].map(([key, place]) => [(JSON.parse(key) as [string, string])[1], place])),
    shardOf: new Map([...places].map(([key, place]) => [key, Math.floor(place / manifest.options.shardSize)])),
    quality: 0,
    sizes: new Map(),
    missing: new Map(),
    signal: hooks.signal,
    onImage: () => hooks.onProgress?.({ type: 'report', done: ++done, total }),
  };
  let maps = 0;
  for (const [index, view] of views.entries()) maps += await drawLabel(view, index, promptOf(run, view.label), context);

  const overview = await overviewOf(run, views, context.shardOf);
  const strips = await drawStrips(run, views, options.imagePages, context);
  await folder.write('page', 'data/trends.js', await trendsScript(run, context));
  const map = await mapScript(run, mined, views, context, options.mapPatches);
  await folder.write('page', 'data/map.js', map);
  for (const name of ['leaflet.js', 'leaflet.css'])
    await folder.write('page', name, await readFile(require.resolve(`leaflet/dist/${name}`)));
  const missing = [...context.missing]
    .map(([image, reason]) => ({ image, reason }))
    .sort((a, b) => (a.image < b.image ? -1 : 1));
  for (const name of SHARED) await folder.write('page', name, await readShared(name));
  for (const { kind, name, data } of await evaluationFiles(run)) await folder.write(kind, name, data);
  for (const name of PAGE_FILES) await folder.write('page', name, await readFile(join(PAGE, name)));
  await folder.write(
    'page',
    'data/run.js',
    scriptOf('diffmine.run', {
      ...runData(run, mined, race, views, skipped, missing, maps, options.title),
      overview,
      strips,
      map: !map.startsWith(NO_MAP),
    }),
  );
  return {
    path: '',
    labels: views.length,
    patches: views.reduce((sum, view) => sum + view.patches.length, 0),
    images: folder.count('images'),
    maps,
    missing,
    bytes: folder.bytes,
  };
}

const size = (bytes: number): string =>
  bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

/** What the log says of a report. */
function tell({ labels, patches, images, maps, missing, bytes }: ReportSummary, mapsKept: boolean): string[] {
  const lines = [
    `Report: ${count(patches, 'patch', 'patches')} of ${count(labels, 'label')} (${size(bytes.page + bytes.sprites)}), ` +
      `${count(images, 'image')} (${size(bytes.images)}) and ${count(maps, 'typicality map')} (${size(bytes.maps)}) loaded on click; ${size(bytes.total)} in all.`,
  ];
  if (!mapsKept) lines.push('No typicality maps: the scan ran with --no-maps.');
  for (const { image, reason } of missing.slice(0, 5)) lines.push(because('Cannot show', image, reason));
  if (missing.length > 5)
    lines.push(`Cannot show ${count(missing.length - 5, 'more image')}; the report lists all of them.`);
  if (missing.length > 0) lines.push('If the images have moved, name their folder with `dataset`.');
  return lines;
}
