// The settings of the paper's five datasets (Siglidis et al., ECCV 2024), and prompt templates.
import type { PRESET_NAMES } from '../options/names.js';
import { DiffmineError } from '../util/errors.js';
import type { LayoutName } from './layouts/index.js';
import { spokenLabels } from './labels.js';
import type { SizeRule } from './read-image.js';

export interface Preset {
  /** where its prompts are from: the paper's text, or the authors' code, which scores and trains with others */
  follows: 'paper' | 'scoring' | 'training';
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

const PLAIN = {
  /** decades of cars */
  cars: {
    follows: 'scoring',
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
    follows: 'paper',
    prompt: 'A portrait from the {label}s.',
    nullPrompt: 'A portrait.',
    size: 256,
    sizeRule: 'floor',
    patch: 50,
    timesteps: MIDDLE,
    against: 'null',
  },
  /** countries seen from the street */
  geo: {
    follows: 'paper',
    prompt: 'A Google streetview image of {label}.',
    nullPrompt: 'A Google streetview image.',
    size: 512,
    sizeRule: 'floor',
    patch: 64,
    timesteps: MIDDLE,
    against: 'null',
  },
  /** scene categories (living_room, ...) */
  places: {
    follows: 'scoring',
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
    follows: 'scoring',
    prompt: 'Chest X-Ray with {words}.',
    nullPrompt: 'Chest X-Ray',
    size: 512,
    sizeRule: 'floor',
    patch: 64,
    timesteps: [0, 1],
    against: 'null',
  },
} as const satisfies Record<LayoutName, Preset>;

/** Prompts of the models that the authors publish (diff-mining/cardb, ftt, g3, places, xray on the hub). */
const PUBLISHED = {
  'cars:published': { ...PLAIN.cars, follows: 'training', prompt: 'A car from the {label}s.' },
  'faces:published': {
    ...PLAIN.faces,
    follows: 'training',
    prompt: 'A face portrait of the {label}s.',
    nullPrompt: 'A face portrait',
  },
  'geo:published': {
    ...PLAIN.geo,
    follows: 'training',
    prompt: 'A google street view image in {label}',
    nullPrompt: '',
  },
  'places:published': { ...PLAIN.places, follows: 'training' },
  'xray:published': { ...PLAIN.xray, follows: 'training', nullPrompt: 'Chest X-Ray.' },
} as const satisfies Partial<Record<(typeof PRESET_NAMES)[number], Preset>>;

export const PRESETS = { ...PLAIN, ...PUBLISHED } as const satisfies Record<(typeof PRESET_NAMES)[number], Preset>;

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

/** The layout that a preset's dataset is distributed in. */
export function layoutOf(preset: string | undefined): LayoutName | 'auto' {
  return preset !== undefined && Object.hasOwn(PRESETS, preset) ? (preset.replace(/:.*/, '') as LayoutName) : 'auto';
}
