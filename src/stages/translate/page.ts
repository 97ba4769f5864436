// The page of a translation: source, reconstruction and targets side by side. Plain HTML, opened from disk with no server and no network; its style is
// allowed by its hash, and the images stay the files they are.
import { PSNR_MEANING } from '../../runs/reconstruction-words.js';
import { join } from 'node:path';
import { writeFileAtomic } from '../../runs/atomic.js';
import type { Skipped } from '../../runs/sharded.js';
import { groupBy } from '../../util/group.js';
import { address, count, html, whole, type Markup } from '../../web/html.js';
import { document, readStyle } from '../../web/document.js';
import { shownName } from '../../web/shown-name.js';
import type { TranslationFolder, TranslationManifest } from './folder.js';
import type { Quality } from './options.js';
import { PAGE, reconstructionFile, sourceFile, targetFile, type TranslatedLine } from '../../runs/parallel.js';

/** Images shown of all, and of a label at least; of a label no more than leave the page this many cells, each of some 300 bytes. */
const SHOWN = 400;
const MIN_SHOWN = 8;
const CELLS = 40_000;
const SKIPPED_SHOWN = 500;
/** Images up to this side are shown with sharp pixels. */
const SMALL = 132;

/**
 * Writes index.html of what has been translated so far.
 *
 * @returns the page's path
 */
export async function writeTranslationPage(
  folder: TranslationFolder,
  translated: readonly TranslatedLine[],
  skipped: readonly Skipped[],
  quality?: Quality,
): Promise<string> {
  const style = await readStyle(join(import.meta.dirname, 'page', 'page.css'));
  const file = join(folder.path, PAGE);
  await writeFileAtomic(file, page(folder, translated, skipped, quality, style).text);
  return file;
}

function page(
  { manifest, images }: TranslationFolder,
  translated: readonly TranslatedLine[],
  skipped: readonly Skipped[],
  quality: Quality | undefined,
  style: string,
): Markup {
  const title = shownName(manifest.dataset.path);
  const byLabel = new Map(groupBy(translated, ({ label }) => label).map((lines) => [lines[0]?.label, lines]));
  const labels = [...new Set(images.map(({ label }) => label))]
    .map((label) => ({ label, lines: byLabel.get(label) ?? [] }))
    .filter(({ lines }) => lines.length > 0);
  const most = rowsShown(labels.length, manifest.labels.length);
  return document(
    { title: `${title} · diffmine translation`, style },
    html`${labels[0] && html`<a class="skip" href="#label-0">Skip to the images</a>`}
${header(manifest, title, translated, quality)}
${labels.length > 1 && html`<nav class="bar" aria-label="Labels"><ul class="jump">${labels.map(({ label }, i) => html`<li><a href="#label-${i}">${label}</a></li>`)}</ul></nav>`}
<main>
${labels.length > 0 ? labels.map(({ label, lines }, i) => section(manifest, label, lines, i, most)) : html`<p class="sub">No image has been translated yet.</p>`}
</main>
${footer(manifest, skipped)}
`,
  );
}

/** Images of a label that the page shows. */
export function rowsShown(labels: number, targets: number): number {
  const cells = Math.floor(CELLS / Math.max(1, labels * (targets + 2)));
  return Math.max(1, Math.min(cells, Math.max(MIN_SHOWN, Math.floor(SHOWN / Math.max(1, labels)))));
}

function mean(values: readonly number[]): number | undefined {
  return values.length > 0 ? values.reduce((sum, value) => sum + value, 0) / values.length : undefined;
}

function header(
  manifest: TranslationManifest,
  title: string,
  translated: readonly TranslatedLine[],
  quality: Quality | undefined,
): Markup {
  const psnr = mean(translated.flatMap((line) => line.psnr ?? []));
  const {
    options,
    index: { rows: images },
  } = manifest;
  const facts: [string, string | undefined][] = [
    ['Images', translated.length < images ? `${whole(translated.length)} of ${whole(images)}` : whole(images)],
    ['Target labels', whole(manifest.labels.length)],
    ['Reconstruction PSNR', psnr === undefined ? undefined : `${psnr.toFixed(1)} dB`],
    ['Steps', `${whole(options.inversionSteps)} inversion, ${whole(options.inferenceSteps)} sampling`],
    ['Guidance scale', String(options.guidanceScale)],
    [
      'Injection steps',
      `features ${percent(options.featureFraction)}, attention ${percent(options.attentionLayers.length > 0 ? options.attentionFraction : 0)}`,
    ],
    [
      'Structure similarity',
      quality?.structure === undefined
        ? undefined
        : `${quality.structure.mean.toFixed(2)}${quality.structure.control === null ? '' : ` (other images ${quality.structure.control.toFixed(2)})`}`,
    ],
    ['Better with target label', quality?.label === undefined ? undefined : percent(quality.label.preferred)],
  ];
  return html`<header class="top">
  <p class="brand">diffmine translation</p>
  <h1>${title}</h1>
  <p class="lede">${count(translated.length, 'image')} translated to ${count(manifest.labels.length, 'label')} with ${shownName(manifest.model.path)}: inverted with the source label, sampled with each target label.</p>
  <dl class="facts">${facts.map(([name, value]) => value !== undefined && html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
  <details class="method"><summary>How to read this page</summary>
    <p>Each row is an image. The first column is the <strong>source</strong> at the model’s resolution, the second its <strong>reconstruction</strong>: inverted to noise and sampled back with
      its own label, with the peak signal-to-noise ratio (PSNR). ${PSNR_MEANING} Details missing from the reconstruction are missing from the translations, too. The other columns show the image with each
      <strong>target</strong> label.${quality && html` “Better with target label” is the fraction of translations that the model denoises better with the target label than with the source label.`}</p>
    <p>Select an image to open it alone.</p>
  </details>
</header>`;
}

