// Whether a model has a null condition: it is learned from images whose label is dropped (`train --drop`).
import { DiffmineError } from '../util/errors.js';
import { trainingOf, type NullCondition } from './training.js';

/** How a command comes to use the null condition. */
export interface NullUse {
  /** asked for by name, not a default */
  named: boolean;
  /** completes "..., which has no null condition:" */
  what: string;
  /** what to do instead; without it, only training again helps */
  instead?: string;
}

const AGAIN = 'train it with label dropout (`drop` above 0, such as 0.05)';

/** What a training leaves of the null condition. `base`: of the model that it starts from; undefined for random weights */
export async function nullAfter(drop: number, from: string | null): Promise<NullCondition> {
  if (drop > 0) return 'trained';
  return from === null || (await nullConditionOf({ path: from })) === 'none' ? 'none' : 'base';
}

/** The null condition of a model; undefined where it is not recorded how it was trained. */
export async function nullConditionOf(model: { path: string }): Promise<NullCondition | undefined> {
  const { model: made, settings } = (await trainingOf(model)) ?? {};
  if (made?.nullCondition !== undefined) return made.nullCondition;
  return made && settings?.drop !== undefined ? nullAfter(settings.drop, made.from) : undefined;
}

/**
 * Checks that a model has the null condition that it is used with, as far as its training says.
 *
 * @throws INVALID_ARGUMENT for a model that never learned one, unless it was asked for by name: then it is told
 */
export async function checkNullCondition(
  model: { path: string },
  { named, what, instead }: NullUse,
  onLog: ((line: string) => void) | undefined,
): Promise<void> {
  const found = await nullConditionOf(model);
  if (found === 'base')
    onLog?.(
      `The model '${model.path}' was fine-tuned without label dropout (\`drop\` 0): its null condition is that of the model it was tuned from. ${what}.`,
    );
  if (found !== 'none') return;
  const problem = `The model '${model.path}' was trained without label dropout (\`drop\` 0) and has no null condition. ${what}`;
  if (named) {
    onLog?.(`${problem}: expect noise.`);
    return;
  }
  throw new DiffmineError(
    'INVALID_ARGUMENT',
    `${problem}.`,
    instead === undefined ? `Use another model, or ${AGAIN}.` : `${instead}, or ${AGAIN}.`,
  );
}
