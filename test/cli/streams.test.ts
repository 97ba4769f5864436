// stdout and stderr that are full, closed or no terminal: a result arrives whole or the command fails with exit code 5; lost messages end nothing.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { terminalOf } from '../../src/cli/streams.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';
import { isNightly, nightlyTest } from '../helpers/nightly.js';
import { drawImages, writeSyntheticRun } from '../helpers/synthetic-run.js';
import { hasAddon, ROOT } from './cli.js';

const folder = temporaryFolder();
const dataset = join(folder, 'images');
const run = join(folder, 'run');
const FULL = existsSync('/dev/full');
const inLinux = FULL ? test : test.skip;
if (!FULL) console.warn('streams: full devices are not tested, as there is no /dev/full.');

/** Runs `diffmine COMMAND` in a shell that redirects its streams. */
function shell(
  command: string,
  env: Record<string, string> = {},
): { code: number | null; stdout: string; stderr: string } {
  const diffmine = `'${process.execPath}' '${join(ROOT, 'bin', 'diffmine.js')}'`;
  const { status, stdout, stderr } = spawnSync('bash', ['-c', command.replace(/\bdiffmine\b/, () => diffmine)], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  return { code: status, stdout, stderr };
}

/** One sentence and a hint, no stack. */
function expectIo({ code, stderr }: ReturnType<typeof shell>, reason: string): void {
  expect(code).toBe(5);
  expect(stderr).toMatch(new RegExp(`^error: Cannot write to stdout: ${reason}[^\n]*\nhint: [^\n]+\n$`));
}

beforeAll(async () => {
  mkdirSync(join(dataset, 'a'), { recursive: true });
  await sharp({ create: { width: 64, height: 64, channels: 3, background: 'red' } })
    .png()
    .toFile(join(dataset, 'a', '1.png'));
  const images = await drawImages(
    join(folder, 'drawn'),
    ['a', 'b'],
    (label) => [0, 1].map((n) => `${label}/${n}.png`),
    { width: 64, height: 64 },
  );
  await writeSyntheticRun(run, join(folder, 'drawn'), images, { labels: ['a', 'b'] });
});

describe('stdout', () => {
  const full = (command: string): void => expectIo(shell(`diffmine ${command} > /dev/full`), 'ENOSPC');
  inLinux.each(['--help', 'inspect images --json', 'export run'])('full: %s', full);
  if (isNightly) {
    const others = ['export run --json', 'export run --format parquet', 'report run --quiet'];
    inLinux.each(['scan --help', '--version', '--version --json', 'inspect images', ...others])('full: %s', full);
  }

  inLinux('opened for reading only', () => {
    expectIo(shell('diffmine inspect images 1< /dev/null'), 'EBADF');
  });

  inLinux('a file that can take only part of the result', () => {
    // with SIGXFSZ ignored, write() first returns a short count, then EFBIG
    expectIo(shell("trap '' XFSZ; ulimit -f 1; diffmine --help > part.txt"), 'EFBIG');
    expect(readFileSync(join(folder, 'part.txt'))).toHaveLength(1024);
  });

  test('a file takes all of it', () => {
    expect(shell('diffmine --help > all.txt')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(readFileSync(join(folder, 'all.txt'), 'utf8')).toBe(shell('diffmine --help').stdout);
    expect(shell('diffmine --version >> all.txt').code).toBe(0);
    expect(readFileSync(join(folder, 'all.txt'), 'utf8')).toContain('Exit codes:');
  });

  test('a reader that goes away is no error', () => {
    expect(shell('diffmine --help | true; exit ${PIPESTATUS[0]}')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(shell('diffmine inspect nothing --json 2>&1 | true; exit ${PIPESTATUS[0]}').code).toBe(2);
  });

  inLinux('an error keeps its exit code and is printed on stderr instead', () => {
    const { code, stderr } = shell('diffmine inspect nothing --json > /dev/full');
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error: .*nothing/);
  });

  test('closed from the start: discarded, and never written into another file', () => {
    const { code, stderr } = shell('diffmine export run --out table.csv >&-');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(readFileSync(join(folder, 'table.csv'), 'utf8') === shell('diffmine export run').stdout).toBe(true);
    expect(shell('diffmine export run --out all-closed.csv <&- >&- 2>&-').code).toBe(0);
    expect(readFileSync(join(folder, 'all-closed.csv'))).toEqual(readFileSync(join(folder, 'table.csv')));
  });
});

describe('stderr', () => {
  const STREAMS = [...(FULL ? ['2> /dev/full'] : []), ...(isNightly || !FULL ? ['2>&-', '2> >(true)'] : ['2>&-'])];

  test.each(STREAMS)('%s: results and exit codes stay', (redirected) => {
    expect(shell(`diffmine inspect nothing ${redirected}`).code).toBe(2);
    // its log has several lines
    expect(shell(`diffmine report run -v ${redirected}`)).toMatchObject({
      code: 0,
      stdout: `${join(run, 'report', 'index.html')}\n`,
    });
  });

  (hasAddon && FULL ? nightlyTest : test.skip)('a scan in worker processes finishes', () => {
    const scan = `scan drawn --model '${join(GOLDEN, 'tiny-sd15')}' --out workers --samples 1 --batch 4 --patch 16 --shard-size 1 --device cpu --threads 1 --workers 2 -v --json`;
    const { code, stdout } = shell(`diffmine ${scan} 2> /dev/full`);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ complete: true, scored: 4 });
  });

  inLinux('set-up scripts continue', () => {
    writeFileSync(
      join(folder, 'say.mjs'),
      `import { say } from ${JSON.stringify(join(ROOT, 'scripts', 'steps.mjs'))};\nsay('one'); say('two');\nsetTimeout(() => { say('three'); process.exitCode = 9; }, 50);\n`,
    );
    expect(spawnSync('bash', ['-c', `'${process.execPath}' say.mjs 2> /dev/full`], { cwd: folder }).status).toBe(9);
  });
});

