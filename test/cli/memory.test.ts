// Peak memory of each command with a tiny model and twelve images: mainly Node, the addon and LibTorch. The limits are above what was measured (docs/results/cpu.md),
// so that a command that loads much that it does not need fails. On Linux: read from /proc.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { temporaryFolder } from '../helpers/folders.js';
import { nightlyTest } from '../helpers/nightly.js';
import { hasAddon, ROOT } from './cli.js';

const folder = temporaryFolder();
const at = (name: string): string => path.join(folder, name);
const GOLDEN = path.join(ROOT, 'test/data/golden');
const MODEL = path.join(GOLDEN, 'tiny-sd15');
const DATASET = path.join(GOLDEN, 'mini-dataset');

/** In every process of a command: its peak when it ends. Not ru_maxrss, which counts the process that started it. */
const PROBE = `import { appendFileSync, readFileSync } from 'node:fs';
process.on('exit', () => {
  const [, peak] = /VmHWM:\\s+(\\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
  appendFileSync(process.env.PEAKS, peak + '\\n');
});
`;

/** Peak of the largest process, MB. */
function peakOf(args: string[]): number {
  writeFileSync(at('probe.mjs'), PROBE);
  writeFileSync(at('peaks'), '');
  const { status, stderr } = spawnSync(process.execPath, [path.join(ROOT, 'bin/diffmine.js'), ...args], {
    encoding: 'utf8',
    env: {
      ...process.env,
      PEAKS: at('peaks'),
      NODE_OPTIONS: `--import ${pathToFileURL(at('probe.mjs')).href}`,
    },
  });
  expect([args, status, status === 0 ? '' : stderr]).toEqual([args, 0, '']);
  const peaks = readFileSync(at('peaks'), 'utf8').trimEnd().split('\n').map(Number);
  return Math.round((Math.max(...peaks) * 1024) / 1e6);
}

const SCORE = ['--samples', '2', '--size', '64', '--patch', '8', '--threads', '1', '--dtype', 'fp32'];
const MACHINE = ['--threads', '1', '--dtype', 'fp32'];
const FEW_STEPS = ['--model', MODEL, '--inversion-steps', '4', '--inference-steps', '4'];
/** What loads no model. [command line, limit in MB] */
const LIGHT: [string[], number][] = [
  [['--help'], 90],
  [['doctor'], 230],
  [['inspect', DATASET], 260],
];
/** In order: later ones read what earlier ones wrote. Not `push` and `worker`, which need a server. */
const COMMANDS: [string[], number][] = [
  [['scan', DATASET, '--model', MODEL, '--out', at('run'), ...SCORE], 480],
  [['mine', at('run'), '--clusters', '2', '--top', '10', '--threads', '1'], 480],
  [['report', at('run')], 330],
  [['export', at('run'), '--format', 'csv', '--out', at('patches.csv')], 260],
  [['estimate', '--like', 'sd15', '--images', '5000', '--device', 'h100'], 160],
  [['estimate-train', '--like', 'sd15', '--images', '5000', '--device', 'h100'], 160],
  [['train', DATASET, '--new', 'tiny', '--steps', '2', '--train-batch', '2', '--out', at('small'), ...MACHINE], 400],
  [['train', DATASET, '--from', MODEL, '--steps', '2', '--train-batch', '2', '--out', at('tuned'), ...MACHINE], 400],
  [['run', DATASET, '--model', MODEL, '--out', at('whole'), '--clusters', '2', ...SCORE], 600],
  [['compare', at('run'), at('whole'), '--out', at('comparison')], 220],
  [['status', at('run')], 150],
  [['sample', MODEL, '--labels', 'a', '--inference-steps', '2', '--out', at('samples'), ...MACHINE], 400],
  [['translate', DATASET, '--out', at('parallel'), ...FEW_STEPS, ...MACHINE], 600],
  [['cotypicality', at('parallel'), '--model', MODEL, '--out', at('changes'), '--samples', '2', ...MACHINE], 600],
  [['localize', DATASET, '--model', MODEL, '--out', at('maps'), '--samples', '2', '--size', '64', ...MACHINE], 500],
  [['verify', GOLDEN], 800],
  [['bench', '--model', MODEL, '--repeats', '1', ...MACHINE], 1300],
  [['demo', '--images-per-label', '4', '--samples', '2', '--bootstrap', '0', '--out', at('demo'), ...MACHINE], 800],
];

const named = (commands: typeof COMMANDS): [string, string[], number][] =>
  commands.map(([args, limit]) => [args[0] as string, args, limit]);

const suite = hasAddon && process.platform === 'linux' ? describe : describe.skip;
suite('on Linux, with an addon: the peak memory of', () => {
  const within = (_: string, args: string[], limit: number): void => {
    const peak = peakOf(args);
    expect(peak).toBeGreaterThan(20);
    expect(peak).toBeLessThan(limit);
  };
  test.each(named(LIGHT))('%s', within);
  nightlyTest.each(named(COMMANDS))('%s', within);
});
