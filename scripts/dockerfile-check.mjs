// Runs the steps of the Dockerfile without a container engine: each stage in a root of its own, an overlay over the one it is built from. The first
// root is Debian by debootstrap with this machine's Node. Then the entry point of the target answers --version, doctor and a small demo.
//   sudo node scripts/dockerfile-check.mjs [--target cpu] [--folder DIR] [--bind DIR]... [--env NAME]... [--build-arg NAME=VALUE]... [--list]
// Linux, as root, with debootstrap. --folder keeps the roots. --bind shows a folder of this machine to the steps, read-only (certificates, wheels),
// --env passes a variable (PIP_FIND_LINKS). --list prints the steps of the target and runs none.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { fail, isMain, optionsOf, root, say, SetupError, which } from './steps.mjs';

const SUITE = 'bookworm';
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Set in the child that has a mount namespace of its own: what it mounts goes with it. */
const INSIDE = 'DIFFMINE_DOCKERFILE_CHECK';

/**
 * @typedef {{ instruction: string, text: string }} Step
 * @typedef {{ name: string, base: string, steps: Step[] }} Stage
 */

/**
 * The stages of a Dockerfile.
 * @returns {{ args: Step[], stages: Stage[] }} args: the steps before the first FROM
 */
export function parseDockerfile(text) {
  const lines = text.split('\n').filter((line) => !line.trimStart().startsWith('#'));
  const stages = [];
  const args = [];
  for (const statement of lines.join('\n').replace(/\\\n/g, ' ').split('\n')) {
    const [, instruction, rest] = /^([A-Z]+)\s+(.*?)\s*$/.exec(statement) ?? [];
    if (instruction === undefined) continue;
    const step = { instruction, text: rest.replace(/\s+/g, ' ') };
    if (instruction === 'FROM') {
      const [, base, name] = /^(\S+)(?: AS (\S+))?$/.exec(step.text) ?? [];
      if (!base) throw new SetupError(`FROM ${step.text} cannot be read.`);
      stages.push({ name: name ?? String(stages.length), base, steps: [] });
    } else if (stages.length === 0) args.push(step);
    else stages[stages.length - 1].steps.push(step);
  }
  return { args, stages };
}

/**
 * The stages that a target needs, in the order in which they are built.
 * @param {{ stages: Stage[] }} parsed
 * @param {string} target
 * @returns {Stage[]}
 */
export function stagesOf({ stages }, target) {
  const byName = new Map(stages.map((stage) => [stage.name, stage]));
  const needed = new Set();
  const visit = (name) => {
    const stage = byName.get(name);
    if (!stage || needed.has(stage)) return;
    const sources = stage.steps.flatMap(({ text }) => /^--from=(\S+)/.exec(text)?.[1] ?? []);
    for (const source of [stage.base, ...sources]) visit(source);
    needed.add(stage);
  };
  if (!byName.has(target))
    throw new SetupError(`The Dockerfile has no target ${target}.`, `Targets: ${[...byName.keys()].join(', ')}.`);
  visit(target);
  return [...needed];
}

const substitute = (text, variables) =>
  text.replace(/\$\{(\w+)\}|\$(\w+)/g, (_, braced, bare) => variables[braced ?? bare] ?? '');

/** NAME=VALUE pairs of ENV and ARG; ARG may lack the value. */
function assignments(text, variables) {
  return Object.fromEntries(
    text.split(' ').map((pair) => {
      const [name, ...value] = pair.split('=');
      return [name, substitute(value.join('='), variables)];
    }),
  );
}

function must(program, args, options) {
  const { status, error } = spawnSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'], ...options });
  if (status !== 0)
    throw new SetupError(`${[program, ...args].join(' ')} failed: ${error?.message ?? `exit code ${status}`}`);
}

function timed(what, work) {
  const start = performance.now();
  const result = work();
  say(`${((performance.now() - start) / 1000).toFixed(1).padStart(8)} s  ${what}`);
  return result;
}

