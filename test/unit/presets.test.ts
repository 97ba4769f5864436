// The paper's settings, and prompt templates.
import { fillPrompt, layoutOf, PRESETS } from '../../src/data/presets.js';

const isPlain = (name: string): boolean => !name.includes(':');

test('prompts of the presets', () => {
  expect(fillPrompt(PRESETS.cars.prompt, '1950')).toBe("A car at the 1950's.");
  expect(fillPrompt(PRESETS.faces.prompt, '1930')).toBe('A portrait from the 1930s.');
  expect(fillPrompt(PRESETS.geo.prompt, 'FRANCE')).toBe('A Google streetview image of FRANCE.');
  expect(fillPrompt(PRESETS.places.prompt, 'living_room')).toBe('Image of living room.');
  expect(fillPrompt(PRESETS.xray.prompt, 'cardiomegaly')).toBe('Chest X-Ray with cardiomegaly.');
  const plain = Object.entries(PRESETS).filter(([name]) => isPlain(name));
  expect(plain.map(([, preset]) => fillPrompt(preset.nullPrompt, 'unused'))).toEqual([
    'A car.',
    'A portrait.',
    'A Google streetview image.',
    '',
    'Chest X-Ray',
  ]);
});

test('published models: the prompts that they were trained with, all else as in the preset', () => {
  expect(fillPrompt(PRESETS['cars:published'].prompt, '1920')).toBe('A car from the 1920s.');
  expect(fillPrompt(PRESETS['faces:published'].prompt, '1880')).toBe('A face portrait of the 1880s.');
  for (const name of ['cars', 'faces', 'geo', 'places', 'xray'] as const) {
    const { size, sizeRule, patch, timesteps } = PRESETS[name];
    expect(PRESETS[`${name}:published`]).toMatchObject({ follows: 'training', size, sizeRule, patch, timesteps });
    expect(layoutOf(`${name}:published`)).toBe(name);
  }
  expect(layoutOf(undefined)).toBe('auto');
});

test('sizes and patches of the presets', () => {
  expect(
    Object.entries(PRESETS)
      .filter(([name]) => isPlain(name))
      .map(([name, { size, sizeRule, patch }]) => [name, size, sizeRule, patch]),
  ).toEqual([
    ['cars', 256, 'floor', 50],
    ['faces', 256, 'floor', 50],
    ['geo', 512, 'floor', 64],
    ['places', 512, 'ceil', 64],
    ['xray', 512, 'floor', 64],
  ]);
  expect(PRESETS.xray.timesteps).toEqual([0, 1]);
  expect(PRESETS.cars.timesteps).toEqual([0.1, 0.7]);
});

test('labels go in as they are', () => {
  expect(fillPrompt('{label} & {label}', '$& {label} <b>')).toBe('$& {label} <b> & $& {label} <b>');
  expect(fillPrompt('no placeholder', 'x')).toBe('no placeholder');
});

test('an unknown placeholder is an error that names it', () => {
  expect(() => fillPrompt('A car of {year}.', '1950')).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('{year}') as unknown }),
  );
  expect(() => fillPrompt('{}', '1950')).toThrow(/placeholder \{\}/);
});
