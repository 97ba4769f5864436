// The page of consistent changes, opened from disk with no server and no network: clusters as rows of sequences, a column per label, as figure 10 of the
// paper; and per pair of labels what changes most.
//
//   report/index.html, *.css, *.js         the page (page/, and what all pages share)
//   report/data/run.js                     its data, a classic script
//   report/sprites/S.webp                  the places shown: place p under label c is tile p C + c
//   report/images/P-C.webp               image of place p's sequence under label c (the first place of the sequence on the page); loaded on click
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openImage } from '../../data/index.js';
import { asDiffmineError, because, DiffmineError, reasonAlone } from '../../util/errors.js';
import { removeLeftovers, replaceFolder } from '../../runs/atomic.js';
import { contrastWords, definition, nullMeaning, type Contrast } from '../../runs/contrast-words.js';
import { count } from '../../web/html.js';
import { readTable } from '../../runs/tables.js';
import { ReportFolder, type ReportBytes } from '../../web/folder.js';
import {
  cutTile,
  decode,
  encodeContext,
  SHEET_COLUMNS,
  SHEET_ROWS,
  SpriteSheet,
  TILE,
  TILES_PER_SHEET,
} from '../../web/sprites.js';
import { scriptOf } from '../../web/script.js';
import { readShared } from '../../web/shared.js';
import { named } from '../../web/shown-name.js';
import type { Sequence } from '../../runs/parallel.js';
import type { GroupRecord } from './group.js';
import type { CotypicalityEvent } from './options.js';
import type { CotypicalityRun } from './run.js';
import type { ChangeRow, GroupedPlaceRow, ScoreRow } from './schema.js';
import { imageOf } from './resolve.js';
import type { Hooks } from '../../util/hooks.js';

const PAGE = join(import.meta.dirname, 'page');
const SHARED = ['look.css', 'rows.css', 'dialog.css', 'tools.js', 'settings.js'] as const;
const PAGE_FILES = ['index.html', 'page.css', 'page.js', 'pairs.js', 'sequence.js', 'foot.js'] as const;
const SKIPPED_SHOWN = 500;

export interface ChangesReport {
  /** of index.html */
  path: string;
  /** places shown */
  places: number;
  /** images that are no longer where they were */
  missing: { image: string; reason: string }[];
  bytes: ReportBytes;
}

/** A cluster's places on the page: nearest to its center first, one of a sequence. */
export function shownPlaces(places: readonly GroupedPlaceRow[], clusters: number, rows: number): GroupedPlaceRow[][] {
  const nearest = places
    .filter(({ cluster }) => cluster !== null)
    .sort((a, b) => (a.distance ?? 0) - (b.distance ?? 0) || a.rank - b.rank);
  return Array.from({ length: clusters }, (_, index) => {
    const seen = new Set<string>();
    const shown: GroupedPlaceRow[] = [];
    for (const place of nearest) {
      if (place.cluster !== index || shown.length === rows || seen.has(place.sequence)) continue;
      seen.add(place.sequence);
      shown.push(place);
    }
    return shown;
  });
}

/**
 * Writes RUN/report instead of an earlier one, which stays whole until then.
 *
 * @param sequences by key: where their images lie
 * @throws RUN_INVALID if the groups are damaged; CANCELLED; IO if it cannot write
 */
export async function writeChangesReport(
  run: CotypicalityRun,
  groups: GroupRecord,
  sequences: ReadonlyMap<string, Sequence>,
  { rows }: { rows: number },
  hooks: Hooks<CotypicalityEvent> = {},
): Promise<ChangesReport> {
  const target = join(run.path, 'report');
  await removeLeftovers(target);
  let made: ChangesReport | undefined;
  await replaceFolder(target, async (path) => {
    made = await fill(run, groups, sequences, rows, new ReportFolder(path), hooks);
  });
  const done = { ...(made as ChangesReport), path: join(target, 'index.html') };
  const size = (bytes: number): string =>
    bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  hooks.onLog?.(
    `Page: ${count(done.places, 'place')} (${size(done.bytes.page + done.bytes.sprites)}), images (${size(done.bytes.images)}) loaded on click.`,
  );
  for (const { image, reason } of done.missing.slice(0, 5)) hooks.onLog?.(because('Cannot show', image, reason));
  return done;
}

