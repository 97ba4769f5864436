// Localization (section 5.2 of the paper): heat maps of images under their labels, compared with boxes or masks, before and after fine-tuning.
// Scoring is a scan without patches, and resumes like one; what is computed from its maps is cheap, and repeated by every call.
import { join } from 'node:path';
import { DiffmineError } from '../../util/errors.js';
import { openModel, variantForEach } from '../../models/index.js';
import { scoredRange } from '../../models/training.js';
import { Engine } from '../../engine/index.js';
import { removeLeftovers, replaceFolder } from '../../runs/atomic.js';
import { chooseDevice } from '../../runs/device.js';
import { Run } from '../../runs/run.js';
import { forMaps, withLocalRun } from '../../runs/store/copy.js';
import { imageRoot } from '../../runs/scored.js';
import { VERSION } from '../../util/version.js';
import { SCAN, type MapOptions, type ScanEvent, type ScanOptions } from '../scan/options.js';
import { planScan, resolveOptions, scan } from '../scan/scan.js';
import type { Plan } from '../../pipeline/plan.js';
import { imagesOf } from '../../pipeline/resolve.js';
import { given, partOf, resolved, type Given } from '../../options/check.js';
import { Localizer } from './localizer.js';
import { Marks } from './marks.js';
import {
  LOCALIZE,
  type Localization,
  type LocalizeEvent,
  type LocalizeOptions,
  type LocalizeSummary,
} from './options.js';
import { baselineFolder, localizationFolder } from './record.js';
import type { Hooks } from '../../util/hooks.js';
import { pick } from '../../util/pick.js';

const UNTRAINED = 'untrained';

/**
 * Computes maps of a dataset's images under their labels in a run directory, and writes RUN/localize: overlays, a page, and figures if boxes are given.
 * Resumes an earlier call with the same options, model and data. The maps of the baseline are a separate run in RUN/baseline.
 *
 * @throws before work begins INVALID_ARGUMENT, DATASET_INVALID (also for boxes that meet no image), MODEL_*, DEVICE_UNAVAILABLE; RUN_MISMATCH if the
 *   folder holds another run; CANCELLED (finished shards are kept); NUMERICS naming the image; IO
 */
export async function localize(asked: LocalizeOptions, hooks: Hooks<LocalizeEvent> = {}): Promise<LocalizeSummary> {
  const { blur, bootstrap, overlays } = resolved(LOCALIZE, asked);
  const { options, marks, scanHooks, ours, theirs } = await resolveLocalization(asked, hooks);
  const scanned = await scan(ours, scanHooks('model'));
  const other = theirs ? await scan(theirs, scanHooks('baseline')) : null;
  if (!scanned.complete || other?.complete === false || scanned.scored === 0)
    return { path: scanned.path, scan: scanned, baseline: other, result: null, page: null };

  const { out } = options;
  const settings = { blur, bootstrap, overlays, root: options.imageRoot ?? options.dataset };
  const engine = new Engine({
    device: chooseDevice(options.device ?? 'auto', 'fp32').id,
    dtype: 'fp32',
    threads: options.threads ?? 0,
  });
  const draw = async (folders: string[], local: typeof hooks): Promise<Drawn> =>
    drawMaps(engine, folders, marks, settings, local);
  try {
    const drawn = await withLocalRun(
      out,
      hooks,
      { reads: forMaps, makes: ['localize'], lock: 'localize' },
      async (folder, local) =>
        theirs
          ? withLocalRun(theirs.out, local, { reads: forMaps, makes: [], lock: '' }, async (beside, both) =>
              draw([folder, beside], both),
            )
          : draw([folder], local),
    );
    return { path: scanned.path, scan: scanned, baseline: other, ...drawn };
  } finally {
    await engine.dispose();
  }
}

/** What `localize` would do: the maps of the model, and of the baseline. @throws as `localize` before work begins */
export async function planLocalization(
  asked: LocalizeOptions,
  hooks: Hooks<LocalizeEvent> = {},
): Promise<Plan & { baseline: Plan | null }> {
  const { scanHooks, ours, theirs } = await resolveLocalization(asked, hooks);
  const own = await planScan(ours, ['manifest.json', 'shards/', 'localize/index.html'], scanHooks('model'));
  const baseline = theirs ? await planScan(theirs, ['manifest.json', 'shards/'], scanHooks('baseline')) : null;
  return { ...own, baseline };
}

