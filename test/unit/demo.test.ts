// The demo from scratch to figures, with a tiny model of random weights that has six classes: what is read from the truth, what a repetition keeps,
// whose folders are left alone.
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { demoText } from '../../src/cli/commands/demo.js';
import { demo } from '../../src/tools/demo/demo.js';
import { inspect } from '../../src/tools/inspect/inspect.js';
import type { DemoEvent, DemoOptions, DemoSummary } from '../../src/tools/demo/options.js';
import { readSafetensors, tensor, writeSafetensors } from '../../src/engine/index.js';
import { CITIES, KINDS } from '../../src/tools/world/kinds.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';
import { nightlyTest } from '../helpers/nightly.js';

const folder = temporaryFolder();
const at = (...names: string[]): string => join(folder, ...names);
const options = (more: DemoOptions = {}): DemoOptions => ({
  out: at('out'),
  model: at('model'),
  imagesPerLabel: 3,
  size: 32,
  samples: 2,
  clusters: 2,
  bootstrap: 10,
  device: 'cpu',
  dtype: 'fp32',
  threads: 1,
  ...more,
});

/** tiny-fold with a class for each city and one for none, made of the rows it has. */
function makeModel(path: string): void {
  cpSync(join(GOLDEN, 'tiny-fold'), path, { recursive: true });
  const edit = (name: string, change: (config: Record<string, unknown>) => object): void => {
    const config = JSON.parse(readFileSync(join(path, name), 'utf8')) as Record<string, unknown>;
    writeFileSync(join(path, name), JSON.stringify({ ...config, ...change(config) }));
  };
  edit('unet/config.json', () => ({ num_class_embeds: CITIES.length + 1 }));
  edit('model_index.json', () => ({ id2label: Object.fromEntries(CITIES.map((city, id) => [id, city])) }));
  const file = join(path, 'unet/diffusion_pytorch_model.safetensors');
  const weights = readSafetensors(file);
  const rows = weights['class_embedding.weight'];
  if (!rows) throw new Error('tiny-fold has no class embedding');
  const data = Buffer.concat([rows.data, rows.data]).subarray(
    0,
    (rows.data.length * (CITIES.length + 1)) / (rows.shape[0] ?? 1),
  );
  writeSafetensors(file, {
    ...weights,
    'class_embedding.weight': tensor(rows.dtype, [CITIES.length + 1, rows.shape[1] ?? 0], Uint8Array.from(data)),
  });
}

beforeAll(() => makeModel(at('model')));

/** Rows of boxes.csv. */
function truth(summary: DemoSummary): { label: string; kind: string; city: string }[] {
  const [, ...lines] = readFileSync(summary.world.boxes, 'utf8').trimEnd().split('\r\n');
  return lines.map((line) => {
    const [, label = '', , , , , , kind = '', city = ''] = line.split(',');
    return { label, kind, city };
  });
}