const percent = (value: number): string => `${Math.round(100 * value)} %`;

function section(
  manifest: TranslationManifest,
  label: string,
  lines: readonly TranslatedLine[],
  index: number,
  most: number,
): Markup {
  const targets = manifest.labels.filter((target) => lines.some((line) => line.targets.includes(target)));
  const shown = lines.slice(0, most);
  return html`<section aria-labelledby="label-${index}">
<h2 id="label-${index}" tabindex="-1">${label}</h2>
<div class="scroll" tabindex="0" role="region" aria-labelledby="label-${index}"><table>
<thead><tr><th scope="col" class="given">Source</th><th scope="col" class="given">Reconstruction</th>${targets.map((target) => html`<th scope="col">${target}</th>`)}</tr></thead>
<tbody>${shown.map((line) => row(line, targets))}</tbody>
</table></div>
${lines.length > shown.length && html`<p class="aside">${count(lines.length, 'image')} of ${label} were translated; the first ${whole(shown.length)} are shown.</p>`}
</section>`;
}

function row(line: TranslatedLine, targets: readonly string[]): Markup {
  const { folder, width, height, psnr } = line;
  const image = (file: string, alt: string, below?: string): Markup => {
    const at = address(`${folder}/${file}`);
    return html`<a href="${at}"><img class="${Math.max(width, height) < SMALL && 'small'}" src="${at}" width="${width}" height="${height}" loading="lazy" alt="${alt}"></a>${below !== undefined && html`<p>${below}</p>`}`;
  };
  return html`<tr><td>${image(sourceFile, `${line.image}, the source`, line.image)}</td><td>${image(reconstructionFile, `${line.image}, reconstructed`, psnr === null ? 'identical' : `${psnr.toFixed(1)} dB`)}</td>${targets.map(
    (target) =>
      html`<td class="made">${line.targets.includes(target) && image(targetFile(target), `${line.image} as ${target}`)}</td>`,
  )}</tr>`;
}

function footer(manifest: TranslationManifest, skipped: readonly Skipped[]): Markup {
  const { options, model, dataset, version, created, fingerprint } = manifest;
  const settingsList = (entries: [string, string | undefined][]): Markup =>
    html`<dl class="settings">${entries.map(([name, value]) => value !== undefined && html`<div class="${value.length > 34 && 'wide'}"><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
  return html`<footer class="foot">
<section><h2>Settings</h2>${settingsList([
    ['Inversion steps', whole(options.inversionSteps)],
    ['Sampling steps', whole(options.inferenceSteps)],
    ['Guidance scale', `${options.guidanceScale}, at timesteps ${options.guidanceBegin} to ${options.guidanceEnd}`],
    [
      'Negative condition',
      options.negative === 'source'
        ? 'the source label'
        : options.nullPrompt
          ? `the unconditional prompt “${options.nullPrompt}”`
          : options.prompt === null
            ? 'the null class'
            : 'the empty prompt',
    ],
    [
      'Features injected',
      `in ${percent(options.featureFraction)} of the steps: ${options.featureLayers.join(', ') || 'none'}`,
    ],
    [
      'Attention injected',
      `in ${percent(options.attentionFraction)} of the steps: ${options.attentionLayers.join(', ') || 'none'}`,
    ],
    ['Prompt', options.prompt === null ? undefined : JSON.stringify(options.prompt)],
    ['Short side', options.size === 'source' ? 'as in the source' : `${options.size} px`],
    ['Dtype', options.dtype],
    ['Device', options.device.toUpperCase()],
  ])}</section>
<section><h2>Provenance</h2>${settingsList([
    ['diffmine', version],
    ['Started', created.replace(/^(.{10})T(.{5}).*Z$/, '$1 $2 UTC')],
    ['Dataset', shownName(dataset.path)],
    ['Model', shownName(model.path)],
    ['Fingerprint', fingerprint],
  ])}</section>
${skipped.length > 0 && html`<section><h2>${count(skipped.length, 'image')} skipped</h2><ul class="list">${skipped.slice(0, SKIPPED_SHOWN).map(({ image, reason }) => html`<li><b>${image}</b> ${reason}</li>`)}</ul>${skipped.length > SKIPPED_SHOWN && html`<p>The rest are listed in skipped.jsonl once all shards are finished.</p>`}</section>`}
</footer>`;
}