/** Debian with Node and npm, as the node images have them. */
function makeBase(folder) {
  const base = path.join(folder, 'base');
  if (fs.existsSync(base)) return base;
  const making = `${base}.making`;
  fs.rmSync(making, { recursive: true, force: true });
  timed(`debootstrap ${SUITE}`, () => must('debootstrap', ['--variant=minbase', SUITE, making], { stdio: 'ignore' }));
  const modules = path.join(making, 'usr/local/lib/node_modules');
  const npm = path.dirname(path.dirname(fs.realpathSync(which('npm'))));
  fs.mkdirSync(modules, { recursive: true });
  fs.copyFileSync(process.execPath, path.join(making, 'usr/local/bin/node'));
  must('cp', ['-a', npm, path.join(modules, 'npm')]);
  for (const name of ['npm', 'npx'])
    fs.symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, path.join(making, 'usr/local/bin', name));
  fs.renameSync(making, base);
  return base;
}

/** What `COPY . .` takes: all files of the repository but those that .dockerignore names. */
function copyContext(into) {
  const patterns = fs.readFileSync(path.join(root, '.dockerignore'), 'utf8').split('\n').filter(Boolean);
  const ignored = patterns.map((pattern) => new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '[^/]*')}$`));
  fs.cpSync(root, into, {
    recursive: true,
    verbatimSymlinks: true,
    filter: (file) => !ignored.some((pattern) => pattern.test(path.relative(root, file))),
  });
}

/** A machine of roots: what a container engine keeps as layers. */
class Roots {
  #built = new Map();

  constructor(folder, { binds, environment, args }) {
    Object.assign(this, { folder, binds, environment, args });
  }

  /** Mounts the root of a stage over its base, with what the steps need of this machine. */
  #mount(name, layers) {
    const [upper, work, merged] = ['upper', 'work', 'root'].map((part) => path.join(this.folder, name, part));
    for (const folder of [upper, work, merged]) fs.mkdirSync(folder, { recursive: true });
    const options = `lowerdir=${layers.join(':')},upperdir=${upper},workdir=${work}`;
    must('mount', ['-t', 'overlay', '-o', options, 'overlay', merged]);
    for (const place of ['/proc', '/dev', ...this.binds]) {
      const into = path.join(merged, place);
      fs.mkdirSync(into, { recursive: true });
      must('mount', ['--rbind', place, into]);
      if (this.binds.includes(place)) must('mount', ['-o', 'remount,bind,ro', into]);
    }
    for (const file of ['/etc/resolv.conf', '/etc/hosts']) fs.copyFileSync(file, path.join(merged, file));
    return { merged, layers: [upper, ...layers] };
  }

  build(stage, args, base) {
    const parent = this.#built.get(stage.base);
    const name = substitute(stage.base, args);
    if (!parent && !/^node:\d+-bookworm-slim$/.test(name))
      throw new SetupError(`FROM ${name}: only images of Node on Debian bookworm can be made here.`);
    const { merged, layers } = this.#mount(stage.name, parent?.layers ?? [base]);
    const state = { merged, layers, cwd: parent?.cwd ?? '/', env: { ...parent?.env }, entry: parent?.entry };
    // ARG counts in its stage alone, ENV in those built from it, too
    let local = {};
    for (const { instruction, text } of stage.steps) {
      const variables = { ...local, ...state.env };
      if (instruction === 'ARG') local = { ...local, ...assignments(text, variables), ...this.#given(text) };
      else if (instruction === 'ENV') Object.assign(state.env, assignments(text, variables));
      else if (instruction === 'WORKDIR') fs.mkdirSync(path.join(merged, (state.cwd = text)), { recursive: true });
      else if (instruction === 'ENTRYPOINT') state.entry = JSON.parse(text);
      else if (instruction === 'COPY') timed(`COPY ${text}`, () => this.#copy(state, substitute(text, variables)));
      else if (instruction === 'RUN') timed(`RUN ${text}`, () => this.run(state, ['/bin/sh', '-c', text], variables));
      else throw new SetupError(`${instruction} of the Dockerfile is not known to this script.`);
    }
    this.#built.set(stage.name, state);
    return state;
  }

  #given(text) {
    const name = text.split('=')[0];
    return name in this.args ? { [name]: this.args[name] } : {};
  }

  #copy(state, text) {
    const [, from, source, target] = /^(?:--from=(\S+) )?(\S+) (\S+)$/.exec(text) ?? [];
    const into = path.join(state.merged, path.posix.resolve(state.cwd, target ?? ''));
    if (source === '.' && from === undefined) return copyContext(into);
    const origin = this.#built.get(from);
    if (!origin) throw new SetupError(`COPY ${text} is not known to this script.`);
    fs.mkdirSync(into, { recursive: true });
    must('cp', ['-a', `${path.join(origin.merged, source)}/.`, into]);
  }

  run({ merged, cwd, env }, command, variables = env) {
    const settings = { PATH, HOME: '/root', ...this.environment, ...variables };
    const words = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
    const enter = ['-c', 'cd "$0" && exec "$@"', cwd, ...command];
    must('chroot', [merged, '/usr/bin/env', '-i', ...words, '/bin/sh', ...enter]);
  }
}

/** MiB that a stage adds to its base. */
function megabytes({ layers }) {
  const { stdout } = spawnSync('du', ['-sm', layers[0]], { encoding: 'utf8' });
  return Number(stdout.split('\t')[0]);
}

const list = { type: 'string', multiple: true, default: [] };
const OPTIONS = {
  target: { type: 'string', default: 'cpu' },
  folder: { type: 'string' },
  bind: list,
  env: list,
  'build-arg': list,
  list: { type: 'boolean', default: false },
};

function main() {
  const options = optionsOf(OPTIONS);
  const parsed = parseDockerfile(fs.readFileSync(path.join(root, 'Dockerfile'), 'utf8'));
  const stages = stagesOf(parsed, options.target);
  if (options.list) {
    for (const { name, base, steps } of stages) {
      console.log(`FROM ${base} AS ${name}`);
      for (const { instruction, text } of steps) console.log(`${instruction} ${text}`);
    }
    return;
  }
  if (process.getuid?.() !== 0) throw new SetupError('The steps of the Dockerfile need root.', 'Run it with sudo.');
  if (!which('debootstrap')) throw new SetupError('debootstrap is missing.', 'sudo apt-get install debootstrap');
  if (!process.env[INSIDE]) {
    const folder = options.folder ?? fs.mkdtempSync(path.join(os.tmpdir(), 'diffmine-dockerfile-'));
    const again = [process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2), '--folder', folder];
    const { status } = spawnSync('unshare', ['--mount', ...again], {
      env: { ...process.env, [INSIDE]: '1' },
      stdio: 'inherit',
    });
    // the mounts are gone
    if (!options.folder) fs.rmSync(folder, { recursive: true, force: true });
    process.exitCode = status ?? 70;
    return;
  }
  const folder = path.resolve(options.folder);
  const base = makeBase(folder);
  for (const { name } of stages) fs.rmSync(path.join(folder, name), { recursive: true, force: true });
  const named = (pairs) => Object.fromEntries(pairs.map((pair) => [pair.split('=')[0], pair.replace(/^[^=]*=/, '')]));
  const args = named(options['build-arg']);
  const roots = new Roots(folder, {
    binds: options.bind.map((place) => path.resolve(place)),
    environment: Object.fromEntries(options.env.map((name) => [name, process.env[name] ?? ''])),
    args,
  });
  const defaults = Object.assign({}, ...parsed.args.map(({ text }) => assignments(text, {})), args);
  let last;
  for (const stage of stages) {
    last = roots.build(stage, defaults, base);
    say(`            stage ${stage.name}: ${megabytes(last)} MiB more than its base`);
  }
  const demo = ['demo', '--out', '/tmp/demo', '--images-per-label', '4', '--samples', '4'];
  for (const words of [['--version'], ['doctor'], demo])
    timed([...last.entry, ...words].join(' '), () => roots.run({ ...last, cwd: '/' }, [...last.entry, ...words]));
}

if (isMain(import.meta.url)) {
  try {
    main();
  } catch (error) {
    fail(error);
  }
}