async function fill(
  run: CotypicalityRun,
  groups: GroupRecord,
  sequences: ReadonlyMap<string, Sequence>,
  rows: number,
  folder: ReportFolder,
  hooks: Hooks<CotypicalityEvent>,
): Promise<ChangesReport> {
  const { labels } = run.manifest.parallel;
  const [all, changes, scores] = await Promise.all([
    readTable<GroupedPlaceRow>(run.groupFile('places.parquet')),
    readTable<ChangeRow>(run.groupFile('changes.parquet')),
    readTable<ScoreRow>(run.groupFile('scores.parquet')),
  ]);
  const top = all.filter(({ list }) => list === 'top');
  const shown = shownPlaces(top, groups.clusters.length, rows);
  const places = shown.flat();
  const drawer = new Drawer(folder, labels, places.length);
  const byImage = new Map<string, number[]>();
  places.forEach(({ sequence }, index) => byImage.set(sequence, [...(byImage.get(sequence) ?? []), index]));
  let done = 0;
  for (const [key, indices] of byImage) {
    if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'The page was cancelled; an earlier one is kept.');
    await drawer.draw(sequences.get(key), key, indices, places);
    hooks.onProgress?.({ type: 'report', done: ++done, total: byImage.size });
  }
  await drawer.finish();

  const scoreOf = new Map(
    scores
      .filter(({ list }) => list === 'top')
      .map((row) => [JSON.stringify([row.sequence, row.place, row.condition]), row.typicality]),
  );
  const data = {
    ...runData(run, groups),
    shown: shown.map((of, cluster) =>
      of.map((_, i) => shown.slice(0, cluster).reduce((sum, { length }) => sum + length, 0) + i),
    ),
    places: places.map((place) => ({
      sequence: place.sequence,
      image: place.image,
      label: labels.indexOf(place.label),
      source: place.label,
      box: [place.x, place.y, place.width, place.height],
      rank: place.rank,
      cotypicality: precise(place.cotypicality),
      distance: precise(place.distance),
      typicality: labels.map((label) =>
        precise(scoreOf.get(JSON.stringify([place.sequence, place.place, label])) ?? null),
      ),
      ...drawer.imageOf(place.sequence),
    })),
    pairs: pairsOf(changes, labels, groups.clusters.length),
    skipped: await run.skipped().then((skipped) => ({ count: skipped.length, shown: skipped.slice(0, SKIPPED_SHOWN) })),
    missing: { count: drawer.missing.length, shown: drawer.missing.slice(0, SKIPPED_SHOWN) },
    sheet: { columns: SHEET_COLUMNS, rows: SHEET_ROWS, tile: TILE },
  };
  for (const name of SHARED) await folder.write('page', name, await readShared(name));
  for (const name of PAGE_FILES) await folder.write('page', name, await readFile(join(PAGE, name)));
  await folder.write('page', 'data/run.js', scriptOf('diffmine.run', data));
  return { path: '', places: places.length, missing: drawer.missing, bytes: folder.bytes };
}

const precise = (value: number | null): number | null => (value === null ? null : Number(value.toPrecision(5)));

function runData(run: CotypicalityRun, groups: GroupRecord): object {
  const { manifest } = run;
  return {
    version: manifest.version,
    format: manifest.format,
    created: manifest.created,
    fingerprint: manifest.fingerprint,
    preset: manifest.preset,
    model: named(manifest.model),
    parallel: { ...named(manifest.parallel), labels: manifest.parallel.labels.length },
    labels: manifest.parallel.labels,
    options: manifest.options,
    grouping: groups.options,
    projection: groups.projection,
    grouped: groups.places,
    clusters: groups.clusters,
    truth: groups.truth,
    notes: groups.notes,
    words: wordsOf(run, groups),
  };
}

/** What the page says of the scores. */
function wordsOf({ manifest }: CotypicalityRun, { clusters }: GroupRecord): object {
  const contrast: Contrast = { ...manifest.options, against: 'null', conditioning: manifest.model.conditioning };
  const { than, model, comparedWith, timesteps } = contrastWords(contrast);
  return {
    comparedWith,
    timesteps,
    lede:
      `Places that are typical of most of ${manifest.parallel.labels.length} labels, in images translated to every label: ${model} denoises them better with the label than ${than}.` +
      (clusters.length > 0 ? ' They are grouped by their appearance under all labels.' : ''),
    method: [
      {
        text: `A sequence is one image translated to every label. Each of its images is scored under the label it shows. ${definition(contrast, 'place')} ${nullMeaning(contrast) ?? ''}`.trim(),
      },
      {
        text: 'The co-typicality of a place is the median of its typicality over the labels: it is high only where the place is typical of at least half of them.',
      },
      {
        lead: 'Clusters',
        text:
          'group the places with the highest co-typicality by their appearance under each label. Rows are sequences, columns are labels; the outlined tile is the image that the sequence was made from. ' +
          'Clusters are numbered from 0 by descending median co-typicality, as in the tables; the sequences nearest to the center come first.',
      },
    ],
  };
}

