// scripts/gpu-check.sh where there is no GPU: what it says, and that it says it whatever happens.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { temporaryFolder, writeFiles } from '../helpers/folders';

const folder = temporaryFolder();

interface Report {
  check: string;
  stopped: string | null;
  passed: boolean;
  steps: { step: string; status: string; details: string }[];
}

/** `card` is what nvidia-smi does, beside the system's own tools. */
function start(name: string, card: string, variables: Record<string, string>): { child: ChildProcess; file: string; ended: Promise<{ code: number | null; report: Report }> } {
  const here = join(folder, name);
  writeFiles(here, { 'bin/nvidia-smi': `#!/bin/sh\n${card}\n` });
  chmodSync(join(here, 'bin/nvidia-smi'), 0o755);
  const file = join(here, 'report.json');
  const child = spawn('bash', [resolve('scripts/gpu-check.sh')], {
    env: { PATH: `${join(here, 'bin')}:/usr/bin:/bin`, LIBTORCH: join(here, 'no-libtorch'), BUILD: join(here, 'build'), REPORT: file, ...variables },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let said = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (said += text));
  return { child, file, ended: once(child, 'close').then(([code]) => ({ code: code as number | null, report: JSON.parse(said) as Report })) };
}

const statuses = ({ steps }: Report): Record<string, string> => Object.fromEntries(steps.map(({ step, status }) => [step, status]));

test('what is missing has failed or was skipped, and the report is in the file, too', async () => {
  const { file, ended } = start('missing', 'exit 9', {});
  const { code, report } = await ended;
  expect(code).toBe(1);
  expect(report).toMatchObject({ check: 'gpu', stopped: null, passed: false });
  expect(statuses(report)).toEqual({ device: 'failed', libtorch: 'failed', build: 'failed', tests: 'skipped', addon: 'skipped' });
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ steps: report.steps });
});

test('only what is asked for, and nothing once the time is over', async () => {
  const { report } = await start('only', 'echo "card \\"one\\", 9.0"', { ONLY: 'dev,addon' }).ended;
  expect(statuses(report)).toEqual({ device: 'passed', addon: 'skipped' });
  expect(report.steps[0]?.details).toBe('card "one", 9.0');
  const late = await start('late', 'exit 0', { ONLY: 'device', MINUTES: '0' }).ended;
  expect(statuses(late.report)).toEqual({ device: 'skipped' });
});

test('stopped by a signal it reports what it has', async () => {
  const { child, ended } = start('stopped', 'sleep 100', {});
  while (!existsSync(join(folder, 'stopped/build/logs/device.log'))) await sleep(50);
  await sleep(300);
  child.kill('SIGTERM');
  const { code, report } = await ended;
  expect(code).toBe(143);
  expect(report.stopped).toBe('TERM');
  expect(statuses(report)).toEqual({ device: 'skipped' });
});
