// The programs on the pages: marked regions of the files here, each run as it stands in a folder with photos and models. test/cli/docs.test.ts
// checks that the pages show these regions.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import ts from 'typescript';
import { hasAddon, ROOT } from '../cli/cli.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';
import { nightlyTest } from '../helpers/nightly.js';

const folder = temporaryFolder();
const names = readdirSync(__dirname)
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
  .map((name) => basename(name, '.ts'));
/** They scan twice, or a whole dataset. */
const LONG = ['compare', 'demo', 'stages'];
/** `read` reads the run of `mine`. */
const order = ['mine', ...names.filter((name) => name !== 'mine' && !LONG.includes(name))];

/** What the program prints; it is an ESM module of a project that installed diffmine. */
async function runProgram(name: string): Promise<string> {
  const home = join(folder, name);
  mkdirSync(home);
  symlinkSync(join(folder, 'photos'), join(home, 'photos'));
  for (const model of ['sd15', 'tuned']) symlinkSync(join(GOLDEN, 'tiny-sd15'), join(home, model));
  const { outputText } = ts.transpileModule(readFileSync(join(__dirname, `${name}.ts`), 'utf8'), {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
  });
  writeFileSync(join(home, 'program.mjs'), outputText);
  const child = spawn(process.execPath, ['program.mjs'], { cwd: home });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  expect([name, child.exitCode, child.exitCode === 0 ? '' : stderr]).toEqual([name, 0, '']);
  return stdout;
}

/** What each must have done. */
const CHECKS: Record<string, (stdout: string) => void> = {
  mine: () => expect(existsSync(join(folder, 'mine', 'run', 'report', 'index.html'))).toBe(true),
  stages: (stdout) => {
    const { stopped, path } = JSON.parse(stdout) as { stopped: string; path: string };
    expect([stopped, existsSync(resolve(folder, 'stages', path))]).toEqual(['CANCELLED', true]);
  },
  score: (stdout) => expect((JSON.parse(stdout) as { typicality: number }).typicality).toEqual(expect.any(Number)),
  read: (stdout) => {
    const patches = JSON.parse(stdout) as unknown[];
    expect(patches.length).toBeGreaterThan(1);
    expect(patches).toEqual(patches.map((_, i) => ['1950', 'top', i + 1]));
  },
  engine: (stdout) => {
    const { cells, finite } = JSON.parse(stdout) as { cells: number; finite: boolean };
    expect(cells).toBeGreaterThan(1);
    expect(finite).toBe(true);
  },
  compare: (stdout) => expect(JSON.parse(stdout)).toEqual([{ k: 10, fraction: 1 }]),
  demo: (stdout) => {
    const lines = stdout.trim().split('\n');
    expect(lines).toHaveLength(7);
    expect(lines.at(-1)).toMatch(/^0\.\d+ .*index\.html$/);
  },
};

(hasAddon ? describe : describe.skip)('programs', () => {
  beforeAll(() => {
    for (const label of ['1920', '1950']) {
      mkdirSync(join(folder, 'photos', label), { recursive: true });
      for (const image of [`${label}_0.png`, `${label}_1.png`])
        copyFileSync(join(GOLDEN, 'mini-dataset', label, image), join(folder, 'photos', label, image));
    }
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(ROOT, join(folder, 'node_modules', 'diffmine'));
  });

  test('each has a check', () => {
    expect(Object.keys(CHECKS).sort()).toEqual([...names].sort());
  });

  const runs = async (name: string): Promise<void> => CHECKS[name]?.(await runProgram(name));
  test.each(order)('%s', runs, 600_000);
  nightlyTest.each(LONG)('%s', runs, 600_000);
});
