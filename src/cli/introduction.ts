// What `diffmine` prints without arguments: what it is, and where to start.
import { VERSION } from '../util/version.js';

const START = [
  ['npx diffmine doctor', 'check this machine: what works, what is missing, the command that fixes it'],
  ['npx diffmine demo', 'mine a synthetic dataset with the bundled model; minutes on a CPU'],
  ['npx diffmine inspect photos', 'describe your own images: one folder per label'],
] as const;

export function introduction(): [text: string, json: unknown] {
  const width = Math.max(...START.map(([command]) => command.length)) + 2;
  const text = [
    `diffmine ${VERSION} finds the image patches that are typical of each label (a decade, a country, a scene),`,
    'with a conditional diffusion model of the images.',
    '',
    'Start with:',
    ...START.map(([command, what]) => `  ${command.padEnd(width)}${what}`),
    '',
    'All commands: npx diffmine --help',
  ].join('\n');
  return [text, { version: VERSION, start: START.map(([command, description]) => ({ command, description })) }];
}