describe('a demo', () => {
  let first: DemoSummary;
  const events: DemoEvent[] = [];
  beforeAll(async () => {
    first = await demo(options(), { onProgress: (event) => events.push(event) });
  });

  test('goes through all stages and writes what there is to look at', () => {
    expect(events.flatMap((event) => (event.type === 'stage' ? [event.stage] : []))).toEqual([
      'world',
      'scan',
      'mine',
      'control',
      'evaluate',
      'report',
    ]);
    for (const file of [first.page, first.grid ?? '', first.world.boxes]) expect(existsSync(file)).toBe(true);
    expect(first.scan).toMatchObject({ complete: true, images: 18, scored: 18, labels: [...CITIES], samples: 2 });
    expect(first.control).toMatchObject({ complete: true, scored: 18 });
    expect(first.evaluation.controls).toMatchObject({ run: { untrained: true } });
  });

  test('holds what was found against what was planted', () => {
    const boxes = truth(first);
    expect(first.cities.map(({ city, images }) => [city, images])).toEqual(CITIES.map((city) => [city, 3]));
    for (const { city, elements, boxes: count, fraction, averagePrecision, untrained, color } of first.cities) {
      const own = boxes.filter((box) => box.label === city && box.city === city);
      expect(count).toBe(own.length);
      expect(elements.reduce((sum, one) => sum + one.boxes, 0)).toBe(own.length);
      for (const { kind, slot, boxes: planted, recall, recall50 } of elements) {
        expect(KINDS.find(({ name }) => name === kind)).toMatchObject({ city, slot });
        expect(planted).toBe(own.filter((box) => box.kind === kind).length);
        expect(recall50).toBeLessThanOrEqual(recall);
      }
      expect(fraction).toBeGreaterThan(0.01);
      for (const figure of [averagePrecision, untrained, color]) expect(figure).toBeGreaterThan(0);
    }
    expect(first.mean.averagePrecision).toBeCloseTo(
      first.cities.reduce((sum, one) => sum + (one.averagePrecision ?? 0), 0) / CITIES.length,
      10,
    );
  });

  test('tells it in words', () => {
    const text = demoText(first);
    for (const { city, elements } of first.cities)
      for (const name of [city, ...elements.map(({ kind }) => kind)]) expect(text).toContain(name);
    expect(text).toContain(first.page);
    expect(text).toMatch(/\d+ of \d+ planted kinds/);
  });

  test('is described by inspect', async () => {
    const found = await inspect(at('out'));
    expect(found).toMatchObject({
      kind: 'demo',
      path: first.path,
      world: first.world.path,
      run: first.scan.path,
      control: first.control.path,
      translation: null,
      report: first.page,
      page: null,
      figures: { averagePrecision: first.mean.averagePrecision },
    });
  });

  test('repeated, elsewhere too, it computes nothing again and says the same', async () => {
    const drawn = statSync(join(first.world.path, 'world.json')).mtimeMs;
    renameSync(at('out'), at('moved'));
    renameSync(at('model'), at('moved model'));
    const again = await demo(options({ out: at('moved'), model: at('moved model') }));
    expect([again.scan.unetCalls, again.control.unetCalls, again.scan.resumed]).toEqual([0, 0, true]);
    expect(again.cities).toEqual(first.cities);
    expect(statSync(join(again.world.path, 'world.json')).mtimeMs).toBe(drawn);
    expect([again.evaluation.grid !== null, again.path]).toEqual([true, at('moved')]);
    renameSync(at('moved'), at('out'));
    renameSync(at('moved model'), at('model'));
  });

  test('with other options, it replaces what they change, and leaves nothing behind', async () => {
    const log: string[] = [];
    const other = await demo(options({ samples: 1, seed: 7 }), { onLog: (line) => log.push(line) });
    expect(other.scan).toMatchObject({ samples: 1, resumed: false });
    expect(log.join('\n')).toMatch(/again: .*dataset: .*samples: this run has 2, you asked for 1/);
    expect(other.world.seed).toBe(7);
    expect(JSON.parse(readFileSync(join(other.world.path, 'world.json'), 'utf8'))).toMatchObject({
      seed: 7,
      heldout: 1,
    });
    expect(readdirSync(at('out')).sort()).toEqual(['control', 'demo.json', 'locks', 'run', 'world']);
  });
});

