// The settings of the paper's five datasets (Siglidis et al., ECCV 2024), and prompt templates.
import type { PRESET_NAMES } from '../options/names.js';
import { DiffmineError } from '../util/errors.js';
import { spokenLabels } from './labels.js';
import type { SizeRule } from './read-image.js';

export interface Preset {
  prompt: string;
  nullPrompt: string;
  /** short side in pixels */
  size: number;
  sizeRule: SizeRule;
  /** pixels */
  patch: number;
  /** timesteps scored, as fractions [from, to) of the training schedule */
  timesteps: readonly [number, number];
  /** the paper contrasts a label with no label */
  against: 'null';
}

const MIDDLE = [0.1, 0.7] as const;

export const PRESETS = {
  /** decades of cars */
  cars: {
    prompt: "A car at the {label}'s.",
    nullPrompt: 'A car.',
    size: 256,
    sizeRule: 'floor',
    patch: 50,
    timesteps: MIDDLE,
    against: 'null',
  },
  /** decades of portraits */
  faces: {
    prompt: "Portrait at the {label}'s.",
    nullPrompt: 'Portrait.',
    size: 256,
    sizeRule: 'floor',
    patch: 50,
    timesteps: MIDDLE,
    against: 'null',
  },
  /** countries seen from the street */
  geo: {
    prompt: 'A Google street view image from {label}.',
    nullPrompt: 'A Google street view image.',
    size: 512,
    sizeRule: 'floor',
    patch: 64,
    timesteps: MIDDLE,
    against: 'null',
  },
  /** scene categories (living_room, ...) */
  places: {
    prompt: 'Image of {words}.',
    nullPrompt: '',
    size: 512,
    sizeRule: 'ceil',
    patch: 64,
    timesteps: MIDDLE,
    against: 'null',
  },
  /** findings in chest X-rays; the whole schedule is scored */
  xray: {
    prompt: 'Chest X-Ray with {words}.',
    nullPrompt: 'Chest X-Ray',
    size: 512,
    sizeRule: 'floor',
    patch: 64,
    timesteps: [0, 1],
    against: 'null',
  },
} as const satisfies Record<(typeof PRESET_NAMES)[number], Preset>;

export type PresetName = keyof typeof PRESETS;

/**
 * Fills in a prompt template: `{label}` becomes the label, `{words}` the label with spaces for underscores. Several labels ('A|B')
 * become 'A, B'.
 *
 * @throws INVALID_ARGUMENT for any other {placeholder}
 */
export function fillPrompt(template: string, label: string): string {
  return template.replace(/\{([^{}]*)\}/g, (whole, name: string) => {
    if (name === 'label') return spokenLabels(label);
    if (name === 'words') return spokenLabels(label).replaceAll('_', ' ');
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The prompt '${template}' has an unknown placeholder ${whole}.`,
      'Prompts can have {label}, and {words}: the label with spaces for underscores.',
    );
  });
}