/** The scans of a localization, checked, and what they are compared with. */
interface Resolved {
  options: Given<typeof LOCALIZE>;
  marks: Marks | undefined;
  scanHooks: (of: 'model' | 'baseline') => Hooks<ScanEvent>;
  ours: ScanOptions & MapOptions;
  theirs: (ScanOptions & MapOptions) | undefined;
}

async function resolveLocalization(asked: LocalizeOptions, hooks: Hooks<LocalizeEvent>): Promise<Resolved> {
  const { variant, boxes, boxFormat, boxFrame, onlyMarked } = resolved(LOCALIZE, asked);
  const options = given(LOCALIZE, asked);
  const { labels = 'own', baseline } = options;
  if (onlyMarked && boxes === undefined)
    throw new DiffmineError('INVALID_ARGUMENT', '`onlyMarked` needs `boxes`.', 'Give `boxes`.');
  const marks = boxes === undefined ? undefined : await Marks.read(boxes, boxFormat, await imagesOf(options));
  const { onProgress } = hooks;
  const scanHooks = (of: 'model' | 'baseline'): Hooks<ScanEvent> => ({
    ...hooks,
    onProgress: (event) => onProgress?.({ of, ...event }),
  });
  const [own = {}, before = {}] = await variantForEach(
    [options.model, ...(baseline === undefined || baseline === UNTRAINED ? [] : [baseline])],
    variant,
    scanHooks('model'),
  );
  const both: ScanOptions & MapOptions = {
    // `labels` means another thing there
    ...(partOf(SCAN.omit({ labels: true }), options) as ScanOptions),
    // the model's range for the baseline, too: maps are compared at the same timesteps
    tRange:
      options.tRange ??
      (await scoredRange(undefined, await openModel(options.model, own, scanHooks('model')), hooks.onLog)),
    localize: labels,
    ...(onlyMarked && marks ? { only: marks.images } : {}),
  };
  const ours: ScanOptions & MapOptions = { ...both, ...own };
  // what they say is said when the scans begin
  const quiet = { ...pick(hooks, 'signal', 'download') };
  const { draft, sizes } = await resolveOptions(ours, VERSION, quiet);
  await marks?.place(sizes, draft.conditions, { frame: boxFrame, signal: hooks.signal });
  const theirs: (ScanOptions & MapOptions) | undefined =
    baseline === undefined
      ? undefined
      : {
          ...both,
          out: baselineFolder(options.out),
          size: draft.options.size,
          dtype: draft.options.dtype,
          localize: labels === 'own' ? labels : draft.conditions,
          ...(baseline === UNTRAINED
            ? { ...own, untrained: true }
            : { ...before, model: baseline, lora: undefined, vae: undefined }),
        };
  if (theirs) await resolveOptions(theirs, VERSION, quiet);
  return { options, marks, scanHooks, ours, theirs };
}

type Drawn = Pick<LocalizeSummary, 'result' | 'page'>;

/** @param folders of the run and of the baseline's */
async function drawMaps(
  engine: Engine,
  folders: readonly string[],
  marks: Marks | undefined,
  { root, ...settings }: { blur: number; bootstrap: number; overlays: number | 'all'; root: string },
  hooks: Hooks<LocalizeEvent>,
): Promise<Drawn> {
  const runs = await Promise.all(folders.map(async (folder) => Run.open(folder)));
  const [run] = runs as [Run, ...Run[]];
  const { onLog, signal } = hooks;
  const lock = await run.locks.wait('localize', {
    signal,
    onWaiting: (holder) => onLog?.(`Waiting for ${holder}, which writes the maps of ${run.path}.`),
  });
  try {
    const target = localizationFolder(run);
    await removeLeftovers(target);
    let result: Localization | undefined;
    await replaceFolder(target, async (folder) => {
      result = await new Localizer(engine, runs, marks, { ...settings, root: imageRoot(run, root) }, hooks).fill(
        folder,
      );
    });
    const { model, baseline, boxes, options, labels, mean, notes } = result as Localization;
    for (const note of notes) onLog?.(note);
    return { result: { model, baseline, boxes, options, labels, mean, notes }, page: join(target, 'index.html') };
  } finally {
    await lock.release();
  }
}