/** [pairs]: the labels' numbers, and the change at all places and at those of each cluster. */
function pairsOf(changes: readonly ChangeRow[], labels: readonly string[], clusters: number): object[] {
  const pairs = new Map<string, { a: number; b: number; change: number; clusters: (number | null)[] }>();
  for (const { label_a, label_b, cluster, change } of changes) {
    const key = JSON.stringify([label_a, label_b]);
    const pair = pairs.get(key) ?? {
      a: labels.indexOf(label_a),
      b: labels.indexOf(label_b),
      change: 0,
      clusters: new Array<number | null>(clusters).fill(null),
    };
    pairs.set(key, pair);
    if (cluster === null) pair.change = precise(change) ?? 0;
    else pair.clusters[cluster] = precise(change);
  }
  return [...pairs.values()];
}

/** Cuts the places of sequences into sprite sheets, and keeps their images. */
class Drawer {
  readonly missing: ChangesReport['missing'] = [];
  private readonly sheets: SpriteSheet[];
  /** sequence -> its number on the page, and its images' sizes by label; null if one could not be read */
  private readonly drawn = new Map<string, { number: number; sizes: ([number, number] | null)[] }>();
  private quality = 0;

  constructor(
    private readonly folder: ReportFolder,
    private readonly labels: readonly string[],
    places: number,
  ) {
    const tiles = places * labels.length;
    this.sheets = Array.from(
      { length: Math.ceil(tiles / TILES_PER_SHEET) },
      (_, i) => new SpriteSheet(Math.min(TILES_PER_SHEET, tiles - i * TILES_PER_SHEET)),
    );
  }

  async draw(
    sequence: Sequence | undefined,
    key: string,
    indices: readonly number[],
    places: readonly GroupedPlaceRow[],
  ): Promise<void> {
    const number = this.drawn.size;
    const sizes: ([number, number] | null)[] = [];
    const smallest = Math.min(
      ...indices.map((index) => Math.min(places[index]?.width ?? 1, places[index]?.height ?? 1)),
    );
    /** px of the image the boxes are in; those of other labels may be larger or smaller */
    let own: { width: number; height: number } | undefined;
    const order = [...this.labels.keys()].sort(
      (a, b) => Number(this.labels[b] === sequence?.label) - Number(this.labels[a] === sequence?.label),
    );
    for (const label of order) {
      const file = sequence && imageOf(sequence, this.labels[label] as string);
      try {
        if (file === undefined) throw new DiffmineError('DATASET_INVALID', 'it is not in the parallel dataset');
        const image = await decode(await openImage(file), smallest);
        own ??= { width: image.sourceWidth, height: image.sourceHeight };
        const [across, down] = [image.sourceWidth / own.width, image.sourceHeight / own.height];
        for (const index of indices) {
          const { x, y, width, height } = places[index] as GroupedPlaceRow;
          const tile = index * this.labels.length + label;
          this.sheets[Math.floor(tile / TILES_PER_SHEET)]?.put(
            tile % TILES_PER_SHEET,
            await cutTile(image, { x: x * across, y: y * down, width: width * across, height: height * down }),
          );
        }
        await this.folder.write('images', `images/${number}-${label}.webp`, await encodeContext(image));
        sizes[label] = [own.width, own.height];
      } catch (thrown) {
        const error = asDiffmineError(thrown);
        if (error.code === 'CANCELLED') throw error;
        sizes[label] = null;
        this.missing.push({ image: file ?? key, reason: reasonAlone(error) });
      }
    }
    this.drawn.set(key, { number, sizes });
  }

  imageOf(key: string): { number: number; sizes: ([number, number] | null)[] } | undefined {
    return this.drawn.get(key);
  }

  async finish(): Promise<void> {
    for (const [i, sheet] of this.sheets.entries()) {
      const { bytes, quality } = await sheet.encode(this.quality);
      this.quality = quality;
      await this.folder.write('sprites', `sprites/${i}.webp`, bytes);
    }
  }
}
