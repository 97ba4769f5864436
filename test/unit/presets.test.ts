// The paper's settings, and prompt templates.
import { fillPrompt, PRESETS } from '../../src/data/presets.js';

test('prompts of the presets', () => {
  expect(fillPrompt(PRESETS.cars.prompt, '1950')).toBe("A car at the 1950's.");
  expect(fillPrompt(PRESETS.faces.prompt, '1930')).toBe("Portrait at the 1930's.");
  expect(fillPrompt(PRESETS.geo.prompt, 'FRANCE')).toBe('A Google street view image from FRANCE.');
  expect(fillPrompt(PRESETS.places.prompt, 'living_room')).toBe('Image of living room.');
  expect(fillPrompt(PRESETS.xray.prompt, 'cardiomegaly')).toBe('Chest X-Ray with cardiomegaly.');
  expect(Object.values(PRESETS).map((preset) => fillPrompt(preset.nullPrompt, 'unused'))).toEqual([
    'A car.',
    'Portrait.',
    'A Google street view image.',
    '',
    'Chest X-Ray',
  ]);
});

test('sizes and patches of the presets', () => {
  expect(Object.entries(PRESETS).map(([name, { size, sizeRule, patch }]) => [name, size, sizeRule, patch])).toEqual([
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
