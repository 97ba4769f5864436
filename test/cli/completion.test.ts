// completion: the scripts in the shells themselves.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { COMMANDS } from '../../src/cli/commands.js';
import { temporaryFolder } from '../helpers/folders.js';
import { cli } from './cli.js';

const folder = temporaryFolder();
const has = (shell: string): boolean => spawnSync(shell, ['--version']).status === 0;
const file = (shell: string): string => join(folder, `completion.${shell}`);

beforeAll(async () => {
  mkdirSync(join(folder, 'photos'));
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { code, stdout } = await cli(['completion', shell]);
    expect(code).toBe(0);
    writeFileSync(file(shell), stdout);
  }
});

/** What bash would offer after a line; the words are those of bash. */
function inBash(...words: string[]): string[] {
  const { stdout, stderr, status } = spawnSync(
    'bash',
    [
      '--norc',
      '-c',
      `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _diffmine; printf '%s\\n' "\${COMPREPLY[@]}"`,
      file('bash'),
      'diffmine',
      ...words,
    ],
    { encoding: 'utf8', cwd: folder },
  );
  expect([status, stderr]).toEqual([0, '']);
  return stdout.split('\n').filter((line) => line !== '');
}

describe('bash', () => {
  it('completes commands', () => {
    expect(inBash('')).toEqual(COMMANDS.map(({ name }) => name));
    expect(inBash('sc')).toEqual(['scan']);
    expect(inBash('--he')).toEqual(['--help']);
  });

  it('completes the options of the command', () => {
    expect(inBash('scan', 'photos', '--size')).toEqual(['--size', '--size-rule']);
    expect(inBash('export', 'run', '--cro')).toEqual(['--crops']);
    expect(inBash('-q', 'mine', '--div')).toEqual(['--diverse']);
    expect(inBash('mine', '--cro')).toEqual([]);
  });

  it('completes values that are a choice, and leaves the rest to files', () => {
    expect(inBash('export', 'run', '--table', '')).toEqual(['patches', 'clusters', 'images', 'maps']);
    expect(inBash('export', 'run', '--table', 'cl')).toEqual(['clusters']);
    expect(inBash('completion', '')).toEqual(['bash', 'zsh', 'fish']);
    expect(inBash('export', 'run', '--out', '')).toEqual([]);
    expect(inBash('export', '')).toEqual([]);
  });

  it('is what bash does when Tab is pressed', () => {
    const program = `source "$0"; complete -p diffmine`;
    const { stdout } = spawnSync('bash', ['--norc', '-c', program, file('bash')], { encoding: 'utf8' });
    expect(stdout).toBe('complete -o default -F _diffmine diffmine\n');
  });
});

(has('zsh') ? it : it.skip)('zsh reads its script', () => {
  const program = `autoload -U compinit && compinit -D -u && source "$0" && print -r -- "$_comps[diffmine]"`;
  const { stdout, stderr } = spawnSync('zsh', ['-f', '-c', program, file('zsh')], { encoding: 'utf8' });
  expect([stdout, stderr]).toEqual(['_bash_complete -o default -F _diffmine\n', '']);
});

(has('fish') ? it : it.skip)('fish completes commands, options and values', () => {
  const inFish = (line: string): string[] => {
    const { stdout } = spawnSync('fish', ['--no-config', '-c', `source ${file('fish')}; complete -C "${line}"`], {
      encoding: 'utf8',
      cwd: folder,
    });
    return stdout.split('\n').flatMap((one) => (one === '' ? [] : (one.split('\t')[0] as string)));
  };
  expect(inFish('diffmine sc')).toEqual(['scan']);
  expect(inFish('diffmine export run --table cl')).toEqual(['clusters']);
  expect(inFish('diffmine mine run --div')).toEqual(['--diverse']);
  expect(inFish('diffmine scan ph')).toEqual(['photos/']);
});

it('names the shells that there are', async () => {
  const { code, stderr } = await cli(['completion', 'tcsh']);
  expect(code).toBe(2);
  expect(stderr).toContain('bash, zsh, fish');
});
