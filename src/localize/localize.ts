// Localization (paper section 5.2): heat maps of every picture under its labels, and what they are worth against boxes or masks, before and after
// fine-tuning. Scoring is a scan without patches, resumed shard by shard as one; what follows from its maps is cheap, and made anew.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { asDiffmineError, DiffmineError } from '../errors';
import { evenly } from '../evenly';
import { bootstrapped, mean, type Figure } from '../metrics/bootstrap';
import { Engine } from '../native';
import { commonScale, legend } from '../report/heatmap';
import { pictureRoot } from '../report/report';
import { readScored } from '../report/scored';
import { scriptOf } from '../report/script';
import { removeLeftovers, replaceFolder } from '../run/atomic';
import { chooseDevice } from '../run/device';
import { imageKey, Run } from '../run/run';
import { VERSION } from '../run/version';
import type { ScanOptions } from '../scan/options';
import { scan } from '../scan/scan';
import { settle } from '../scan/settle';
import { drawOverlay, drawPicture, type Scored } from './draw';
import { checkBlur, DEFAULT_BLUR, heatOf, rowsOf } from './heat';
import { edgeOf, Marks } from './marks';
import { FIGURES, groupOf, measure, type Entry, type Measured } from './measure';
import type { LabelLocalization, Localization, LocalizeHooks, LocalizeOptions, LocalizeSummary, MapFigures, PictureLocalization } from './options';
import { baselineFolder, LOCALIZATION_FILE, LOCALIZATION_FORMAT, localizationFolder, type LocalizationRecord } from './record';

const PAGE = join(__dirname, 'page');
const LOOK = join(__dirname, '..', 'page', 'look.css');
const REPORT_PAGE = join(__dirname, '..', 'report', 'page');
const PAGE_FILES = ['index.html', 'page.css', 'page.js'] as const;
const LEGEND_STOPS = 41;
const UNTRAINED = 'untrained';

/**
 * Maps the pictures of a data set under their labels into a run folder, and writes RUN/localize: overlays, a page, and figures where boxes are given. Goes
 * on where an earlier call with the same options, model and data stopped; the baseline's maps are a run of their own in RUN/baseline.
 *
 * @throws before work begins INVALID_ARGUMENT, DATASET_INVALID (also for boxes that meet no picture), MODEL_*, DEVICE_UNAVAILABLE; RUN_MISMATCH where the
 *   folder holds another run; CANCELLED (finished shards are kept); NUMERICS naming the picture; IO
 */
export async function localize(options: LocalizeOptions, hooks: LocalizeHooks = {}): Promise<LocalizeSummary> {
  const { labels = 'own', baseline, boxes, boxFormat, blur = DEFAULT_BLUR, bootstrap = 1000, overlays = 100, pictures, ...scoring } = options;
  checkBlur(blur);
  for (const [name, value] of [['bootstrap', bootstrap], ['overlays', overlays]] as const) {
    if (value !== 'all' && !(Number.isSafeInteger(value) && value >= 0)) throw new DiffmineError('INVALID_ARGUMENT', `--${name} is ${value}; expected a whole number of at least 0.`);
  }
  const ours: ScanOptions = { ...scoring, localize: labels };
  const { draft } = await settle(ours, VERSION);
  const theirs: ScanOptions | undefined = baseline === undefined ? undefined : {
    ...scoring, out: baselineFolder(options.out), size: draft.options.size, localize: labels === 'own' ? labels : draft.conditions,
    ...(baseline === UNTRAINED ? { untrained: true } : { model: baseline }),
  };
  if (theirs) await settle(theirs, VERSION);
  const marks = boxes === undefined ? undefined : await Marks.read(boxes, boxFormat, draft.images);

  const { signal, log, onProgress } = hooks;
  const scanHooks = (of: 'model' | 'baseline'): Parameters<typeof scan>[1] => ({ ...(signal ? { signal } : {}), ...(log ? { log } : {}), onProgress: (event) => onProgress?.({ of, ...event }) });
  const scanned = await scan(ours, scanHooks('model'));
  const other = theirs ? await scan(theirs, scanHooks('baseline')) : null;
  if (!scanned.complete || other?.complete === false || scanned.scored === 0) return { scan: scanned, baseline: other, result: null, page: null };

  const run = await Run.open(options.out);
  const runs = theirs ? [run, await Run.open(theirs.out)] : [run];
  const lock = await run.locks.wait('localize', { signal, onWaiting: (holder) => log?.(`Waiting for ${holder}, which writes the maps of ${run.path}.`) });
  const engine = new Engine({ device: chooseDevice(options.device ?? 'auto', 'fp32').id, precision: 'fp32', threads: options.threads ?? 0 });
  try {
    const target = localizationFolder(run);
    await removeLeftovers(target);
    let result: Localization | undefined;
    await replaceFolder(target, async (folder) => {
      result = await new Localizer(engine, runs, marks, { blur, bootstrap, overlays, root: pictureRoot(run, pictures) }, hooks).fill(folder);
    });
    const { pictures: _pictures, ...rest } = result as Localization;
    for (const note of rest.notes) log?.(note);
    return { scan: scanned, baseline: other, result: rest, page: join(target, 'index.html') };
  } finally {
    await engine.dispose();
    await lock.release();
  }
}

