// Labels that a model cannot tell apart: prompts with the same tokens, or names of the same class. Text encoders read lower case, NFC, single spaces and 75
// tokens, so "Paris" and "paris" are one condition, and the difference of their losses is 0.
import { listed } from '../data/labels.js';
import { int64Numbers } from '../engine/tensor.js';
import { classIds } from './conditions.js';
import type { ModelFolder } from './model.js';
import { normalize, TOKENS } from './tokenizer.js';

type Model = Pick<ModelFolder, 'path' | 'labels' | 'classNames' | 'tokenizers'>;

/** One key for each prompt (of a class model: label, '' is null), equal where the model sees the same condition. */
export function conditionKeys(model: Model, names: readonly string[]): string[] {
  const { tokenizers } = model;
  if (!tokenizers) return int64Numbers(classIds(model, names)).map(String);
  return names.map((name) => tokenizers.map((tokenizer) => int64Numbers(tokenizer.encode([name])).join()).join(';'));
}

/**
 * Sentences about labels that are one condition to the model. Silent where one prompt is meant for all labels.
 *
 * @param names the labels' prompts, in order; of a class model the labels
 */
export function clashes(model: Model, labels: readonly string[], names: readonly string[]): string[] {
  if (new Set(names).size === 1 && new Set(labels).size > 1 && model.tokenizers) return [];
  const groups = new Map<string, number[]>();
  conditionKeys(model, names).forEach((key, i) => {
    const group = groups.get(key);
    if (group) group.push(i);
    else groups.set(key, [i]);
  });
  const sentences = [...groups.values()].flatMap((group) => {
    const own = [...new Set(group.map((i) => labels[i] as string))];
    if (own.length < 2) return [];
    const what = model.tokenizers ? 'one prompt' : 'one class';
    return [
      `The labels ${listed(own)} are ${what} to this model: ${difference(
        model,
        group.map((i) => names[i] as string),
      )}.`,
    ];
  });
  return sentences.length > MOST_TOLD
    ? [
        ...sentences.slice(0, MOST_TOLD),
        `${sentences.length - MOST_TOLD} more groups of labels are the same condition.`,
      ]
    : sentences;
}

const MOST_TOLD = 5;

/** What the texts differ in, though the model does not see it. */
export function difference({ tokenizers }: Pick<Model, 'tokenizers'>, texts: readonly string[]): string {
  const same = (form: (text: string) => string): boolean => new Set(texts.map(form)).size === 1;
  const spaces = (text: string): string => text.replace(/\p{White_Space}+/gu, ' ').trim();
  if (same((text) => text)) return 'their texts are the same';
  if (same((text) => text.normalize('NFC'))) return 'they differ only in Unicode normalization (NFC and NFD)';
  if (same((text) => spaces(text.normalize('NFC')))) return 'they differ only in white space';
  if (same((text) => text.normalize('NFC').toLowerCase())) return 'they differ only in upper and lower case';
  if (same((text) => spaces(normalize(text)))) return 'they differ only in case, white space or Unicode normalization';
  const cut = new Set(tokenizers?.[0]?.truncated(texts));
  if (texts.every((text) => cut.has(text)))
    return `they differ only after the first ${TOKENS - 2} tokens, which are all that it reads`;
  return tokenizers ? 'they have the same tokens' : 'they are names of one class';
}
