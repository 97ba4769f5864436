// The Dockerfile as scripts/dockerfile-check.mjs reads it: no container engine runs in the tests.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseDockerfile, stagesOf } from '../../scripts/dockerfile-check.mjs';
import { ROOT } from '../cli/cli.js';

const text = readFileSync(join(ROOT, 'Dockerfile'), 'utf8');
const parsed = parseDockerfile(text);

test('every step of both targets is read, and each stage comes after those it is made from', () => {
  expect(stagesOf(parsed, 'cpu').map(({ name }) => name)).toEqual(['sources', 'build-cpu', 'cpu']);
  expect(stagesOf(parsed, 'cuda').map(({ name }) => name)).toEqual(['sources', 'build-cuda', 'cuda']);
  const steps = parsed.stages.flatMap(({ steps }) => steps);
  expect(steps.filter(({ instruction }) => instruction === 'RUN')).toHaveLength(text.match(/^RUN /gm)?.length ?? 0);
  for (const { instruction } of steps)
    expect(['ARG', 'COPY', 'ENTRYPOINT', 'ENV', 'RUN', 'WORKDIR']).toContain(instruction);
  const pip = steps.find(({ text: step }) => step.includes('nvidia-cuda-nvcc'))?.text ?? '';
  expect(pip).toMatch(/^pip install .* torch==\S+ nvidia-cuda-nvcc==\S+ .*nvidia-nvtx==\S+$/);
});

test('the entry point of each image is in the package', () => {
  for (const target of ['cpu', 'cuda']) {
    const { steps } = stagesOf(parsed, target).at(-1) as { steps: { instruction: string; text: string }[] };
    expect(steps.at(-1)).toEqual({ instruction: 'ENTRYPOINT', text: '["diffmine"]' });
    const link = steps.map(
      ({ text: step }) => /^ln -s \/opt\/diffmine\/(\S+) \/usr\/local\/bin\/diffmine$/.exec(step)?.[1],
    );
    expect(existsSync(join(ROOT, link.find(Boolean) ?? 'none'))).toBe(true);
  }
});

test('the steps are listed without being run; an unknown target is refused', () => {
  const list = (target: string): ReturnType<typeof spawnSync> =>
    spawnSync(process.execPath, ['scripts/dockerfile-check.mjs', '--list', '--target', target], { cwd: ROOT });
  expect(String(list('cpu').stdout)).toContain('RUN CI=true npm run setup && npm prune');
  const { status, stderr } = list('rocm');
  expect(status).toBe(4);
  expect(String(stderr)).toMatch(/no target rocm\.\nhint: Targets: sources, build-cpu, build-cuda, cpu, cuda\./);
});
