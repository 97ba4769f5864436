// The docs: generated pages are current, commands are accepted, links lead somewhere. test/docs runs the code.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { COMMON, flagsOf } from '../../src/cli/options.js';
import { EXIT_CODES } from '../../src/util/errors.js';
import { COMMANDS, checkCommand, words } from '../helpers/commands.js';
import { PAGES, readPage, shellLines } from '../helpers/pages.js';
import { ROOT } from './cli.js';

test('what is generated is current (else run: npm run docs)', () => {
  const ran = spawnSync(process.execPath, ['scripts/docs.mjs', '--check'], { cwd: ROOT, encoding: 'utf8' });
  expect([ran.status, ran.status === 0 ? '' : ran.stderr]).toEqual([0, '']);
});

test('docs/reference/cli.md lists every option of every command', () => {
  const page = readPage('docs/reference/cli.md');
  for (const command of COMMANDS) {
    const { name } = command;
    const start = page.indexOf(`## diffmine ${name}\n`);
    const end = page.indexOf('\n## ', start + 1);
    const section = page.slice(start, end < 0 ? undefined : end);
    const listed = [...section.matchAll(/^\| `(?:--)?([\w-]+)`/gm)].map(([, option]) => option?.toLowerCase());
    expect([name, listed]).toEqual([name, Object.keys(flagsOf(command))]);
  }
});

test('docs/reference/errors.md has every exit code', () => {
  const rows = [...readPage('docs/reference/errors.md').matchAll(/^\| (\d+) \| `(\w+)` \|/gm)];
  expect(Object.fromEntries(rows.map(([, exit, code]) => [code, Number(exit)]))).toEqual(EXIT_CODES);
});

const commands = PAGES.flatMap((page) =>
  shellLines(readPage(page))
    .flatMap((line) => line.split(' && '))
    .map((line) => words(line))
    .map((line) => (line[0] === 'npx' ? line.slice(1) : line[1] === 'bin/diffmine.js' ? line.slice(1) : line))
    .filter(([program]) => program === 'diffmine' || program === 'bin/diffmine.js')
    .map((line) => [page, line.join(' '), line] as const),
);

test('the pages have commands', () => {
  expect(commands.length).toBeGreaterThan(80);
});

test.each(commands)('%s: %s', (_page, _line, line) => {
  expect(() => checkCommand(line.slice(1))).not.toThrow();
});

/** Options of other programs on the pages: of the project's scripts, npm, cmake, Slurm. */
const FOREIGN = [
  '--check',
  '--medium',
  '--set',
  '--only',
  '--skip',
  '--all',
  '--target',
  '--runs',
  '--seconds',
  '--minimize',
  '--no-deps',
  '--test-case',
  '--version',
  '--array',
  '--as-built',
  '--whole',
  '--keep',
  '--platforms',
  '--unreleased',
  '--ref',
  '--delete',
  '--help',
];

test.each(PAGES.filter((page) => page !== 'CHANGELOG.md'))('%s names options that exist', (page) => {
  const known = new Set(
    [{ options: COMMON }, ...COMMANDS].flatMap((command) =>
      Object.entries(flagsOf(command)).flatMap(([name, { alias }]) => [name, ...(alias === undefined ? [] : [alias])]),
    ),
  );
  const text = readPage(page).replace(/```[\s\S]*?```/g, '');
  const named = [...text.matchAll(/`([^`\n]*)`/g)].flatMap(
    ([, code]) => (code ?? '').match(/(?<![\w-])--[a-z][\w-]*/g) ?? [],
  );
  const unknown = named.filter((option) => !known.has(option.slice(2)) && !FOREIGN.includes(option));
  expect(unknown).toEqual([]);
});

/** The anchor that GitHub gives a heading. */
const anchor = (heading: string): string =>
  heading
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replace(/\s/g, '-');

const anchors = (page: string): string[] =>
  [
    ...readPage(page)
      .replace(/```[\s\S]*?```/g, '')
      .matchAll(/^#+ (.*)$/gm),
  ].map(([, heading]) => anchor(heading ?? ''));

test.each(PAGES)('links of %s lead to files and headings', (page) => {
  const text = readPage(page).replace(/```[\s\S]*?```/g, '');
  const broken = [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link]) => link as string)
    .filter((link) => !/^[a-z]+:/.test(link))
    .filter((link) => {
      const [file, heading] = link.split('#') as [string, string | undefined];
      const target = file === '' ? page : path.join(path.dirname(page), file);
      if (!existsSync(path.join(ROOT, target))) return true;
      return heading !== undefined && target.endsWith('.md') && !anchors(target).includes(heading);
    });
  expect(broken).toEqual([]);
});

test.each(PAGES.filter((page) => /contributing/i.test(page)))('%s names files that exist', (page) => {
  const paths = [...readPage(page).matchAll(/`((?:src|cpp|binding|test|scripts|docs|demo)\/[\w./-]*)`/g)]
    .map(([, name]) => name as string)
    .filter((name) => !/NAME/.test(name));
  expect(paths.filter((name) => !existsSync(path.join(ROOT, name)))).toEqual([]);
});

test('docs/README.md leads to every page', () => {
  const linked = (page: string): string[] =>
    [...readPage(page).matchAll(/\]\(([^)#\s]+\.md)/g)].map(([, link]) =>
      path.join(path.dirname(page), link as string),
    );
  const seen = new Set<string>(['docs/README.md']);
  for (const page of seen) for (const next of linked(page)) if (PAGES.includes(next)) seen.add(next);
  expect(PAGES.filter((page) => page.startsWith('docs') && !seen.has(page))).toEqual([]);
});