describe('a full demo', () => {
  let first: DemoSummary;
  const stages: string[] = [];
  const full = (more: DemoOptions = {}): DemoOptions =>
    options({ out: at('full'), imagesPerLabel: 2, full: true, translatedImages: 1, ...more });
  beforeAll(async () => {
    first = await demo(full(), { onProgress: (event) => event.type === 'stage' && stages.push(event.stage) });
  });

  test('continues with the applications, and links them all on one page', () => {
    expect(stages).toEqual([
      'world',
      'scan',
      'mine',
      'control',
      'evaluate',
      'report',
      'translate',
      'cotypicality',
      'localize',
    ]);
    const { translation, cotypicality, localization, page } = first.full ?? {};
    expect(translation).toMatchObject({
      complete: true,
      translated: CITIES.length,
      translations: CITIES.length * (CITIES.length - 1),
      quality: { images: CITIES.length },
    });
    expect(cotypicality).toMatchObject({ complete: true, scored: CITIES.length, labels: [...CITIES] });
    expect(Object.keys(cotypicality?.truth?.columns ?? {})).toContain('slot');
    expect(localization?.result?.labels.map(({ label }) => label)).toEqual([...CITIES]);
    expect(localization?.result?.mean.model?.averagePrecision.value).toBeGreaterThan(0);

    expect(page).toBe(at('full', 'index.html'));
    const text = readFileSync(at('full', 'index.html'), 'utf8');
    const links = [...text.matchAll(/(?:href|src)="([^"#]+)"/g)].map(([, link = '']) => decodeURIComponent(link));
    expect(links).toEqual(
      expect.arrayContaining([
        'run/report/index.html',
        'translation/index.html',
        'cotypicality/report/index.html',
        'localization/localize/index.html',
      ]),
    );
    for (const link of links) expect([link, existsSync(at('full', ...link.split('/')))]).toEqual([link, true]);
    for (const name of ['Translation', 'Consistent changes', 'Localization', 'index.html'])
      expect(demoText(first)).toContain(name);
  });

  nightlyTest('repeated, it makes no evaluation again; with other options, it replaces what they change', async () => {
    const again = await demo(full());
    expect([
      again.full?.translation.unetCalls,
      again.full?.cotypicality.unetCalls,
      again.full?.localization.scan.unetCalls,
    ]).toEqual([0, 0, 0]);
    expect(again.full?.translation.quality).toEqual(first.full?.translation.quality);
    const log: string[] = [];
    const other = await demo(full({ samples: 1 }), { onLog: (line) => log.push(line) });
    expect(other.full).toMatchObject({
      translation: { resumed: true, unetCalls: 0 },
      cotypicality: { resumed: false },
      localization: { scan: { samples: 1 } },
    });
    expect(log.join('\n')).toMatch(/cotypicality again/);
  });
});

test('a folder with other content is refused and not changed', async () => {
  mkdirSync(at('mine', 'world'), { recursive: true });
  writeFileSync(at('mine', 'world', 'letter.txt'), 'dear');
  await expect(demo(options({ out: at('mine') }))).rejects.toMatchObject({
    code: 'RUN_MISMATCH',
    message: expect.stringContaining('world') as string,
  });
  expect(readdirSync(at('mine'))).toEqual(['world']);
  expect(readFileSync(at('mine', 'world', 'letter.txt'), 'utf8')).toBe('dear');
});

test("a run's folder is refused", async () => {
  mkdirSync(at('other', 'shards'), { recursive: true });
  writeFileSync(at('other', 'manifest.json'), JSON.stringify({ dataset: { path: '/home/me/images' } }));
  await expect(demo(options({ out: at('other') }))).rejects.toMatchObject({ code: 'RUN_MISMATCH' });
  expect(readdirSync(at('other')).sort()).toEqual(['manifest.json', 'shards']);
});

test('models that will not do: none there, one of other labels, one that has seen the world', async () => {
  await expect(demo(options({ out: at('a'), model: at('nowhere') }))).rejects.toMatchObject({
    code: 'MODEL_INVALID',
    hint: expect.stringContaining('`model`') as string,
  });
  await expect(demo(options({ out: at('a'), model: join(GOLDEN, 'tiny-fold') }))).rejects.toMatchObject({
    code: 'MODEL_INVALID',
    message: expect.stringContaining('oskava') as string,
  });
  makeModel(at('seen'));
  for (const seed of [5, 6])
    writeFileSync(at('seen', `world-${seed}.json`), JSON.stringify({ format: 'diffmine-world-2', seed }));
  for (const seed of [5, 6])
    await expect(demo(options({ out: at('a'), model: at('seen'), seed }))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('held out') as string,
    });
  await expect(demo(options({ out: at('a'), imagesPerLabel: 1 }))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  expect(existsSync(at('a', 'run'))).toBe(false);
});
