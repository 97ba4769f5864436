// The prompts of a scan: the conditions of its labels, and whether they can be meant.
import { fillPrompt } from '../../data/index.js';
import { nullCondition, type ModelFolder } from '../../models/index.js';
import { check } from '../../pipeline/resolve.js';
import type { ManifestDraft } from '../../runs/manifest.js';

/** Texts that a model is conditioned on; null for a class model. */
export interface Prompts {
  /** a template */
  prompt: string | null;
  nullPrompt: string | null;
}

/** What conditions are prepared of: each label, then the null condition where labels are compared with it. */
export function promptsOf({ labels, draft }: { labels: readonly string[]; draft: ManifestDraft }): (string | null)[] {
  const names = namesOf(draft.options, labels);
  // Only this contrast needs the null condition: a model trained without label dropout has none.
  return draft.options.against === 'null' ? [...names, nullCondition(draft.options.nullPrompt)] : names;
}

/** The names of labels as the model is given them: prompts, or the labels themselves for a class model. */
export const namesOf = ({ prompt }: Prompts, labels: readonly string[]): string[] =>
  prompt === null ? [...labels] : labels.map((label) => fillPrompt(prompt, label));

/**
 * The prompts of the options, for a model that is conditioned on text.
 *
 * @param given the options without defaults
 * @throws INVALID_ARGUMENT for prompts that cannot be meant; those that may not be are told
 */
export function promptsFor(
  model: ModelFolder,
  options: { prompt: string; nullPrompt: string },
  given: { prompt?: string | undefined; nullPrompt?: string | undefined },
  labels: readonly string[],
  onLog?: (line: string) => void,
): Prompts {
  if (model.conditioning === 'text') {
    checkPrompts(model, options.prompt, options.nullPrompt, labels, onLog);
    return { prompt: options.prompt, nullPrompt: options.nullPrompt };
  }
  if (given.prompt !== undefined || given.nullPrompt !== undefined)
    onLog?.('This model is conditioned on classes: prompts are not used.');
  return { prompt: null, nullPrompt: null };
}

function checkPrompts(
  { tokenizers }: ModelFolder,
  prompt: string,
  nullPrompt: string,
  labels: readonly string[],
  onLog?: (line: string) => void,
): void {
  const prompts = labels.map((label) => fillPrompt(prompt, label));
  check(
    !/\{(label|words)\}/.test(nullPrompt),
    `The null prompt ${JSON.stringify(nullPrompt)} has a placeholder for the label.`,
    'The null prompt is a prompt without the label, such as "A car.".',
  );
  if (labels.length > 1 && new Set(prompts).size === 1)
    onLog?.(`The prompt is the same for every label: ${JSON.stringify(prompt)} has no {label}.`);
  for (const text of tokenizers?.[0]?.truncated([...prompts, nullPrompt]) ?? [])
    onLog?.(`The model sees only the first 75 tokens of the prompt ${JSON.stringify(text)}.`);
}
