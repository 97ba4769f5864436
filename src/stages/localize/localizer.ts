// Computes figures and overlays from finished maps, and writes their record.
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { compareCodePoints } from '../../data/order.js';
import { asDiffmineError, because, reasonAlone } from '../../util/errors.js';
import { evenly } from '../../util/evenly.js';
import { bootstrapped, mean, type Figure } from '../../metrics/bootstrap.js';
import type { Engine } from '../../engine/index.js';
import { count as counted } from '../../web/html.js';
import { commonScale } from '../../web/heatmap.js';
import { readScored } from '../../runs/scored.js';
import { imageKey, type Run } from '../../runs/run.js';
import { VERSION } from '../../util/version.js';
import { drawOverlay, drawImage, type Scored } from './draw.js';
import { heatOf, rowsOf } from './heat.js';
import { edgeOf, type Marks } from './marks.js';
import { FIGURES, groupOf, measure, type Entry, type Measured } from './measure.js';
import type { LabelLocalization, Localization, LocalizeEvent, MapFigures, ImageLocalization } from './options.js';
import { writePage } from './page.js';
import { LOCALIZATION_FILE, LOCALIZATION_FORMAT, type LocalizationRecord } from './record.js';
import type { Hooks } from '../../util/hooks.js';

export interface Settings {
  blur: number;
  bootstrap: number;
  overlays: number | 'all';
  root: string;
}

/** A label's entries: of the run, and the same images' of the baseline. */
interface LabelWork {
  label: string;
  /** [model, baseline][entry] */
  entries: Entry[][];
  measured: Measured[];
  scales: number[];
}

/** Where the overlays of the model and of the baseline lie. */
const FOLDERS = ['overlays', 'baseline'] as const;

/** Everything that follows from finished maps, for one folder. */
export class Localizer {
  private readonly notes: string[] = [];
  /** edges around what is marked, for the page, by label and image */
  private readonly edges = new Map<string, string>();

  constructor(
    private readonly engine: Engine,
    /** the model's, and the baseline's */
    private readonly runs: readonly Run[],
    private readonly marks: Marks | undefined,
    private readonly settings: Settings,
    private readonly hooks: Hooks<LocalizeEvent>,
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
    const figures = this.marks
      ? await bootstrapped(
          works.map(({ measured }) => groupOf(measured)),
          count,
          { bootstrap, seed },
          this.resampling(),
        )
      : undefined;
    const labels = works.map((work, i) => this.labelOf(work, figures?.[i]));
    const images = this.images(works);
    await this.draw(folder, works, images);

    const [, control] = this.runs;
    const means = figures?.at(-1);
    const result: Localization = {
      model: { path: manifest.model.path },
      baseline: control
        ? { path: control.manifest.model.path, untrained: control.manifest.options.untrained === true }
        : null,
      boxes: this.marks
        ? { path: resolve(this.marks.path), marks: this.marks.count, used: this.marks.used, ...this.marks.counts }
        : null,
      options: { against, blur, bootstrap: this.marks ? bootstrap : 0, seed },
      labels,
      mean: { fraction: mean(labels.map(({ fraction }) => fraction)), ...threeOf(means, this.runs.length) },
      images: [...images.values()],
      notes: this.notesOf(labels),
    };
    const record: LocalizationRecord = {
      format: LOCALIZATION_FORMAT,
      version: VERSION,
      fingerprint: manifest.fingerprint,
      baselineFingerprint: control?.manifest.fingerprint ?? null,
      ...result,
    };
    await writeFile(join(folder, LOCALIZATION_FILE), `${JSON.stringify(record, null, 1)}\n`);
    await writePage(folder, this.run, result, images, ({ label, key }) => this.edges.get(JSON.stringify([label, key])));
    return result;
  }

  private resampling(): Parameters<typeof bootstrapped>[3] {
    const { signal, onProgress } = this.hooks;
    return {
      signal,
      onProgress: ({ done, total }) => onProgress?.({ type: 'resample', done, total }),
    };
  }

  /** The label's maps of all runs, measured. Images that a baseline of another size multiple could not take are left out of both. */
  private async measured(): Promise<LabelWork[]> {
    const rows = await Promise.all(this.runs.map(rowsOf));
    const key = ({ row }: { row: Entry['row'] }): string => JSON.stringify([row.condition, row.label, row.image]);
    const byKey = rows.map((list) => new Map(list.map((one) => [key(one), one])));
    const kept = (rows[0] ?? []).filter((one) => byKey.every((map) => map.has(key(one))));
    const lost = (rows[0]?.length ?? 0) - kept.length;
    if (lost > 0)
      this.notes.push(
        `${counted(lost, 'map')} ${lost === 1 ? 'is' : 'are'} left out: the baseline has no map of the same image.`,
      );
    let [index, done] = [0, 0];
    const works: LabelWork[] = [];
    for (const label of this.run.manifest.conditions) {
      const own = kept.filter(({ row }) => row.condition === label);
      const first = index;
      index += own.length;
      const entries = byKey.map((map) =>
        own.map((one, i): Entry => ({ ...(map.get(key(one)) as (typeof kept)[number]), index: first + i })),
      );
      const measured: Measured[] = [];
      for (const [which, run] of this.runs.entries()) {
        measured.push(
          await measure(this.engine, run, entries[which] ?? [], this.marks, this.settings.blur, this.hooks.signal, () =>
            this.hooks.onProgress?.({ type: 'maps', done: ++done, total: kept.length * this.runs.length }),
          ),
        );
      }
      works.push({ label, entries, measured, scales: measured.map(({ strengths }) => commonScale(strengths)) });
    }
    return works;
  }

