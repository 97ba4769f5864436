// The start page of a full demo: the results of each stage in figures and a few images, with links to its report. Plain HTML, opened from disk; its style
// is allowed by its hash, and images are linked where the stages wrote them.
import { PSNR_MEANING } from '../../runs/reconstruction-words.js';
import { readFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import type { Localization } from '../../stages/localize/options.js';
import { LOCALIZATION_FILE } from '../../stages/localize/record.js';
import { document, readStyle } from '../../web/document.js';
import { address, html, whole, type Markup } from '../../web/html.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import { openParallel } from '../../runs/parallel.js';
import type { DemoFull, DemoSummary } from './options.js';

/** The demo compares every city with no label. */
const MAPS_SAY = 'Red: the model denoises it better with the city; blue: better with the other cities.';
/** Rows of translations, and heat maps, that are shown here. */
const ROWS = 3;
const MAPS = 6;

interface Shown {
  file: string;
  alt: string;
}

interface Part {
  id: string;
  title: string;
  about: string;
  facts: [string, string | null][];
  /** rows of images, with a caption for all */
  rows: Shown[][];
  caption: string;
  report: { file: string | null; words: string };
}

/** Writes OUT/index.html and returns its path. */
export async function writeDemoPage(demo: Omit<DemoSummary, 'full'>, full: DemoFull): Promise<string> {
  const style = await readStyle(join(import.meta.dirname, 'page', 'page.css'));
  await writeFileAtomic(full.page, page(demo, await partsOf(demo, full), style).text);
  return full.page;
}

const percent = (value: number | null | undefined): string | null =>
  value === null || value === undefined ? null : `${Math.round(100 * value)} %`;
const fixed = (value: number | null | undefined, digits: number, unit = ''): string | null =>
  value === null || value === undefined ? null : `${value.toFixed(digits)}${unit}`;

async function partsOf(
  demo: Omit<DemoSummary, 'full'>,
  { translation, cotypicality, localization }: DemoFull,
): Promise<Part[]> {
  const slots = cotypicality.truth?.columns['slot'];
  const maps = localization.result?.mean.model;
  return [
    {
      id: 'mining',
      title: 'What is typical of each city',
      about:
        'Every patch is scored by how much better the model denoises it with the city than without it. The patches are ranked, clustered and compared with the planted elements.',
      facts: [
        ['Average precision', fixed(demo.mean.averagePrecision, 3)],
        ['Random weights', fixed(demo.mean.untrained, 3)],
        ['Colors alone', fixed(demo.mean.color, 3)],
        ['Top 50 patches on planted elements', percent(demo.mean.precision50)],
        ['Random patches', percent(demo.mean.random50)],
      ],
      rows:
        demo.grid === null
          ? []
          : [
              [
                {
                  file: demo.grid,
                  alt: 'Images of each city beside their typicality maps, with boxes around planted elements',
                },
              ],
            ],
      caption: `One row per city: images beside their typicality maps. ${MAPS_SAY} Yellow boxes: typical of the city; cyan boxes: typical of another.`,
      report: { file: demo.page, words: 'Patches and clusters' },
    },
    {
      id: 'translation',
      title: 'The same street in another city',
      about:
        'Images are inverted to noise with their own city and sampled with another; injected features and self-attention keep their structure.',
      facts: [
        ['Images', whole(translation.translated)],
        ['Translations', whole(translation.translations)],
        ['Reconstruction PSNR', fixed(translation.psnr, 1, ' dB')],
        ['Structure similarity', fixed(translation.quality.structure.mean, 2)],
        ['To other images', fixed(translation.quality.structure.control, 2)],
        ['Better with target label', percent(translation.quality.label.preferred)],
      ],
      rows: await translated(translation.path),
      caption: `Left: the source. Right of it: the same street as every other city. ${PSNR_MEANING}`,
      report: { file: translation.page, words: 'All translations' },
    },
    {
      id: 'cotypicality',
      title: 'What changes consistently',
      about:
        'Places with the highest co-typicality (typical of most cities that the image is translated to) are grouped by their appearance in all cities.',
      facts: [
        ['Sequences', whole(cotypicality.scored)],
        ['Places', whole(cotypicality.places)],
        ['Clusters', whole(cotypicality.clusters.length)],
        ['Purity by slot', percent(slots?.top.purity)],
        ['Chance', percent(slots?.top.chance)],
        ['Random places', percent(slots?.random.purity)],
      ],
      rows: [],
      caption: '',
      report: { file: cotypicality.page, words: 'Clusters of sequences' },
    },
    {
      id: 'localization',
      title: 'Where it shows',
      about:
        'The typicality map of each image for its own city, upsampled and smoothed, compared with the boxes of the planted elements.',
      facts: [
        ['Average precision', fixed(maps?.averagePrecision.value, 3)],
        ['Chance', fixed(localization.result?.mean.fraction, 3)],
        ['Pointing game', percent(maps?.pointing.value)],
        ['Best IoU', fixed(maps?.bestIou.value, 2)],
        ["The paper's AUC-PR", fixed(maps?.paperAucPr.value, 3)],
      ],
      rows: localization.page === null ? [] : [await heatMaps(join(localization.page, '..'))],
      caption: `Images with their heat maps. ${MAPS_SAY}`,
      report: { file: localization.page, words: 'Heat maps and metrics' },
    },
  ];
}

/** A sequence of each of the first labels: its source, then its targets. */
async function translated(folder: string): Promise<Shown[][]> {
  const { sequences } = await openParallel(folder);
  const firsts = [...new Map(sequences.map((one) => [one.label, one])).values()].slice(0, ROWS);
  return firsts.map(({ label, source, images }) => [
    { file: source, alt: `A street of ${label}` },
    ...Object.entries(images).map(([target, file]) => ({ file, alt: `The same street as ${target}` })),
  ]);
}

/** An overlay of each label. */
async function heatMaps(folder: string): Promise<Shown[]> {
  const { images } = JSON.parse(await readFile(join(folder, LOCALIZATION_FILE), 'utf8')) as Localization;
  const drawn = images.flatMap(({ image, label, maps }) =>
    maps.flatMap(({ model }) =>
      model.overlay === null ? [] : [{ label, file: join(folder, model.overlay), alt: `${image} with its heat map` }],
    ),
  );
  return [...new Map(drawn.map((one) => [one.label, one])).values()].slice(0, MAPS);
}

function page(demo: Omit<DemoSummary, 'full'>, parts: readonly Part[], style: string): Markup {
  const at = (file: string): string => address(relative(demo.path, file).split(sep).join('/'));
  return document(
    { title: 'The demo · diffmine', style },
    html`<header class="top">
  <p class="brand">diffmine demo</p>
  <h1>A synthetic dataset with ground truth</h1>
  <p class="lede">${whole(demo.world.images)} images of streets in six imaginary cities, drawn with seed ${demo.world.seed}; a model that was not trained on them; and which of the planted elements it finds.</p>
</header>
<main>
${parts.map((part) => section(part, at))}
</main>
`,
  );
}

function section({ id, title, about, facts, rows, caption, report }: Part, at: (file: string) => string): Markup {
  return html`<section aria-labelledby="${id}">
<h2 id="${id}">${title}</h2>
<p class="sub">${about}</p>
<dl class="facts">${facts.map(([name, value]) => value !== null && html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
${rows.length > 0 && html`<figure>${rows.map((row) => html`<div class="strip${row.length === 1 && ' one'}">${row.map(({ file, alt }) => html`<img src="${at(file)}" alt="${alt}" loading="lazy">`)}</div>`)}<figcaption>${caption}</figcaption></figure>`}
${report.file !== null && html`<p><a class="open" href="${at(report.file)}">${report.words}</a></p>`}
</section>
`;
}
