// docs/guides/datasets: every command on its pages is one that diffmine takes; and a dataset in one of the layouts goes from scan to mined run.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PRESETS } from '../../src/data/index.js';
import { checkCommand, words } from '../helpers/commands.js';
import { cli, hasAddon, ROOT } from './cli.js';

const PAGES = path.join(ROOT, 'docs', 'guides', 'datasets');

const commands = readdirSync(PAGES).flatMap((page) =>
  [...readFileSync(path.join(PAGES, page), 'utf8').matchAll(/```sh\n([\s\S]*?)```/g)]
    .flatMap(([, block]) => (block ?? '').split('\n').filter((line) => line.startsWith('diffmine ')))
    .map((line) => [page, line] as const),
);

test('every preset has a page that scans with it', () => {
  for (const preset of Object.keys(PRESETS))
    expect(commands.some(([page, line]) => page === `${preset.split(':')[0]}.md` && words(line).includes(preset))).toBe(
      true,
    );
});

test.each(commands)('%s: %s', (_, line) => {
  expect(() => checkCommand(words(line).slice(1))).not.toThrow();
});

test('trainings fill the prompts that the preset scans with', () => {
  for (const [page, line] of commands.filter(([, text]) => text.startsWith('diffmine train'))) {
    const { prompt, nullPrompt, size } = PRESETS[page.replace('.md', '') as keyof typeof PRESETS];
    const split = words(line);
    const after = (flag: string): string | undefined => split[split.indexOf(flag) + 1];
    expect([page, after('--prompt'), after('--null-prompt'), after('--size')]).toEqual([
      page,
      prompt,
      nullPrompt,
      String(size),
    ]);
  }
});

(hasAddon ? test : test.skip)(
  'CarDB as distributed: scanned with the preset, mined from what the manifest says',
  async () => {
    const golden = path.join(ROOT, 'test', 'data', 'golden');
    const folder = mkdtempSync(path.join(tmpdir(), 'diffmine-layout-'));
    try {
      const cardb = path.join(folder, 'cardb');
      mkdirSync(path.join(cardb, 'train'), { recursive: true });
      const years: Record<string, { year: number }> = {};
      for (const label of ['1920', '1950']) {
        for (const name of readdirSync(path.join(golden, 'mini-dataset', label)).slice(0, 2)) {
          cpSync(path.join(golden, 'mini-dataset', label, name), path.join(cardb, 'train', name));
          years[name] = { year: Number(label) + 7 };
        }
      }
      writeFileSync(path.join(cardb, 'train.json'), JSON.stringify(years));
      const run = path.join(folder, 'run');
      const scan = [
        'scan',
        cardb,
        '--model',
        path.join(golden, 'tiny-sd15'),
        '--preset',
        'cars',
        '--size',
        'source',
        '--patch',
        '16',
        '--samples',
        '2',
        '--device',
        'cpu',
        '--out',
        run,
        '--json',
      ];
      const scanned = await cli(scan);
      expect(scanned).toMatchObject({ code: 0 });
      expect(JSON.parse(scanned.stdout)).toMatchObject({ complete: true, scored: 4, labels: ['1920', '1950'] });
      const manifest = JSON.parse(readFileSync(path.join(run, 'manifest.json'), 'utf8')) as { dataset: object };
      expect(manifest.dataset).toMatchObject({ layout: 'cars', columns: ['year'] });
      expect(await cli(['mine', run, '--clusters', '2', '--device', 'cpu'])).toMatchObject({ code: 0 });
      rmSync(path.join(cardb, 'train.json'));
      const without = await cli(scan);
      expect(without.code).toBe(3);
      expect(without.stdout).toContain('train.json is missing');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
  300_000,
);