  private labelOf({ label, entries, measured, scales }: LabelWork, figures: Figure[] | undefined): LabelLocalization {
    const curve = measured[0]?.curve;
    const three = threeOf(curve ? figures : undefined, this.runs.length);
    return {
      label,
      images: entries[0]?.length ?? 0,
      marked: measured[0]?.marked.length ?? 0,
      fraction: curve ? curve.positives / curve.pixels : null,
      scale: scales[0] ?? 0,
      baselineScale: scales[1] ?? null,
      ...three,
    };
  }

  private images(works: readonly LabelWork[]): Map<string, ImageLocalization> {
    const found = new Map<string, ImageLocalization>();
    for (const { label, entries, measured } of works) {
      entries[0]?.forEach(({ row, index }, i) => {
        const key = imageKey({ path: row.image, label: row.label });
        const image = found.get(key) ?? {
          image: row.image,
          label: row.label,
          width: row.width,
          height: row.height,
          maps: [],
        };
        found.set(key, image);
        const [model, baseline] = measured.map((one, which) => ({
          typicality: entries[which]?.[i]?.row.typicality ?? NaN,
          overlay: null,
          figures: one.figures.get(index) ?? null,
        }));
        if (model)
          image.maps.push({
            label,
            fraction: measured[0]?.fractions.get(index) ?? null,
            model,
            baseline: baseline ?? null,
          });
      });
    }
    // in the order of the dataset
    return new Map(
      [...found].sort(([, a], [, b]) => compareCodePoints(a.image, b.image) || compareCodePoints(a.label, b.label)),
    );
  }

  /** Draws images and overlays, and notes their names in `images`. */
  private async draw(
    folder: string,
    works: readonly LabelWork[],
    images: ReadonlyMap<string, ImageLocalization>,
  ): Promise<void> {
    for (const name of ['images', ...FOLDERS.slice(0, this.runs.length)]) await mkdir(join(folder, name));
    const numbers = new Map([...images.keys()].map((key, number) => [key, number]));
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
          const { row } = item;
          const key = imageKey({ path: row.image, label: row.label });
          if (missing.has(row.image)) continue;
          const source = await this.sourceOf(run, row, missing);
          if (!source) continue;
          const number = numbers.get(key) as number;
          if (!drawn.has(number)) await writeFile(join(folder, 'images', `${number}.webp`), await drawImage(source));
          drawn.add(number);
          const name = `${FOLDERS[which]}/${number}-${place}.png`;
          await writeFile(join(folder, name), await drawOverlay(source, heat, work.scales[which] ?? 0));
          const map = images.get(key)?.maps.find(({ label }) => label === work.label);
          const result = which === 0 ? map?.model : map?.baseline;
          if (result) result.overlay = name;
          const truth = which === 0 ? await this.marks?.inside(row, run.manifest.options) : undefined;
          if (truth) this.edges.set(JSON.stringify([work.label, key]), edgeOf(truth, row.width, row.height));
        }
      }
    }
    const reasons = [...missing];
    for (const [image, reason] of reasons.slice(0, 3)) this.notes.push(because('Cannot draw', image, reason));
    if (reasons.length > 3)
      this.notes.push(
        `Cannot draw ${reasons.length - 3} more. If the images have moved, name their folder with \`dataset\`.`,
      );
  }

  private async sourceOf(
    run: Run,
    { image, width, height }: Entry['row'],
    missing: Map<string, string>,
  ): Promise<Scored | undefined> {
    try {
      return { pixels: await readScored(run, this.settings.root, { image, width, height }), width, height };
    } catch (thrown) {
      const error = asDiffmineError(thrown);
      if (error.code !== 'IMAGE_UNREADABLE') throw error;
      missing.set(image, reasonAlone(error));
      return undefined;
    }
  }

  /** Which of a label's entries are drawn: marked ones first, each kind evenly spaced through the list. */
  private chosen({ entries, measured }: LabelWork): number[] {
    const all = (entries[0] ?? []).map((_, i) => i);
    const most = this.settings.overlays === 'all' ? all.length : this.settings.overlays;
    const isMarked = (i: number): boolean => measured[0]?.figures.has(entries[0]?.[i]?.index ?? -1) ?? false;
    const marked = evenly(all.filter(isMarked), most);
    return [
      ...marked,
      ...evenly(
        all.filter((i) => !isMarked(i)),
        most - marked.length,
      ),
    ];
  }

  private notesOf(labels: readonly LabelLocalization[]): string[] {
    if (!this.marks) return this.notes;
    const list = (names: readonly string[]): string =>
      `${names.slice(0, 5).join(', ')}${names.length > 5 ? ', ...' : ''}`;
    const without = labels.filter(({ marked }) => marked === 0).map(({ label }) => label);
    if (without.length > 0) this.notes.push(`No metrics for ${list(without)}: their images have no boxes or masks.`);
    const unmapped = this.marks.labels.filter((label) => !this.run.manifest.conditions.includes(label));
    if (unmapped.length > 0) this.notes.push(`No maps for labels that have boxes or masks: ${list(unmapped)}.`);
    const { count, used } = this.marks;
    if (used < count)
      this.notes.push(`${count - used} of ${count} boxes or masks belong to images that are not in the run.`);
    this.notes.push(...this.marks.notes);
    return this.notes;
  }
}

/** The figures of a row of the resampling, of the model, the baseline and their difference. */
function threeOf(
  row: Figure[] | undefined,
  models: number,
): Pick<LabelLocalization, 'model' | 'baseline' | 'difference'> {
  const at = (part: number): MapFigures | null =>
    row && row.length > 0
      ? (Object.fromEntries(FIGURES.map((name, i) => [name, row[part * FIGURES.length + i]])) as unknown as MapFigures)
      : null;
  return { model: at(0), baseline: models > 1 ? at(1) : null, difference: models > 1 ? at(2) : null };
}