describe('the terminal', () => {
  const LINES = { bars: false, colors: false };
  test.each([
    ['a terminal', { TERM: 'xterm-256color' }, true, { bars: true, colors: true }],
    ['TERM=dumb', { TERM: 'dumb' }, true, LINES],
    ['TERM=dumb, whatever else is asked for', { TERM: 'dumb', FORCE_COLOR: '1' }, true, LINES],
    ['no TERM', {}, true, LINES],
    ['NO_COLOR', { TERM: 'xterm', NO_COLOR: '1' }, true, { bars: true, colors: false }],
    ['empty NO_COLOR', { TERM: 'xterm', NO_COLOR: '' }, true, { bars: true, colors: true }],
    [
      'NO_COLOR and FORCE_COLOR',
      { TERM: 'xterm', NO_COLOR: '1', FORCE_COLOR: '1' },
      true,
      { bars: true, colors: false },
    ],
    ['CI with a terminal: logs are kept', { TERM: 'xterm', CI: 'true' }, true, { bars: false, colors: true }],
    ['CI=false', { TERM: 'xterm', CI: 'false' }, true, { bars: true, colors: true }],
    ['a file', { TERM: 'xterm' }, false, LINES],
    ['a file and FORCE_COLOR', { TERM: 'xterm', FORCE_COLOR: '1' }, false, { bars: false, colors: true }],
    ['a file and FORCE_COLOR=0', { TERM: 'xterm', FORCE_COLOR: '0' }, false, LINES],
  ])('%s', (_name, env, isTty, expected) => {
    expect(terminalOf(env, isTty, 'linux')).toEqual(expected);
  });

  test('Windows has no TERM', () => {
    expect(terminalOf({}, true, 'win32')).toEqual({ bars: true, colors: true });
  });

  test('FORCE_COLOR colors errors in a pipe; results never have escape codes', () => {
    const { stdout, stderr } = shell('diffmine inspect nothing', { FORCE_COLOR: '1', TERM: 'xterm', NO_COLOR: '' });
    expect(stderr).toContain('\x1b[31merror:\x1b[0m');
    expect(stdout).toBe('');
    expect(shell('diffmine export run', { FORCE_COLOR: '1', TERM: 'xterm' }).stdout).not.toContain('\x1b');
  });
});

inLinux('an argument that is not UTF-8 is refused: Node reads it as another name', () => {
  const { code, stderr } = shell("diffmine inspect $'images\\xff'");
  expect(code).toBe(2);
  expect(stderr).toMatch(/^error: The argument "images\ufffd" is not UTF-8\.\nhint: Rename/);
  const known = shell("diffmine inspect 'images\ufffd'");
  expect(known.stderr).toContain('There is no file or folder');
});
