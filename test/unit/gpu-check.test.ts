// scripts/gpu-check.sh if there is no GPU, with stand-ins for the tools of a machine that has one: which steps run in which order, and that
// every line that was printed is whole, whatever happens after it.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { temporaryFolder, writeFiles } from '../helpers/folders.js';

const folder = temporaryFolder();
// The script's language; .ci/run installs it.
const run = spawnSync('python3', ['--version']).status === 0 || process.env['CI'] === 'true' ? test : test.skip;

type Line = {
  step?: string;
  status?: string;
  details?: string;
  check?: string;
  end?: string;
  stopped?: string | null;
} & Record<string, unknown>;

interface Call {
  child: ChildProcess;
  /** Resolves once stdout holds `text`. */
  said: (text: string) => Promise<void>;
  ended: Promise<{ code: number | null; lines: Line[]; report: Line[] }>;
}

const parse = (text: string): Line[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);

interface Tools {
  /** shell code of the programs that the build makes */
  bench?: string;
  tests?: string;
  smi?: string;
  /** the build's exit code */
  build?: number;
  /** false: it makes nothing */
  makes?: boolean;
}

function start(name: string, args: string[], tools: Tools = {}, variables: Record<string, string> = {}): Call {
  const here = join(folder, name);
  const program = (code: string): string => `#!/bin/sh\n${code}\n`;
  writeFiles(here, {
    'bin/nvidia-smi': program(
      tools.smi ?? 'case "$*" in *noheader*) echo 9.0;; *) echo "name, compute_cap"; echo "Card \\"one\\", 9.0";; esac',
    ),
    'bin/nvcc': program('exit 0'),
    'bin/compute-sanitizer': program('while [ "$1" != --error-exitcode ]; do shift; done; shift 2; exec "$@"'),
    'bin/cmake': program(
      `if [ "$1" = --build ]; then ${tools.makes === false ? ':' : `cp "${here}/made/"* "$2"`}; exit ${tools.build ?? 0}; else echo "$*" > "${here}/configured"; fi`,
    ),
    'made/diffmine_bench': program(tools.bench ?? `echo "{\\"bench\\":\\"$1\\",\\"step\\":20}"`),
    'made/diffmine_tests': program(tools.tests ?? 'echo "$*"'),
    'libtorch/lib/libtorch_cuda.so': '',
  });
  for (const file of [
    'bin/nvidia-smi',
    'bin/nvcc',
    'bin/compute-sanitizer',
    'bin/cmake',
    'made/diffmine_bench',
    'made/diffmine_tests',
  ])
    chmodSync(join(here, file), 0o755);
  const file = join(here, 'report.jsonl');
  const child = spawn('bash', [resolve('scripts/gpu-check.sh'), ...args], {
    env: {
      ...process.env,
      PATH: `${join(here, 'bin')}:${process.env['PATH'] ?? ''}`,
      LIBTORCH: join(here, 'libtorch'),
      BUILD: join(here, 'build'),
      REPORT: file,
      COMMIT: 'abc',
      NODE: '',
      ...variables,
    },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let out = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text));
  const said = async (text: string): Promise<void> => {
    while (!out.includes(text)) await once(child.stdout as NodeJS.ReadableStream, 'data');
  };
  return {
    child,
    said,
    ended: once(child, 'close').then(([code]) => ({
      code: code as number | null,
      lines: parse(out),
      report: parse(readFileSync(file, 'utf8')),
    })),
  };
}

const statuses = (lines: Line[]): string[] =>
  lines.filter(({ status }) => status !== undefined).map(({ step, status }) => `${step ?? ''} ${status ?? ''}`);

run(
  'the first call: steps in order, results before their step, one line each, on stdout as in the report',
  async () => {
    const { code, lines, report } = await start('first', ['first']).ended;
    expect(statuses(lines)).toEqual(
      ['device', 'configure', 'build', 'bench', 'attention', 'tests', 'golden', 'memcheck'].map(
        (name) => `${name} passed`,
      ),
    );
    expect(code).toBe(0);
    expect(report).toEqual(lines);
    expect(lines[0]).toMatchObject({ check: 'gpu', call: 'first', commit: 'abc', minutes: 8 });
    expect(lines.at(-1)).toMatchObject({ end: 'first', stopped: null, passed: 8, failed: 0, skipped: 0 });
    const at = (wanted: Line): number =>
      lines.findIndex((line) => Object.entries(wanted).every(([key, value]) => line[key] === value));
    expect(lines[at({ step: 'bench', status: 'passed' }) - 1]).toEqual({
      step: 'bench',
      result: { bench: 'unet', step: 20 },
    });
    expect(lines[at({ step: 'device', status: 'passed' })]?.details).toContain('Card "one", 9.0');
    expect(lines[at({ step: 'tests', status: 'passed' })]?.details).toContain('kernel *,attention *,passes *');
    expect(lines[at({ step: 'golden', status: 'passed' })]?.details).toContain('typicality *');
    // For the card that is there alone, and without Node.
    expect(readFileSync(join(folder, 'first/configured'), 'utf8')).toMatch(
      /-DDIFFMINE_CUDA=ON -DDIFFMINE_NODE=OFF -DDIFFMINE_CUDA_ARCHITECTURES=90\b(?!;)/,
    );
  },
);

