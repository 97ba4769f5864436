// The page of a localization: localize/index.html, opened from disk with no server and no network.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  contrastOf,
  contrastWords,
  definition,
  mapEnds,
  mapMeaning,
  mappedMeaning,
  nullMeaning,
} from '../../runs/contrast-words.js';
import { legend } from '../../web/heatmap.js';
import { scriptOf } from '../../web/script.js';
import { readShared } from '../../web/shared.js';
import { named, shownName } from '../../web/shown-name.js';
import type { Run } from '../../runs/run.js';
import { VERSION } from '../../util/version.js';
import type { Localization, ImageLocalization } from './options.js';

const PAGE = join(import.meta.dirname, 'page');
const SHARED = ['look.css', 'tools.js', 'figures.js', 'figures.css', 'settings.js'] as const;
const PAGE_FILES = ['index.html', 'page.css', 'page.js'] as const;
const LEGEND_STOPS = 41;

/**
 * Writes the page into `folder`, where images and overlays lie.
 *
 * @param images by key, in the order of their numbers
 * @param edgeOf the edge around what is marked in an image for a label, as an SVG path
 */
export async function writePage(
  folder: string,
  run: Run,
  result: Localization,
  images: ReadonlyMap<string, ImageLocalization>,
  edgeOf: (of: { label: string; key: string }) => string | undefined,
): Promise<void> {
  const { manifest } = run;
  const shown = [...images].flatMap(([key, image], number) => {
    const maps = image.maps.filter(({ model }) => model.overlay !== null);
    return maps.length === 0
      ? []
      : [
          {
            ...image,
            file: `images/${number}.webp`,
            maps: maps.map((map) => ({ ...map, edge: edgeOf({ label: map.label, key }) ?? null })),
          },
        ];
  });
  const data = {
    ...result,
    images: shown,
    total: images.size,
    legend: legend(LEGEND_STOPS),
    version: VERSION,
    skipped: (await run.skipped()).length,
    model: shownName(manifest.model.path),
    baseline: result.baseline && (result.baseline.untrained ? 'random weights' : shownName(result.baseline.path)),
    words: wordsOf(run, result),
    boxes: result.boxes && named(result.boxes),
    run: {
      model: named(manifest.model),
      dataset: { ...named(manifest.dataset), labels: undefined },
      options: manifest.options,
      preset: manifest.preset,
      fingerprint: manifest.fingerprint,
      created: manifest.created,
    },
  };
  for (const name of SHARED) await writeFile(join(folder, name), await readShared(name));
  for (const name of PAGE_FILES) await writeFile(join(folder, name), await readFile(join(PAGE, name)));
  await writeFile(join(folder, 'data.js'), scriptOf('diffmine.localized', data));
}

/** What the page says. */
function wordsOf(run: Run, { baseline, boxes, options }: Localization): object {
  const contrast = contrastOf(run);
  const { than, rival, comparedWith, timesteps, notice } = contrastWords(contrast);
  const model = shownName(run.manifest.model.path);
  const other = baseline && (baseline.untrained ? 'the same network with random weights' : shownName(baseline.path));
  const smoothed = options.blur > 0;
  const sentences = (...list: (string | null)[]): string => list.filter((one) => one !== null).join(' ');
  return {
    notice,
    comparedWith,
    timesteps,
    rival,
    lede: `Where ${model} denoises an image better with ${run.manifest.options.localize === 'own' ? 'its' : 'a'} label than ${than}${other ? `, compared with ${other}` : ''}.`,
    ends: mapEnds(contrast),
    map: mapMeaning(contrast),
    method: [
      { text: sentences(definition(contrast, 'pixel'), nullMeaning(contrast), mappedMeaning(contrast)) },
      {
        lead: 'Colors:',
        text: sentences(mapMeaning(contrast), `Each label${baseline ? ' and model' : ''} has its own color scale.`),
      },
      {
        lead: 'Resolution:',
        text: sentences(
          'Maps have the resolution at which the model processes the image and are upsampled to pixels.',
          smoothed ? 'They are then blurred with a Gaussian.' : null,
          boxes
            ? `${smoothed ? 'Average precision, pointing game and IoU use the blurred maps; the' : 'The'} paper’s AUC-PR uses the maps ${smoothed ? 'before the blur' : 'as they are'}.`
            : null,
        ),
      },
    ],
  };
}
