// Words of command lines in hints: pasted into a shell, each is one word again.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { reinstall } from '../../scripts/addon.mjs';
import { quoted } from '../../src/util/shell.js';
import { ROOT } from '../cli/cli.js';

/** The words of a command line, by a shell. */
const split = (line: string): string[] =>
  execFileSync('sh', ['-c', `printf '%s\\0' ${line}`], { encoding: 'utf8' })
    .split('\0')
    .slice(0, -1);

test('a shell reads quoted words as they were', () => {
  const word = fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\0'));
  const words = fc.sample(word, { numRuns: 300, seed: 7 });
  const known = [
    '',
    'runs/a',
    'my run',
    "O'Brien's",
    '$HOME',
    '`id`',
    '*.jpg',
    'a\nb',
    '"',
    '\\',
    '~',
    '#1',
    'é',
    's3://b/c?d=e&f',
  ];
  expect(split([...known, ...words].map(quoted).join(' '))).toEqual([...known, ...words]);
});

test('the commands that set-up names quote their folders', () => {
  const [rm, flag, folder, and] = split(
    reinstall('@diffmine/linux-x64', "/home/Anna O'Hara/x/diffmine.node").replace('&&', "'&&'"),
  );
  expect([rm, flag, folder, and]).toEqual(['rm', '-r', "/home/Anna O'Hara/x", '&&']);
});

test('commands in hints quote what users named', () => {
  const files = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  );
  const found = files.flatMap((name) =>
    [
      ...readFileSync(join(ROOT, 'src', name), 'utf8').matchAll(
        /diffmine (?:mine|status|cancel|retry|scan|report|worker) \$\{(?!quoted\()[^}]*\}/g,
      ),
    ].map(([command]) => `${name}: ${command}`),
  );
  expect(found).toEqual([]);
});