run('a build that fails in part: what it made is used', async () => {
  const { code, lines } = await start('part', ['first'], { build: 1 }).ended;
  expect(code).toBe(1);
  expect(statuses(lines)).toEqual([
    'device passed',
    'configure passed',
    'build failed',
    'bench passed',
    'attention passed',
    'tests passed',
    'golden passed',
    'memcheck passed',
  ]);
});

run('programs of an earlier build are not taken for those of one that fails', async () => {
  writeFiles(join(folder, 'stale/build'), { diffmine_bench: 'old', diffmine_tests: 'old' });
  const { lines } = await start('stale', ['first'], { build: 1, makes: false }).ended;
  expect(statuses(lines)).toEqual([
    'device passed',
    'configure passed',
    'build failed',
    'bench skipped',
    'attention skipped',
    'tests skipped',
    'golden skipped',
    'memcheck skipped',
  ]);
});

run('what is missing has failed or is skipped with a reason', async () => {
  const { code, lines } = await start('missing', ['first'], { smi: 'exit 9' }, { LIBTORCH: join(folder, 'nowhere') })
    .ended;
  expect(code).toBe(1);
  expect(statuses(lines)).toEqual([
    'device failed',
    'build failed',
    'bench skipped',
    'attention skipped',
    'tests skipped',
    'golden skipped',
    'memcheck skipped',
  ]);
  expect(lines.find(({ step }) => step === 'build')?.details).toContain('is built without CUDA');
  const second = await start('second', ['second']).ended;
  expect(statuses(second.lines)).toEqual(['addon failed']);
  expect(spawnSync('bash', ['scripts/gpu-check.sh', 'third']).status).toBe(2);
});

run('only the steps that are asked for', async () => {
  const { lines } = await start('only', ['first', 'att', 'build', 'conf']).ended;
  expect(statuses(lines)).toEqual(['configure passed', 'build passed', 'attention passed']);
});

run(
  'the time runs out in a step: its results so far stay, it and all that follows are skipped, not failed',
  async () => {
    const build = join(folder, 'late/build');
    const programs = ['diffmine_bench', 'diffmine_tests'];
    writeFiles(
      build,
      Object.fromEntries(
        programs.map((name) => [name, '#!/bin/sh\necho \'{"cell":1}\'; echo \'{"cell":2}\'; exec sleep 100\n']),
      ),
    );
    for (const name of programs) chmodSync(join(build, name), 0o755);
    const { code, lines, report } = await start(
      'late',
      ['first', 'bench', 'att', 'tests', 'golden', 'mem'],
      {},
      { MINUTES: '0.1' },
    ).ended;
    expect(lines.filter(({ result }) => result !== undefined)).toEqual([
      { step: 'bench', result: { cell: 1 } },
      { step: 'bench', result: { cell: 2 } },
    ]);
    expect(statuses(lines).slice(-5)).toEqual([
      'bench skipped',
      'attention skipped',
      'tests skipped',
      'golden skipped',
      'memcheck skipped',
    ]);
    expect(lines.find(({ step, status }) => step === 'attention' && status)?.details).toBe('no time is left');
    expect(code).toBe(0);
    expect(report).toEqual(lines);
  },
);

run.each(['SIGTERM', 'SIGINT'] as const)(
  '%s: the step under way is told as stopped, its processes end, nothing else is started',
  async (signal) => {
    const call = start(`stopped-${signal}`, ['first'], { bench: 'echo \'{"cell":1}\'; sleep 100 & wait' });
    await call.said('"cell"');
    call.child.kill(signal);
    const { code, lines } = await call.ended;
    expect(code).toBe(130);
    expect(statuses(lines).at(-1)).toBe('bench skipped');
    expect(lines.at(-1)).toMatchObject({ end: 'first', stopped: signal });
  },
);

run('killed outright, the report holds every line before', async () => {
  const call = start('killed', ['first'], { bench: 'echo \'{"cell":1}\'; exec sleep 20' });
  await call.said('"cell"');
  call.child.kill('SIGKILL');
  const { lines, report } = await call.ended;
  expect(report).toEqual(lines);
  expect(report.at(-1)).toEqual({ step: 'bench', result: { cell: 1 } });
});

run('whatever a program prints, lines are JSON', async () => {
  const nasty = 'printf \'\\377\\000 "quoted" \\\\ back\\033[31m\\tERROR: no \\n{not json}\\n[1,2]\\n\'; exit 3';
  const { lines } = await start('nasty', ['first', 'conf', 'build', 'tests'], { tests: nasty }).ended;
  expect(lines.find(({ step, status }) => step === 'tests' && status === 'failed')?.details).toMatch(
    /^exit code 3; .*"quoted" \\ back/s,
  );
});
