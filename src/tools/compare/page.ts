// The page of a comparison: plain HTML, opened from disk.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { document, readStyle } from '../../web/document.js';
import { count, html, short, whole, type Markup } from '../../web/html.js';
import type { CompareSummary, Correlation, LabelComparison, Mover, Overlap } from './options.js';
import { drawnLabels, namesOf } from './shown.js';

export async function writePage(summary: CompareSummary, folder: string): Promise<void> {
  const style = await readStyle(join(import.meta.dirname, 'page', 'page.css'));
  await writeFile(join(folder, 'index.html'), page(summary, style).text);
}

const figure = (value: number | null): string => (value === null ? '–' : value.toFixed(2).replace('-', '−'));
const percent = (value: number | null | undefined): string =>
  value === null || value === undefined ? '–' : `${Math.round(100 * value)} %`;

function page(summary: CompareSummary, style: string): Markup {
  const { labels, mean, differences, only, options, version } = summary;
  const [a, b] = namesOf(summary.run.path, summary.other.path);
  const images = labels.reduce((sum, one) => sum + one.images.common, 0);
  const drawn = drawnLabels(summary);
  return document(
    { title: `${a} and ${b} · diffmine`, style },
    html`<header class="top">
<p class="brand">diffmine compare</p>
<h1>${a} and ${b}</h1>
<p class="lede">What the two runs agree on: the order in which they rank the images and patches that both have, and how many of their best patches are the same.</p>
<dl class="facts">
${fact('Labels in common', whole(labels.length))}
${fact('Scores of images in common', whole(images))}
${fact('Rank correlation of images', figure(mean.images))}
${fact('Rank correlation of patches', figure(mean.patches))}
${mean.overlap.map(({ k, fraction }) => fraction !== null && fact(`Overlap of the first ${whole(k)}`, percent(fraction)))}
</dl>
</header>
<main>
<section aria-labelledby="differences">
<h2 id="differences">How they were made</h2>
${differences.length === 0 ? html`<p class="sub">Model, dataset and options are the same.</p>` : differencesTable(differences, a, b)}
${onlyIn(a, only.run)}${onlyIn(b, only.other)}
</section>
<section aria-labelledby="labels">
<h2 id="labels">Agreement by label</h2>
<p class="sub">Correlation is Spearman's, over what both runs have. Two patches are the same if the intersection over union of their boxes is at least ${short(options.iou)}. Patches are those of the ranking “${options.list}”; random ones were drawn without regard to their score.</p>
${labelTable(labels, mean.overlap)}
</section>
${drawn.length > 0 && moversSection(summary, drawn, a, b)}
</main>
<footer class="foot"><p>Written by diffmine ${version}. The same figures for programs: compare.json.</p></footer>
`,
  );
}

const fact = (name: string, value: string): Markup => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;

const onlyIn = (name: string, labels: readonly string[]): Markup | false =>
  labels.length > 0 &&
  html`<p class="sub">Only in ${name}: ${labels.slice(0, 20).join(', ')}${labels.length > 20 && ` and ${labels.length - 20} more labels`}.</p>`;

const text = (value: unknown): string =>
  value === null ? '–' : typeof value === 'string' ? value : JSON.stringify(value);

/** The two values; of a model or a dataset their names. */
function valuesOf({ name, run, other }: CompareSummary['differences'][number]): [string, string] {
  const places = (name === 'model' || name === 'dataset') && typeof run === 'string' && typeof other === 'string';
  return places ? namesOf(run, other) : [text(run), text(other)];
}

function differencesTable(differences: CompareSummary['differences'], a: string, b: string): Markup {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="What differs"><table class="made">
<thead><tr><th scope="col"></th><th scope="col">${a}</th><th scope="col">${b}</th></tr></thead>
<tbody>${differences.map((one) => html`<tr><th scope="row">${one.name}</th>${valuesOf(one).map((value) => html`<td>${value}</td>`)}</tr>`)}</tbody>
</table></div>`;
}

function labelTable(labels: readonly LabelComparison[], sizes: readonly Overlap[]): Markup {
  const correlation = ({ common, spearman }: Correlation): Markup =>
    html`<td class="number">${whole(common)}</td><td class="number">${figure(spearman)}</td>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Agreement by label"><table>
<thead>
<tr><th rowspan="2" scope="col">Label</th><th colspan="2" scope="colgroup">Images</th><th colspan="2" scope="colgroup">Ranked patches</th><th colspan="2" scope="colgroup">Random patches</th><th colspan="${sizes.length}" scope="colgroup">Overlap of the first</th></tr>
<tr>${[0, 1, 2].map(() => html`<th class="number" scope="col">in both</th><th class="number" scope="col">correlation</th>`)}${sizes.map(({ k }) => html`<th class="number" scope="col">${whole(k)}</th>`)}</tr>
</thead>
<tbody>${labels.map(
    (
      one,
    ) => html`<tr><th scope="row">${one.label}</th>${correlation(one.images)}${correlation(one.patches)}${correlation(one.random)}${one.overlap.map(overlapCell)}</tr>
`,
  )}</tbody>
</table></div>`;
}

/** A bar as wide as the fraction below its figure. */
function overlapCell({ fraction }: Overlap): Markup {
  return html`<td class="number">${percent(fraction)}<svg class="part" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect class="all" width="100" height="4"/><rect width="${100 * (fraction ?? 0)}" height="4"/></svg></td>`;
}

function moversSection(
  { labels, options: { list } }: CompareSummary,
  drawn: readonly LabelComparison[],
  a: string,
  b: string,
): Markup {
  return html`<section aria-labelledby="movers">
<h2 id="movers">Patches that moved most</h2>
<p class="sub">The patches of one run's ranking “${list}” that are furthest down in the other, by the ratio of their ranks. Below each: its rank in one run → in the other.${drawn.length < labels.length && ` Shown: the ${count(drawn.length, 'label')} with the least overlap.`}</p>
${drawn.map(
  (one) => html`<h3>${one.label}</h3>
<div class="sides">${side(`Higher in ${a}`, one.movers.run, 'run', 'other', one.ranked.other)}${side(`Higher in ${b}`, one.movers.other, 'other', 'run', one.ranked.run)}</div>
`,
)}</section>`;
}

function side(
  title: string,
  movers: readonly Mover[],
  from: 'run' | 'other',
  to: 'run' | 'other',
  length: number,
): Markup | false {
  return (
    movers.length > 0 &&
    html`<div><h4>${title}</h4><ul class="tiles">${movers.map((mover) => {
      const there = mover[to]?.rank;
      const words = there === undefined ? `not in ${whole(length)}` : whole(there);
      return html`<li>${mover.tile === null ? html`<span class="blank">no image</span>` : html`<img src="${mover.tile}" width="96" height="96" loading="lazy" alt="Patch of ${mover.image}" title="${mover.image}">`}<span class="number">${whole(mover[from]?.rank ?? 0)} → ${words}</span></li>`;
    })}</ul></div>`
  );
}
