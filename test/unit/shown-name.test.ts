import { named, shownName } from '../../src/web/shown-name.js';
import { namesOf } from '../../src/tools/compare/shown.js';

test.each([
  ['/home/me/photos', 'photos'],
  ['/home/me/photos/', 'photos'],
  ['C:\\Users\\me\\photos', 'photos'],
  ['/data/world/heldout', 'world/heldout'],
  ['/data/tuned/model', 'tuned/model'],
  ['s3://bucket/photos', 'photos'],
  ['train', 'train'],
])('%s is shown as %s', (path, name) => {
  expect(shownName(path)).toBe(name);
});

test('of an input nothing remains that names a folder of the machine', () => {
  const model = {
    path: '/home/me/tuned',
    vae: '/home/me/vae.safetensors',
    lora: ['/home/me/style.safetensors:0.5'],
    fingerprint: 'ab',
    features: { upBlock: 1 },
  };
  expect(named(model)).toEqual({
    path: 'tuned',
    name: 'tuned',
    vae: 'vae.safetensors',
    lora: ['style.safetensors:0.5'],
    fingerprint: 'ab',
    features: { upBlock: 1 },
  });
});

test('two paths get as many parts as make them differ', () => {
  expect(namesOf('/a/one', '/b/two')).toEqual(['one', 'two']);
  expect(namesOf('/a/x/run', '/b/x/run')).toEqual(['a/x/run', 'b/x/run']);
  expect(namesOf('/a/run', '/a/run')).toEqual(['a/run', 'a/run']);
});
