// Describes a score in words: which two losses it compares, with which model, over which samples. Pages and the command line take all such sentences
// from here, because a wrong caption would become a false statement in somebody's paper.
import type { SamplerName } from '../engine/types.js';
import type { Manifest } from './manifest.js';
import type { ListName, MinedListName } from './columns.js';
import { count, whole } from '../web/html.js';

/** What decides the words; the options of a manifest and the conditioning of its model have it. */
export interface Contrast {
  conditioning: 'text' | 'class';
  /** 'null', 'others' or a label */
  against: string;
  /** of 'others': the other labels a sample is contrasted with; without it all of them */
  othersPerSample?: number | 'all';
  nullPrompt: string | null;
  samples: number;
  sampler: SamplerName;
  /** the samples' noises and timesteps came from a file */
  replay?: string | null;
  /** undefined: squared */
  loss?: 'absolute' | 'huber';
  /** samples are weighted by their timestep */
  tWeights?: 'sqrt' | 'inverse';
  /** timesteps [tBegin, tEnd) */
  tBegin: number;
  tEnd: number;
  /** random weights instead of the model's */
  untrained?: boolean;
  allLabels?: boolean;
  /** the labels that were scored, in the order they were asked for */
  labels?: readonly string[];
}

/** Of a run. */
export function contrastOf({ manifest }: { manifest: Pick<Manifest, 'options' | 'model' | 'conditions'> }): Contrast {
  const { options, conditions, model } = manifest;
  return { ...options, labels: options.labels ?? conditions, conditioning: model.conditioning };
}

/** The two labels of a run that contrasts them with each other. */
function pairOf({ against, labels = [] }: Pick<Contrast, 'against' | 'labels'>): [string, string] | undefined {
  const [a, b] = labels;
  return against === 'others' && labels.length === 2 && a !== undefined && b !== undefined ? [a, b] : undefined;
}

export interface ContrastWords {
  /** after "better with the label than": `without it` */
  than: string;
  /** after "the loss": `without the label` */
  rivalLoss: string;
  /** what it is compared with, as a noun: `no label` */
  rival: string;
  /** and in full: `no label (prompt “A car.”)` */
  comparedWith: string;
  /** `a diffusion model` */
  model: string;
  /** `averaged over 100 noise and timestep samples` */
  averaged: string;
  standardErrors: string;
  timesteps: string;
  /** of a run with random weights: what the page must say before anything else; else null */
  notice: string | null;
}

export const quoted = (text: string): string => `“${text}”`;

/** What `--against` names, as a noun. */
export const rivalName = (against: string): string =>
  against === 'null' ? 'no label' : against === 'others' ? 'the other labels' : quoted(against);

function rivalOf({
  against,
  othersPerSample = 'all',
  conditioning,
  nullPrompt,
  labels = [],
}: Contrast): Pick<ContrastWords, 'than' | 'rivalLoss' | 'rival' | 'comparedWith'> {
  const pair = pairOf({ against, labels });
  if (pair)
    return {
      than: 'with the other label',
      rivalLoss: 'with the other label',
      rival: 'the other label',
      comparedWith: `each other (${quoted(pair[0])} with ${quoted(pair[1])})`,
    };
  if (against === 'others') {
    const how =
      othersPerSample === 'all'
        ? 'mean of their losses'
        : `${othersPerSample === 1 ? 'one' : whole(othersPerSample)} per sample, in turn`;
    return {
      than: 'with the other labels, on average',
      rivalLoss: `with the other labels (${how})`,
      rival: rivalName(against),
      comparedWith: `the other labels (${how})`,
    };
  }
  if (against !== 'null') {
    const label = quoted(against);
    return { than: `with ${label}`, rivalLoss: `with ${label}`, rival: rivalName(against), comparedWith: label };
  }
  const how =
    conditioning === 'class' ? 'the null class' : nullPrompt ? `prompt ${quoted(nullPrompt)}` : 'empty prompt';
  return {
    than: 'without it',
    rivalLoss: 'without the label',
    rival: rivalName(against),
    comparedWith: `no label (${how})`,
  };
}

function standardErrorsOf({ samples, replay, sampler }: Contrast): string {
  if (samples === 1) return 'There is one noise and timestep sample per image, so there are no standard errors.';
  const over = `Standard errors are over the ${whole(samples)} ${replay ? 'replayed ' : ''}samples of a patch`;
  if (replay || sampler !== 'stratified') return `${over}.`;
  // With so few samples a trend over the timesteps is indistinguishable from noise.
  return samples < 4
    ? `${over}. Timesteps were stratified, so they are upper bounds.`
    : `${over} and allow for stratified timesteps.`;
}

