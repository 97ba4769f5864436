// README: every command is one that works, and what it says of GPUs is what the ledger says.
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { COMMANDS } from '../../src/cli/commands.js';
import { checkCommand, words } from '../helpers/commands.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';
import { cli, hasAddon, ROOT } from './cli.js';

const read = (...name: string[]): string => readFileSync(join(ROOT, ...name), 'utf8');
const readme = read('README.md');
const manifest = JSON.parse(read('package.json')) as {
  name: string;
  scripts: Record<string, string>;
  engines: { node: string };
  bin: Record<string, string>;
};

const blocks = [...readme.matchAll(/```(\w*)\n([\s\S]*?)```/g)].map(([, language, text]) => ({
  language,
  lines: (text ?? '').split('\n').filter((line) => line !== ''),
}));
const pasted = blocks.filter(({ language }) => language === 'sh').flatMap(({ lines }) => lines);
/** Debian's packages, a browser: not ours to check. */
const foreign = /^(sudo|xdg-open) /;
/** In the text, too, but for those with a placeholder. */
const inline = [...readme.replace(/```[\s\S]*?```/g, '').matchAll(/`((?:npx diffmine|npm|node) [^`]+)`/g)]
  .map(([, text]) => text as string)
  .filter((text) => !/[A-Z]{4}/.test(text));

test('it has commands, all in blocks of shell or TypeScript', () => {
  expect(pasted.length).toBeGreaterThanOrEqual(5);
  expect(blocks.map(({ language }) => language).filter((one) => one !== 'sh' && one !== 'ts')).toEqual([]);
});

test.each([...pasted, ...inline].filter((line) => !foreign.test(line)))('%s', (line) => {
  const [program, ...rest] = words(line);
  const [first, second] = rest;
  if (program === 'npx') {
    expect(first).toBe('diffmine');
    expect(manifest.bin['diffmine']).toBeDefined(); // npx runs a clone's own bin
    checkCommand(rest.slice(1));
    return;
  }
  expect(program).toBe('npm');
  if (first === 'run') expect(Object.keys(manifest.scripts)).toContain(second);
  // nothing is on the registry: only a folder can be installed
  else if (first === 'install') expect(second).toMatch(/^\.{1,2}\//);
  else expect(first).toBe('test');
});

test('what it asks the scripts to do, they do', () => {
  expect(pasted.some((line) => line.includes('npm run setup -- --cuda'))).toBe(true);
  expect(read('scripts', 'setup.mjs')).toMatch(/optionsOf\(\{ cuda: flag/);
});

test('the table has every command', () => {
  const table = readme.slice(readme.indexOf('## Commands'), readme.indexOf('## From TypeScript'));
  const rows = table.split('\n').filter((line) => line.startsWith('| '));
  const named = rows.slice(1).flatMap((row) => [...row.matchAll(/`([a-z-]+)`/g)].map(([, name]) => name as string));
  expect(named.sort()).toEqual(COMMANDS.map(({ name }) => name).sort());
});

test('links lead to files, and the Node version is that of the package', () => {
  const links = [...readme.matchAll(/\]\(([^)#]+)[^)]*\)/g)]
    .map(([, link]) => link as string)
    .filter((link) => !link.startsWith('http'));
  expect(links.length).toBeGreaterThan(10);
  expect(links.filter((link) => !existsSync(join(ROOT, link)))).toEqual([]);
  expect(manifest.engines.node).toContain(/Node (\d+\.\d+) or later/.exec(readme)?.[1] as string);
});

test('as long as the ledger has no measurement, the first screen says that nothing was measured on a GPU', () => {
  const record = /## Record\n([\s\S]*?)\n## /.exec(read('docs', 'gpu-ledger.md'))?.[1] ?? '';
  const rows = record
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .slice(2)
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  expect(rows.length).toBeGreaterThan(0);
  const measured = rows.some(([date]) => date !== '');
  const firstScreen = readme.split('\n').slice(0, 15).join('\n');
  expect(firstScreen.includes('Not measured on a GPU yet')).toBe(!measured);
});

// As pasted, on a tiny dataset and model; only what decides the cost is added at the end.
const CPU = ['--device', 'cpu', '--threads', '1'];
const CHEAP: Record<string, string[]> = {
  inspect: [],
  train: ['--steps', '1', '--train-batch', '1', '--sample-every', '0', ...CPU],
  run: ['--samples', '1', '--patch', '16', '--clusters', '2', '--ensemble', '1', ...CPU],
  estimate: ['--no-calibrate'],
};
/** The images of the test are smaller than what a small model is made for. */
const SMALL: Record<string, string[]> = { train: ['--size', '32'], run: ['--holdout', '0.9'] };
const folder = temporaryFolder();
(hasAddon ? describe : describe.skip)('its commands run in the order they stand', () => {
  const ways = readme
    .slice(readme.indexOf('## Quickstart'), readme.indexOf('## The demo'))
    .split('\n### ')
    .slice(1)
    .map((way): [string, string[]] => [
      way.split('\n')[0] as string,
      // a folder stands for the model of the hub; test/unit/hub.test.ts downloads
      [...way.matchAll(/^npx diffmine (?!pull ).*$/gm)].map(([line]) => line),
    ]);
  beforeAll(() => {
    for (const label of ['1920', '1950'])
      cpSync(join(GOLDEN, 'mini-dataset', label), join(folder, 'photos', label), { recursive: true });
    const model = join(folder, /--from (\S+)/.exec(readme)?.[1] as string);
    mkdirSync(dirname(model), { recursive: true });
    symlinkSync(join(GOLDEN, 'tiny-sd15'), model);
  });

  test('there are two ways', () => {
    expect(ways.map(([title, lines]) => [title, lines.map((line) => words(line)[2])])).toEqual([
      ['Without a GPU', ['inspect', 'train', 'run']],
      ['With Stable Diffusion', ['train', 'estimate', 'run']],
    ]);
  });

  test.each(ways)(
    '%s',
    async (title, lines) => {
      for (const line of lines) {
        const [, , name = '', ...rest] = words(line);
        const small = title.startsWith('Without') ? (SMALL[name] ?? []) : [];
        const ran = await cli([name, ...rest, ...(CHEAP[name] as string[]), ...small], { cwd: folder });
        expect([line, ran.code, ran.code === 0 ? '' : ran.stderr]).toEqual([line, 0, '']);
      }
      const out = words(lines.at(-1) as string).at(-1) as string;
      expect(existsSync(join(folder, out, 'report', 'index.html'))).toBe(true);
    },
    600_000,
  );
});