interface Settings {
  blur: number;
  bootstrap: number;
  overlays: number | 'all';
  root: string;
}

/** A label's entries: of the run, and the same pictures' of the baseline. */
interface LabelWork {
  label: string;
  /** [model, baseline][entry] */
  entries: Entry[][];
  measured: Measured[];
  scales: number[];
}

/** Where the overlays of the model and of the baseline lie. */
const FOLDERS = ['overlays', 'baseline'] as const;

/** Everything that follows from finished maps. */
class Localizer {
  private readonly notes: string[] = [];
  /** edges around what is marked, for the page, by entry */
  private readonly edges = new Map<number, string>();

  constructor(
    private readonly engine: Engine,
    /** the model's, and the baseline's */
    private readonly runs: readonly Run[],
    private readonly marks: Marks | undefined,
    private readonly settings: Settings,
    private readonly hooks: LocalizeHooks,
  ) {}

  private get run(): Run {
    return this.runs[0] as Run;
  }

  /** Writes all files into `folder`. */
  async fill(folder: string): Promise<Localization> {
    const { manifest } = this.run;
    const { against, seed } = manifest.options;
    const works = await this.measured();
    const count = works.reduce((sum, { entries }) => sum + (entries[0]?.length ?? 0), 0);
    const { bootstrap, blur } = this.settings;
    const figures = this.marks ? await bootstrapped(works.map(({ measured }) => groupOf(measured)), count, { bootstrap, seed }, this.resampling()) : undefined;
    const labels = works.map((work, i) => this.labelOf(work, figures?.[i]));
    const pictures = this.pictures(works);
    await this.draw(folder, works, pictures);

    const [, control] = this.runs;
    const means = figures?.at(-1);
    const result: Localization = {
      model: { path: manifest.model.path },
      baseline: control ? { path: control.manifest.model.path, untrained: control.manifest.options.untrained === true } : null,
      boxes: this.marks ? { path: resolve(this.marks.path), marks: this.marks.count, used: this.marks.used } : null,
      options: { against, blur, bootstrap: this.marks ? bootstrap : 0, seed },
      labels,
      mean: { share: mean(labels.map(({ share }) => share)), ...threeOf(means, this.runs.length) },
      pictures: [...pictures.values()],
      notes: this.notesOf(labels),
    };
    const record: LocalizationRecord = {
      format: LOCALIZATION_FORMAT, version: VERSION, fingerprint: manifest.fingerprint, baselineFingerprint: control?.manifest.fingerprint ?? null, ...result,
    };
    await writeFile(join(folder, LOCALIZATION_FILE), `${JSON.stringify(record, null, 1)}\n`);
    await this.page(folder, result, pictures, works);
    return result;
  }

  private resampling(): Parameters<typeof bootstrapped>[3] {
    const { signal, onProgress } = this.hooks;
    return { ...(signal ? { signal } : {}), onProgress: ({ done, total }) => onProgress?.({ type: 'resample', done, total }) };
  }

  /** The label's maps of all runs, measured. Pictures that a baseline of another size multiple could not take are left out of both. */
  private async measured(): Promise<LabelWork[]> {
    const rows = await Promise.all(this.runs.map(rowsOf));
    const key = ({ row }: { row: Entry['row'] }): string => JSON.stringify([row.condition, row.label, row.image]);
    const byKey = rows.map((list) => new Map(list.map((one) => [key(one), one])));
    const kept = (rows[0] ?? []).filter((one) => byKey.every((map) => map.has(key(one))));
    const lost = (rows[0]?.length ?? 0) - kept.length;
    if (lost > 0) this.notes.push(`${lost} maps have none of the baseline beside them, and are left out.`);
    let [index, done] = [0, 0];
    const works: LabelWork[] = [];
    for (const label of this.run.manifest.conditions) {
      const own = kept.filter(({ row }) => row.condition === label);
      const first = index;
      index += own.length;
      const entries = byKey.map((map) => own.map((one, i): Entry => ({ ...(map.get(key(one)) as (typeof kept)[number]), index: first + i })));
      const measured: Measured[] = [];
      for (const [which, run] of this.runs.entries()) {
        measured.push(await measure(this.engine, run, entries[which] ?? [], this.marks, this.settings.blur, this.hooks.signal, () =>
          this.hooks.onProgress?.({ type: 'maps', done: ++done, total: kept.length * this.runs.length })));
      }
      works.push({ label, entries, measured, scales: measured.map(({ strengths }) => commonScale(strengths)) });
    }
    return works;
  }