export function contrastWords(contrast: Contrast): ContrastWords {
  const { samples, replay, tBegin, tEnd, tWeights, untrained } = contrast;
  return {
    ...rivalOf(contrast),
    model: untrained ? 'a network with random weights' : 'a diffusion model',
    averaged:
      samples === 1
        ? 'for one noise and timestep sample'
        : `averaged over ${whole(samples)} noise and timestep samples${tWeights ? ', weighted by timestep' : ''}`,
    standardErrors: standardErrorsOf(contrast),
    timesteps: replay ? 'replayed from a file' : tEnd - tBegin === 1 ? String(tBegin) : `${tBegin} to ${tEnd - 1}`,
    notice: untrained
      ? 'Control run: the network has random weights and was never trained. This page shows what the method finds without a trained model; it does not show what is typical of a label.'
      : null,
  };
}

/** The two ends of the color scale of maps: blue, red. @param label of the maps; without one, of the maps of several labels */
export function mapEnds(contrast: Contrast, label?: string): [blue: string, red: string] {
  const own = label === undefined ? 'the label' : quoted(label);
  const { against } = contrast;
  const other = label === undefined ? undefined : pairOf(contrast)?.find((one) => one !== label);
  if (other !== undefined) return [`better with ${quoted(other)}`, `better with ${own}`];
  const blue =
    against === 'null'
      ? `better without ${own}`
      : against === 'others'
        ? 'better with other labels'
        : `better with ${quoted(against)}`;
  return [blue, `better with ${own}`];
}

/** @param what is shown: `patch`, `pixel`, `place` */
export function definition(contrast: Contrast, what: string): string {
  const { rivalLoss, model, averaged } = contrastWords(contrast);
  const where = rivalLoss.replace(/ \(.*\)$/, '');
  const loss = contrast.loss === undefined ? '' : `${contrast.loss === 'huber' ? 'Huber' : contrast.loss} `;
  return (
    `The typicality of a ${what} for a label is the ${loss}denoising loss of ${model} ${rivalLoss} minus its loss with the label, ${averaged}. ` +
    `Above zero, the ${contrast.untrained ? 'network' : 'model'} denoises the ${what} better with the label; below zero, better ${where}.`
  );
}

/** What "without the label" is, where labels are compared with that. */
export function nullMeaning({ against, conditioning, nullPrompt }: Contrast): string | null {
  if (against !== 'null') return null;
  return `Without the label (the null condition), the model is given ${conditioning === 'class' ? 'its null class' : nullPrompt ? `the unconditional prompt ${quoted(nullPrompt)}` : 'an empty prompt'}.`;
}

/** Which images stand under a label. */
export function imagesMeaning({ against, allLabels }: Contrast): string | null {
  const rival = against === 'null' || against === 'others' ? null : quoted(against);
  if (allLabels)
    return `Every image was scored under every label${rival ? ` but ${rival}` : ''}, so a patch of one label can come from an image of another.`;
  return rival ? `${rival} is what the other labels are compared with; its own images were not scored.` : null;
}

/** Of maps alone: what became of the label that the others are compared with. */
export function mappedMeaning({ against }: Contrast): string | null {
  return against === 'null' || against === 'others'
    ? null
    : `${quoted(against)} is what the labels are compared with; it has no maps of its own.`;
}

/** How to read a map. */
export function mapMeaning(contrast: Contrast, own = 'the label'): string {
  const blue =
    contrast.against === 'null'
      ? `without ${own === 'the label' ? 'it' : own}`
      : contrastWords(contrast).rivalLoss.replace(/ \(.*\)$/, '');
  return `In a typicality map, red pixels are denoised better with ${own} and blue pixels better ${blue}; gray pixels equally well.`;
}

export interface ListWords {
  name: string;
  about: string;
}

/** The lists of patches that mining ranks. */
export function listWords(untrained: boolean): Record<MinedListName, ListWords> {
  return {
    top: { name: untrained ? 'Highest typicality' : 'Most typical', about: 'the highest typicality' },
    diverse: { name: 'Diverse', about: 'high typicality, but no element takes most places' },
    random: { name: 'Random', about: 'places drawn at random' },
    bottom: { name: untrained ? 'Lowest typicality' : 'Least typical', about: 'the lowest typicality' },
  };
}

