// The page that links what a full demo made: what was found, section by section, in figures and a few pictures. Plain HTML, opened from disk; its style is
// allowed by its hash, and the pictures stay where the stages put them.
import { readFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import type { Localization } from '../localize/options';
import { LOCALIZATION_FILE } from '../localize/record';
import { document, readStyle } from '../page/document';
import { address, html, whole, type Markup } from '../page/html';
import { writeFileAtomic } from '../run/atomic';
import { openParallel } from '../translate/parallel';
import type { DemoFull, DemoSummary } from './options';

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
  /** rows of pictures, with a caption for all */
  rows: Shown[][];
  caption: string;
  report: { file: string | null; words: string };
}

/** Writes OUT/index.html and returns its path. */
export async function writeDemoPage(demo: Omit<DemoSummary, 'full'>, full: DemoFull): Promise<string> {
  const style = await readStyle(join(__dirname, 'page', 'page.css'));
  await writeFileAtomic(full.page, page(demo, await partsOf(demo, full), style).text);
  return full.page;
}

const percent = (value: number | null | undefined): string | null => (value === null || value === undefined ? null : `${Math.round(100 * value)} %`);
const fixed = (value: number | null | undefined, digits: number, unit = ''): string | null => (value === null || value === undefined ? null : `${value.toFixed(digits)}${unit}`);

async function partsOf(demo: Omit<DemoSummary, 'full'>, { translation, cotypicality, localization }: DemoFull): Promise<Part[]> {
  const slots = cotypicality.truth?.columns['slot'];
  const maps = localization.result?.mean.model;
  return [
    {
      id: 'mining', title: 'What is typical of each city',
      about: 'Every patch is scored by how much better the model denoises it when it knows the city; the best are ranked and clustered, and held against what was planted.',
      facts: [
        ['Average precision', fixed(demo.mean.averagePrecision, 3)], ['Untrained', fixed(demo.mean.untrained, 3)], ['Colours alone', fixed(demo.mean.colour, 3)],
        ['Of the 50 best patches, planted', percent(demo.mean.precision50)], ['Random patches', percent(demo.mean.random50)],
      ],
      rows: demo.sheet === null ? [] : [[{ file: demo.sheet, alt: 'Pictures of each city beside their typicality maps, with boxes around planted elements' }]],
      caption: 'A row a city: pictures beside their maps, red where the label helps. Yellow boxes: typical of the city; blue ones: of another.',
      report: { file: demo.report, words: 'Patches and clusters' },
    },
    {
      id: 'translation', title: 'The same street in another city',
      about: 'Pictures go to noise under their own city and come back under another, while features and self-attention of the way there keep them in shape.',
      facts: [
        ['Pictures', whole(translation.translated)], ['Translations', whole(translation.translations)], ['Reconstruction', fixed(translation.psnr, 1, ' dB')],
        ['Structure kept', fixed(translation.quality.structure.mean, 2)], ['Other pictures', fixed(translation.quality.structure.control, 2)],
        ['Look more like the target', percent(translation.quality.label.preferred)],
      ],
      rows: await translated(translation.out),
      caption: 'From the left: the source, then the same street as every other city.',
      report: { file: translation.page, words: 'All translations' },
    },
    {
      id: 'cotypicality', title: 'What changes consistently',
      about: 'Places that are typical under every city, whichever it is translated to, are grouped by how they look in all of them: what is a window here is a window there.',
      facts: [
        ['Sequences', whole(cotypicality.scored)], ['Places', whole(cotypicality.places)], ['Clusters', whole(cotypicality.clusters.length)],
        ['Purity by kind of place', percent(slots?.top.purity)], ['Dealt out at random', percent(slots?.top.chance)], ['Random places', percent(slots?.random.purity)],
      ],
      rows: [], caption: '',
      report: { file: cotypicality.report, words: 'Clusters of sequences' },
    },
    {
      id: 'localization', title: 'Where it shows',
      about: 'The map of each picture under its own city, brought to pixels and smoothed, held against the boxes of what was planted.',
      facts: [
        ['Average precision', fixed(maps?.averagePrecision.value, 3)], ['Planted share', percent(localization.result?.mean.share)], ['Pointing', percent(maps?.pointing.value)],
        ['Best IoU', fixed(maps?.bestIou.value, 2)], ["The paper's AUC-PR", fixed(maps?.paperAucPr.value, 3)],
      ],
      rows: localization.page === null ? [] : [await heatMaps(join(localization.page, '..'))],
      caption: 'Pictures under their heat maps: red where knowing the city helps.',
      report: { file: localization.page, words: 'Heat maps and figures' },
    },
  ];
}

/** A sequence of each of the first labels: its source, then its targets. */
async function translated(folder: string): Promise<Shown[][]> {
  const { sequences } = await openParallel(folder);
  const firsts = [...new Map(sequences.map((one) => [one.label, one])).values()].slice(0, ROWS);
  return firsts.map(({ label, source, pictures }) => [
    { file: source, alt: `A street of ${label}` }, ...Object.entries(pictures).map(([target, file]) => ({ file, alt: `The same street as ${target}` })),
  ]);
}

/** An overlay of each label. */
async function heatMaps(folder: string): Promise<Shown[]> {
  const { pictures } = JSON.parse(await readFile(join(folder, LOCALIZATION_FILE), 'utf8')) as Localization;
  const drawn = pictures.flatMap(({ image, label, maps }) => maps.flatMap(({ model }) => (model.overlay === null ? [] : [{ label, file: join(folder, model.overlay), alt: `${image} under its heat map` }])));
  return [...new Map(drawn.map((one) => [one.label, one])).values()].slice(0, MAPS);
}

function page(demo: Omit<DemoSummary, 'full'>, parts: readonly Part[], style: string): Markup {
  const at = (file: string): string => address(relative(demo.out, file).split(sep).join('/'));
  return document({ title: 'The demo · diffmine', style }, html`<header class="top">
  <p class="brand">diffmine demo</p>
  <h1>A small world with known truth</h1>
  <p class="lede">${whole(demo.world.pictures)} streets of six imaginary cities, drawn from seed ${demo.world.seed}; a model that never saw them; and what it finds of what was planted there.</p>
</header>
<main>
${parts.map((part) => section(part, at))}
</main>
`);
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