  private labelOf({ label, entries, measured, scales }: LabelWork, figures: Figure[] | undefined): LabelLocalization {
    const curve = measured[0]?.curve;
    const three = threeOf(curve ? figures : undefined, this.runs.length);
    return {
      label, pictures: entries[0]?.length ?? 0, marked: measured[0]?.marked.length ?? 0, share: curve ? curve.positives / curve.pixels : null,
      scale: scales[0] ?? 0, baselineScale: scales[1] ?? null, ...three,
    };
  }

  private pictures(works: readonly LabelWork[]): Map<string, PictureLocalization> {
    const found = new Map<string, PictureLocalization>();
    for (const image of this.run.manifest.images) found.set(imageKey(image), { image: image.path, label: image.label, width: 0, height: 0, maps: [] });
    for (const { label, entries, measured } of works) {
      entries[0]?.forEach(({ row, index }, i) => {
        const picture = found.get(imageKey({ path: row.image, label: row.label })) as PictureLocalization;
        [picture.width, picture.height] = [row.width, row.height];
        const [model, baseline] = measured.map((one, which) => ({
          typicality: entries[which]?.[i]?.row.typicality ?? NaN, overlay: null, figures: one.figures.get(index) ?? null,
        }));
        if (model) picture.maps.push({ label, share: measured[0]?.shares.get(index) ?? null, model, baseline: baseline ?? null });
      });
    }
    for (const [key, { maps }] of found) if (maps.length === 0) found.delete(key); // skipped
    return found;
  }

  /** Draws pictures and overlays, and notes their names in `pictures`. */
  private async draw(folder: string, works: readonly LabelWork[], pictures: ReadonlyMap<string, PictureLocalization>): Promise<void> {
    for (const name of ['pictures', ...FOLDERS.slice(0, this.runs.length)]) await mkdir(join(folder, name));
    const numbers = new Map([...pictures.keys()].map((key, number) => [key, number]));
    const missing = new Map<string, string>();
    const drawn = new Set<number>();
    const chosen = works.map((work) => this.chosen(work));
    const total = chosen.reduce((sum, { length }) => sum + length, 0) * this.runs.length;
    let done = 0;
    for (const [place, work] of works.entries()) {
      const wanted = new Set(chosen[place]);
      for (const [which, run] of this.runs.entries()) {
        const entries = (work.entries[which] ?? []).filter((_, i) => wanted.has(i));
        for await (const { item, heat } of heatOf(this.engine, run, entries, this.settings.blur, this.hooks.signal)) {
          this.hooks.onProgress?.({ type: 'draw', done: ++done, total });
          const { row, index } = item;
          const key = imageKey({ path: row.image, label: row.label });
          if (missing.has(row.image)) continue;
          const source = await this.sourceOf(run, row, missing);
          if (!source) continue;
          const number = numbers.get(key) as number;
          if (!drawn.has(number)) await writeFile(join(folder, 'pictures', `${number}.webp`), await drawPicture(source));
          drawn.add(number);
          const name = `${FOLDERS[which]}/${number}-${place}.png`;
          await writeFile(join(folder, name), await drawOverlay(source, heat, work.scales[which] ?? 0));
          const map = pictures.get(key)?.maps.find(({ label }) => label === work.label);
          const result = which === 0 ? map?.model : map?.baseline;
          if (result) result.overlay = name;
          const truth = which === 0 ? await this.marks?.inside(row, run.manifest.options) : undefined;
          if (truth) this.edges.set(index, edgeOf(truth, row.width, row.height));
        }
      }
    }
    const reasons = [...missing.values()];
    for (const reason of reasons.slice(0, 3)) this.notes.push(`Not drawn: ${reason}`);
    if (reasons.length > 3) this.notes.push(`Not drawn: ${reasons.length - 3} more. If the pictures have moved, say where to with --pictures.`);
  }

