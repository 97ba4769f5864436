// What the report's page knows before a label is opened (data/run.js): model, dataset, words, options and a summary of each label.
import { fillPrompt } from '../../data/index.js';
import { PROPERTIES, telling } from '../../data/properties.js';
import {
  amountsOf,
  contrastOf,
  contrastWords,
  listWords,
  reportLede,
  reportMethod,
  titleOf,
} from '../../runs/contrast-words.js';
import { concentration, type MineRecord } from '../../runs/mining.js';
import { RACE_LISTS, raceMeaning } from '../../runs/race-words.js';
import type { RaceRecord } from '../../runs/rounds.js';
import type { Run, Skipped } from '../../runs/run.js';
import { legend } from '../../web/heatmap.js';
import { named } from '../../web/shown-name.js';
import { SHEET_COLUMNS, SHEET_ROWS, TILE } from '../../web/sprites.js';
import type { LabelView } from './layout.js';

const SKIPPED_SHOWN = 500;
/** Patches of a cluster in the overview. */
const OVERVIEW_TILES = 4;
const LEGEND_STOPS = 41;

export function promptOf(run: Run, label: string): string | null {
  const { model, options } = run.manifest;
  return model.conditioning === 'text' && options.prompt !== null ? fillPrompt(options.prompt, label) : null;
}

export function runData(
  run: Run,
  mined: MineRecord,
  race: RaceRecord | undefined,
  views: LabelView[],
  skipped: Skipped[],
  missing: { image: string; reason: string }[],
  maps: number,
  title: string | undefined,
): object {
  const { manifest } = run;
  const [model, dataset] = [named(manifest.model), named(manifest.dataset)];
  const contrast = contrastOf(run);
  const { rank } = mined.options;
  const untrained = contrast.untrained === true;
  return {
    version: manifest.version,
    format: manifest.format,
    created: manifest.created,
    fingerprint: manifest.fingerprint,
    model: { ...model, name: `${model.name}${untrained ? ', random weights' : ''}` },
    dataset: { ...dataset, labels: dataset.labels.length },
    words: {
      ...contrastWords(contrast),
      ...(mined.options.patch === manifest.options.patch ? {} : { standardErrors: errorsWithout(mined, manifest) }),
      title: titleOf(title, dataset.name, contrast),
      lede: reportLede(contrast, rank, views.length),
      method: [
        ...reportMethod(contrast, mined.options, manifest.options.maps, race !== undefined),
        ...(race ? [{ lead: 'Racing:', text: `${raceMeaning(race)} ${RACE_LISTS}` }] : []),
      ],
      lists: listWords(untrained),
      score: contrast.against === 'null' ? 'Typicality' : `Typicality against ${contrastWords(contrast).rival}`,
    },
    options: manifest.options,
    ...(manifest.pilot ? { pilot: manifest.pilot } : {}),
    preset: manifest.preset,
    mine: mined.options,
    notes: mined.notes,
    confounds: mined.confounds && {
      images: mined.confounds.images,
      properties: PROPERTIES,
      told: telling(mined.confounds.confounds).map(({ label, property, auroc: { value, low, high } }) => ({
        label,
        property,
        auroc: [value, low, high],
      })),
      duplicates: mined.confounds.duplicates.length,
    },
    labels: views.map((view) => {
      const clustered = view.clusters.flatMap(({ members }) => members.map((tile) => view.patches[tile]));
      const images = new Set((clustered.length > 0 ? clustered : view.patches).map((patch) => patch?.image)).size;
      const amounts = {
        patches: view.patches.length,
        clusters: view.clusters.length,
        clustered: clustered.length,
        images,
      };
      const found = mined.conditions.find(({ condition }) => condition === view.label);
      return {
        label: view.label,
        ...amounts,
        best: view.clusters.map(({ number, median, size, members }) => ({
          number,
          median: Number(median.toPrecision(6)),
          size,
          tiles: members.slice(0, OVERVIEW_TILES),
        })),
        made: amountsOf(amounts, rank, untrained),
        warning: found ? concentration(found) : null,
      };
    }),
    skipped: { count: skipped.length, shown: skipped.slice(0, SKIPPED_SHOWN) },
    missing: { count: missing.length, shown: missing.slice(0, SKIPPED_SHOWN) },
    maps: { kept: manifest.options.maps, shown: maps },
    root: dataset.name,
    sheet: { columns: SHEET_COLUMNS, rows: SHEET_ROWS, tile: TILE },
    legend: legend(LEGEND_STOPS),
  };
}

const errorsWithout = ({ options: { patch } }: MineRecord, { options }: Run['manifest']): string =>
  `Patches of ${patch} px were ranked from the typicality maps of the scan, whose patches have ${options.patch} px, so there are no standard errors.`;