/** Which patches a clustered list has, before "patches": `most typical`. */
export const patchesOf = (list: ListName, untrained: boolean): string =>
  list === 'random'
    ? 'random'
    : untrained
      ? `${list === 'top' ? 'highest' : 'lowest'}-typicality`
      : `${list === 'top' ? 'most' : 'least'} typical`;

/** The first sentences of a report. */
export function reportLede(contrast: Contrast, rank: ListName, labels: number): string {
  const { than, model } = contrastWords(contrast);
  const pair = pairOf(contrast);
  if (pair && rank === 'top' && !contrast.untrained)
    return (
      `Patches of ${quoted(pair[0])} that ${model} denoises better with their own label than with ${quoted(pair[1])}, and the other way round, ` +
      'grouped by appearance. This difference is the contrast of the two labels.'
    );
  const each = labels === 1 ? 'one label' : `each of ${whole(labels)} labels`;
  const patches = `${patchesOf(rank, contrast.untrained === true)} patches`;
  const measure = `how much better ${model} denoises them with the label than ${than}`;
  if (rank === 'random')
    return `Random patches of ${each}, grouped by appearance: a control for the ranking by ${measure}.`;
  return `The ${patches} of ${each}, grouped by appearance. Patches are ranked by ${measure}${rank === 'bottom' ? ', lowest first' : ''}.`;
}

/** "How to read this page" of a report: paragraphs, some with a word in front. */
export function reportMethod(
  contrast: Contrast,
  { rank, diverse, recenter }: { rank: ListName; diverse?: boolean; recenter?: boolean },
  maps: boolean,
  raced = false,
): { lead?: string; text: string }[] {
  const lists = listWords(contrast.untrained === true);
  const about = (sentences: (string | null)[]): string => sentences.filter((one) => one !== null).join(' ');
  const listed = [
    `patches with ${lists.top.about}`,
    ...(diverse ? [`those with ${lists.diverse.about}`] : []),
    lists.random.about,
    ...(raced ? [] : [`those with ${lists.bottom.about}`]),
  ];
  return [
    { text: about([definition(contrast, 'patch'), nullMeaning(contrast), imagesMeaning(contrast)]) },
    {
      lead: 'Clusters',
      text:
        `group the ${patchesOf(rank, contrast.untrained === true)} patches of a label by appearance (k-means of diffusion features). They are numbered from 0 by descending median typicality, as in the tables; ` +
        'within a cluster, the patches nearest to its center come first. AUROC: how often an image of the label has a better match for the cluster than an image of another label, ' +
        'on images that the cluster was not learned from, with its 95 % interval. A cluster is not shown to separate its label if the interval reaches 0.5.',
    },
    {
      lead: 'Ranking',
      text: about([
        `shows ${['no', 'one', 'two', 'three', 'four'][listed.length]} lists: ${listed.slice(0, -1).join(', ')}, and ${listed.at(-1)}.`,
        recenter
          ? 'Boxes were moved to where the typicality map is strongest, by at most half a patch; typicality is that of the place where a patch was found.'
          : null,
      ]),
    },
    ...(maps ? [{ lead: 'Maps:', text: mapMeaning(contrast) }] : []),
  ];
}

/** What a run is called in a title. @param name what was asked for; undefined: by the two labels that it contrasts, else the dataset's */
export function titleOf(name: string | undefined, dataset: string, contrast: Contrast): string {
  const pair = pairOf(contrast);
  const title = name ?? (pair ? `What distinguishes ${pair[0]} from ${pair[1]}` : dataset);
  return contrast.untrained ? `${title} (untrained control)` : title;
}

/** `36 patches from 6 images in 2 clusters` */
export function amountsOf(
  { clustered, patches, images, clusters }: { clustered: number; patches: number; images: number; clusters: number },
  rank: ListName,
  untrained: boolean,
): string {
  if (patches === 0) return 'No patches of this label were mined.';
  const from = `from ${count(images, 'image')}`;
  return clusters > 0
    ? `${count(clustered, `${patchesOf(rank, untrained)} patch`, `${patchesOf(rank, untrained)} patches`)} ${from} in ${count(clusters, 'cluster')}`
    : `${count(patches, 'patch', 'patches')} ${from}`;
}