  private async sourceOf(run: Run, { image, width, height }: Entry['row'], missing: Map<string, string>): Promise<Scored | undefined> {
    try {
      return { pixels: await readScored(run, this.settings.root, { image, width, height }), width, height };
    } catch (thrown) {
      const error = asDiffmineError(thrown);
      if (error.code !== 'IMAGE_UNREADABLE') throw error;
      missing.set(image, error.message);
      return undefined;
    }
  }

  /** Which of a label's entries are drawn: marked ones first, each kind evenly spaced through the list. */
  private chosen({ entries, measured }: LabelWork): number[] {
    const all = (entries[0] ?? []).map((_, i) => i);
    const most = this.settings.overlays === 'all' ? all.length : this.settings.overlays;
    const isMarked = (i: number): boolean => measured[0]?.figures.has(entries[0]?.[i]?.index ?? -1) ?? false;
    const marked = evenly(all.filter(isMarked), most);
    return [...marked, ...evenly(all.filter((i) => !isMarked(i)), most - marked.length)];
  }

  private notesOf(labels: readonly LabelLocalization[]): string[] {
    if (!this.marks) return this.notes;
    const list = (names: readonly string[]): string => `${names.slice(0, 5).join(', ')}${names.length > 5 ? ', ...' : ''}`;
    const without = labels.filter(({ marked }) => marked === 0).map(({ label }) => label);
    if (without.length > 0) this.notes.push(`No figures of ${list(without)}: nothing is marked in their pictures.`);
    const unmapped = this.marks.labels.filter((label) => !this.run.manifest.conditions.includes(label));
    if (unmapped.length > 0) this.notes.push(`Marked, but not mapped: ${list(unmapped)}.`);
    const { count, used } = this.marks;
    if (used < count) this.notes.push(`${count - used} of ${count} boxes or masks are of pictures that are not in the run.`);
    return this.notes;
  }

  private async page(folder: string, result: Localization, pictures: ReadonlyMap<string, PictureLocalization>, works: readonly LabelWork[]): Promise<void> {
    const { manifest } = this.run;
    const indexOf = new Map(works.flatMap(({ label, entries }) => (entries[0] ?? []).map(({ row, index }) => [JSON.stringify([label, imageKey({ path: row.image, label: row.label })]), index])));
    const shown = [...pictures].flatMap(([key, picture], number) => {
      const maps = picture.maps.filter(({ model }) => model.overlay !== null);
      return maps.length === 0 ? [] : [{
        ...picture, picture: `pictures/${number}.webp`,
        maps: maps.map((map) => ({ ...map, edge: this.edges.get(indexOf.get(JSON.stringify([map.label, key])) ?? -1) ?? null })),
      }];
    });
    const data = {
      ...result, pictures: shown, total: pictures.size, legend: legend(LEGEND_STOPS), version: VERSION, skipped: (await this.run.skipped()).length,
      model: nameOf(manifest.model.path), baseline: result.baseline && (result.baseline.untrained ? 'random weights' : nameOf(result.baseline.path)),
      boxes: result.boxes && { ...result.boxes, name: basename(result.boxes.path) },
      run: { model: manifest.model, dataset: { ...manifest.dataset, name: nameOf(manifest.dataset.path), labels: undefined }, options: manifest.options, preset: manifest.preset, fingerprint: manifest.fingerprint, created: manifest.created },
    };
    await writeFile(join(folder, 'look.css'), await readFile(LOOK));
    for (const name of ['tools.js', 'evaluation.css']) await writeFile(join(folder, name), await readFile(join(REPORT_PAGE, name)));
    for (const name of PAGE_FILES) await writeFile(join(folder, name), await readFile(join(PAGE, name)));
    await writeFile(join(folder, 'data.js'), scriptOf('diffmine.localized', data));
  }
}

/** A folder's name, with the one above where that alone says little. */
const nameOf = (path: string): string =>
  path.split(/[\\/]/).filter((part) => part !== '').slice(/[\\/](model|train|training|heldout|images|pictures|data)[\\/]?$/i.test(path) ? -2 : -1).join('/');

/** The figures of a row of the resampling, of the model, the baseline and their difference. */
function threeOf(row: Figure[] | undefined, models: number): Pick<LabelLocalization, 'model' | 'baseline' | 'difference'> {
  const at = (part: number): MapFigures | null =>
    row && row.length > 0 ? (Object.fromEntries(FIGURES.map((name, i) => [name, row[part * FIGURES.length + i]])) as unknown as MapFigures) : null;
  return { model: at(0), baseline: models > 1 ? at(1) : null, difference: models > 1 ? at(2) : null };
}
