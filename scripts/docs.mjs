// Writes the generated pages: docs/reference/cli.md from the schemas of the options, docs/reference/api/ from the
// types, with the options' descriptions and defaults from the same schemas; and the code on all pages from regions of tests (docs-code.mjs).
//
//   node scripts/docs.mjs            write all
//   node scripts/docs.mjs --check    write nothing; exit code 1 when a page is out of date
//   --only cli | api | code          one of them
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { codePages } from './docs-code.mjs';
import { compileTypeScript } from './packages.mjs';
import { fail, optionsOf, root, SetupError } from './steps.mjs';

/** The guide of each command, relative to docs/reference. */
const GUIDES = {
  setup: '../getting-started/install.md',
  doctor: '../guides/troubleshooting.md',
  inspect: '../guides/datasets/README.md',
  pull: '../guides/models.md',
  push: '../guides/buckets.md',
  'estimate-train': '../guides/training.md',
  estimate: '../guides/scoring.md#estimate-the-cost',
  train: '../guides/training.md',
  run: '../getting-started/quickstart.md',
  scan: '../guides/scoring.md',
  mine: '../guides/mining.md',
  report: '../guides/mining.md#the-report',
  evaluate: '../guides/evaluation.md',
  localize: '../guides/localization.md',
  export: '../guides/exporting.md',
  compare: '../guides/comparing-runs.md',
  sample: '../guides/sampling.md',
  translate: '../guides/translation.md',
  cotypicality: '../guides/consistent-changes.md',
  submit: '../guides/cluster.md',
  worker: '../guides/queue.md',
  status: '../guides/queue.md',
  retry: '../guides/queue.md',
  cancel: '../guides/queue.md',
  completion: '../getting-started/install.md#completion',
  demo: '../getting-started/demo.md',
  verify: '../contributing/verify.md',
  bench: '../guides/benchmarking.md',
};

const dist = (file) => import(pathToFileURL(path.join(root, 'dist', file)).href);

/** @returns each command's name, summary, examples and options as rows { group, flag, what, fallback }; `common` for every command */
async function optionTables() {
  const { COMMANDS, loadCommand } = await dist('cli/commands.js');
  const { COMMON, flagsOf } = await dist('cli/options.js');
  const commands = await Promise.all(COMMANDS.map(loadCommand));
  const rows = (command) =>
    Object.entries(flagsOf(command)).map(([name, option]) => ({
      group: option.group,
      flag: option.placed
        ? `\`${name.toUpperCase()}\``
        : `\`--${name}\`${option.alias ? `, \`${option.alias.length > 1 ? '--' : '-'}${option.alias}\`` : ''}`,
      what: `${option.help}${option.choices ? ` (${option.choices.join(', ')})` : ''}`,
      fallback: option.required ? 'required' : (option.fallback ?? ''),
    }));
  return {
    common: rows({ options: COMMON }),
    commands: commands.map((command) => ({
      name: command.name,
      summary: command.describe,
      examples: command.examples ?? [],
      options: rows(command),
    })),
  };
}

/** Where the schema of each type of options in the API reference is. */
const SCHEMAS = {
  ScanOptions: ['stages/scan/options.js', 'SCAN'],
  ScorerOptions: ['stages/scan/scorer-options.js', 'SCORER'],
  MineOptions: ['stages/mine/options.js', 'MINE'],
  ReportOptions: ['stages/report/options.js', 'REPORT'],
  EvaluateOptions: ['stages/evaluate/options.js', 'EVALUATE'],
  CompareOptions: ['tools/compare/options.js', 'COMPARE'],
  LocalizeOptions: ['stages/localize/options.js', 'LOCALIZE'],
  TrainOptions: ['stages/train/options.js', 'TRAIN'],
  SampleOptions: ['stages/sample/options.js', 'SAMPLE'],
  TranslateOptions: ['stages/translate/options.js', 'TRANSLATE'],
  QualityOptions: ['stages/translate/options.js', 'MEASUREMENT'],
  CotypicalityOptions: ['stages/cotypicality/options.js', 'COTYPICALITY'],
  EstimateOptions: ['tools/estimate/options.js', 'ESTIMATE'],
  EstimateTrainOptions: ['tools/estimate/options.js', 'ESTIMATE_TRAIN'],
  InspectOptions: ['tools/inspect/options.js', 'INSPECT'],
  VerifyOptions: ['tools/verify/options.js', 'VERIFY'],
  DemoOptions: ['tools/demo/options.js', 'DEMO'],
  PullOptions: ['tools/pull/options.js', 'PULL'],
  CropsOptions: ['tools/export/options.js', 'CROPS'],
  SplitOptions: ['stages/scan/options.js', 'SCAN'],
  MineSettings: ['options/scoring.js', 'MINING'],
};

/** The cells of a row of a table in Markdown. */
const cellsOf = (line) =>
  line
    .split(/(?<!\\)\|/)
    .slice(1, -1)
    .map((text) => text.trim());
const rowOf = (cells) => `| ${cells.join(' | ')} |`;

/** The tables of options in a page of the API reference, with what the schemas say in place of what typedoc knows. */
async function describeOptions(page) {
  const { defaultsOf, describeAll } = await dist('options/option.js');
  for (const [type, [file, name]] of Object.entries(SCHEMAS)) {
    const start = page.indexOf(`\n### ${type}\n`);
    if (start < 0) continue;
    const end = page.indexOf('\n***\n', start) < 0 ? page.length : page.indexOf('\n***\n', start);
    const schema = (await dist(file))[name];
    const about = new Map(describeAll(schema).map((option) => [option.key, option]));
    const defaults = defaultsOf(schema);
    const isRecord = type.endsWith('Settings'); // every option has a value
    const optionRow = (property, kind, fallback, description) =>
      rowOf(isRecord ? [property, kind, description] : [property, kind, fallback, description]);
    let columns = [];
    const described = page
      .slice(start, end)
      .replace(/\n- `ZodInfer[^\n]*|\n- `(input|[^\n`]*<)[^\n]*|\n- `[^\n]*`\\<[^\n]*/g, '')
      .replace('\n#### Extends\n\n\n', '\n')
      .split('\n')
      .map((line) => {
        if (line.startsWith('| Property | Type |')) {
          columns = cellsOf(line);
          return optionRow('Property', 'Type', 'Default', 'Description');
        }
        if (columns.length > 0 && line.startsWith('| ------')) return optionRow(...Array(4).fill('------'));
        const [, key, optional] = /^\| <a [^>]*><\/a> `(\w+)(\??)` \|/.exec(line) ?? [];
        if (key === undefined) return line;
        const [anchored, kind, ...others] = cellsOf(line);
        const option = about.get(key) ?? { description: others[columns.indexOf('Description') - 2] };
        const value = defaults[key];
        // As TypeScript has it; the command line writes lists as one text.
        const fallback = ['boolean', 'object'].includes(typeof value)
          ? `\`${JSON.stringify(value)}\``
          : option.fallback;
        const description = (option.description ?? '').replace(
          /; of a class model also separated by commas|, separated by commas|; may be given several times/g,
          '',
        );
        return optionRow(anchored, kind, optional ? cell(fallback ?? '') : 'required', cell(description));
      })
      .join('\n');
    page = page.slice(0, start) + described + page.slice(end);
  }
  const type = /\n### (\w+)\n(?:(?!\n### )[\s\S])*?z\.input/.exec(page)?.[1];
  if (type !== undefined)
    throw new SetupError(
      `The API reference has options without descriptions: ${type}.`,
      'Name their schema in SCHEMAS.',
    );
  return page;
}

/** Without typedoc's own words: a name for parameters that have none in the sources, `undefined` for no default. */
function polished(page) {
  const lines = page
    .replaceAll('__namedParameters', 'options')
    .replace(/^# (\w+)$/m, (_, name) => (name === 'index' ? '# diffmine' : `# diffmine/${name}`))
    .split('\n');
  const twice = lines.find((line) => /`options\??`, `options\??`/.test(line));
  if (twice !== undefined)
    throw new SetupError(`Two parameters would have one name: ${twice}`, 'Name the second with @param.');
  let column = -1;
  return lines
    .map((line) => {
      if (!line.startsWith('|')) column = -1;
      else if (column < 0) column = cellsOf(line).indexOf('Default value');
      else if (cellsOf(line)[column] === '`undefined`') return rowOf(cellsOf(line).with(column, '-'));
      return line;
    })
    .join('\n');
}

const cell = (text) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;');

/** Options by group, as --help has them; a single group needs no name. */
function tables(rows) {
  const groups = [...new Set(rows.map(({ group }) => group))];
  if (groups.length === 1) return table(rows);
  return groups.map((group) => `**${group}**\n\n${table(rows.filter((row) => row.group === group))}`).join('\n\n');
}

function table(rows) {
  const lines = rows.map(({ flag, what, fallback }) => `| ${flag} | ${cell(what)} | ${cell(fallback)} |`);
  return ['| option | description | default |', '|---|---|---|', ...lines].join('\n');
}

async function cliPage() {
  const { common, commands } = await optionTables();
  const sections = commands.map(({ name, summary, examples, options }) => {
    const usage = examples.map(([line, what]) => `${line}${what ? `   # ${what}` : ''}`).join('\n');
    return [
      `## diffmine ${name}`,
      `${summary}. Guide: [${path
        .basename(GUIDES[name])
        .replace(/\.md.*/, '')
        .replace('README', 'datasets')}](${GUIDES[name]}).`,
      ...(usage ? [`\`\`\`sh\n${usage}\n\`\`\``] : []),
      ...(options.length ? [tables(options)] : ['No options of its own.']),
    ].join('\n\n');
  });
  return `${[
    '# Command line',
    '<!-- Generated by scripts/docs.mjs from the schemas of the options. Do not edit. -->',
    'Options may also come from a YAML file: [configuration](config.md). ' +
      'Exit codes: [errors](errors.md). What goes to stdout and stderr: [output](config.md#output).',
    ['| command | description |', '|---|---|']
      .concat(commands.map(({ name, summary }) => `| [\`diffmine ${name}\`](#diffmine-${name}) | ${cell(summary)} |`))
      .join('\n'),
    '`diffmine COMMAND --help` prints the options of a command, `diffmine --version` the version and the LibTorch in use.',
    '## Options of every command',
    table(common),
    ...sections,
  ].join('\n\n')}\n`;
}

/** The public modules as their sources: the `exports` of package.json, dist/NAME.js being src/NAME.ts. */
function entryPoints() {
  const { exports = {} } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
  const built = [...JSON.stringify(exports).matchAll(/\.\/dist\/([\w/-]+)\.js/g)].map(([, name]) => `src/${name}.ts`);
  return built.length ? [...new Set(built)] : ['src/index.ts'];
}

/** What only makes up an exported type. A type that users meet and that is not exported is an error. */
const HIDDEN = ['Output', 'Subject', 'Orders', 'Unset', 'Added'].map((name) => `src/stages/train/options.ts:${name}`);

/** Writes the API reference into `out`: one page per entry point. */
function writeApi(out) {
  const typedoc = path.join(path.dirname(createRequire(import.meta.url).resolve('typedoc')), '..', 'bin', 'typedoc');
  const flags = {
    plugin: 'typedoc-plugin-markdown',
    tsconfig: 'tsconfig.json',
    outputFileStrategy: 'modules',
    readme: 'none',
    logLevel: 'Warn',
    parametersFormat: 'table',
    propertiesFormat: 'table',
    propertyMembersFormat: 'table',
    typeDeclarationFormat: 'table',
  };
  const args = [
    ...entryPoints().flatMap((file) => ['--entryPoints', file]),
    ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]),
    ...['disableSources', 'hidePageHeader', 'hideBreadcrumbs', 'skipErrorChecking', 'excludeExternals'].map(
      (name) => `--${name}`,
    ),
    ...['excludePrivate', 'excludeProtected', 'excludeInternal', 'treatWarningsAsErrors'].map((name) => `--${name}`),
    ...HIDDEN.flatMap((name) => ['--intentionallyNotExported', name]),
    '--out',
    out,
  ];
  const { status } = spawnSync(process.execPath, [typedoc, ...args], { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0)
    throw new SetupError(
      'typedoc finds something wrong in the API reference (see above).',
      'A type that is "not included in the documentation": export it from its entry point (src/index.ts, engine.ts, bench.ts, demo.ts), or mark what names it as @internal.',
    );
}

const API_INDEX = `# API

<!-- Generated by scripts/docs.mjs from the types. Do not edit. -->

Every export with its types. Examples: [TypeScript](../../guides/typescript.md).

| import from | what |
|---|---|
| [\`diffmine\`](index.md) | the stages, datasets, models, runs and errors |
| [\`diffmine/engine\`](engine.md) | the native core |
| [\`diffmine/bench\`](bench.md) | benchmarks and comparison with a baseline |
| [\`diffmine/demo\`](demo.md) | the demo and the synthetic dataset |
`;

/** Files of a folder with their text, by path relative to it. */
function texts(folder) {
  if (!fs.existsSync(folder)) return {};
  const names = fs.readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.md'));
  return Object.fromEntries(names.sort().map((name) => [name, fs.readFileSync(path.join(folder, name), 'utf8')]));
}

/** What links can lead to on a page: ids, and headings by the names that GitHub gives them. */
function anchorsOf(page) {
  const anchors = new Map([...page.matchAll(/<a id="([^"]+)">/g)].map(([, id]) => [id, '']));
  const seen = new Map();
  for (const [, heading] of page.matchAll(/^#+ (.*)$/gm)) {
    const text = heading.replace(/[`\\]/g, '');
    const slug = text
      .toLowerCase()
      .replace(/[^\w -]/g, '')
      .replaceAll(' ', '-');
    const count = seen.get(slug) ?? 0;
    seen.set(slug, count + 1);
    anchors.set(count ? `${slug}-${count}` : slug, text.replace(/^abstract /, ''));
  }
  return anchors;
}

/**
 * Pages whose links lead somewhere: typedoc numbers headings and ids in one sequence, GitHub does not.
 * @param pages their texts by name, such as index.md
 */
function relinked(pages) {
  const anchors = new Map(Object.entries(pages).map(([name, text]) => [name, anchorsOf(text)]));
  const relink = (name, text) =>
    text.replace(/\[`(\w+)`\]\(([\w.]*)#([\w-]+)\)/g, (link, type, file, target) => {
      const known = anchors.get(file || name);
      if (!known || known.has(target)) return link;
      const [slug] = [...known].find(([, heading]) => heading === type) ?? [];
      if (slug === undefined) throw new SetupError(`docs/reference/api/${name}: ${link} leads nowhere.`);
      return `[\`${type}\`](${file}#${slug})`;
    });
  return Object.fromEntries(Object.entries(pages).map(([name, text]) => [name, relink(name, text)]));
}

/** Pages by path relative to the root. */
async function generate(only) {
  const pages = only === undefined || only === 'code' ? codePages() : {};
  if (only === undefined || only === 'cli') {
    await compileTypeScript();
    pages['docs/reference/cli.md'] = await cliPage();
  }
  if (only === undefined || only === 'api') {
    await compileTypeScript();
    const api = {};
    const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'diffmine-api-'));
    try {
      writeApi(scratch);
      for (const [name, text] of Object.entries(texts(scratch))) api[name] = polished(await describeOptions(text));
    } finally {
      fs.rmSync(scratch, { recursive: true });
    }
    for (const [name, text] of Object.entries(relinked(api))) pages[path.join('docs/reference/api', name)] = text;
    pages['docs/reference/api/README.md'] = API_INDEX;
  }
  return pages;
}

async function main() {
  const { check, only } = optionsOf({ check: { type: 'boolean' }, only: { type: 'string' } });
  if (only !== undefined && !['cli', 'api', 'code'].includes(only))
    throw new SetupError(`There is no part "${only}".`, 'One of: cli, api, code.');
  const pages = await generate(only);
  const api = Object.keys(texts(path.join(root, 'docs/reference/api'))).map((name) =>
    path.join('docs/reference/api', name),
  );
  const stale = api.filter((name) => (only === undefined || only === 'api') && !(name in pages));
  const present = (name) => {
    const file = path.join(root, name);
    return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : undefined;
  };
  const changed = Object.keys(pages).filter((name) => pages[name] !== present(name));
  if (check) {
    for (const name of [...changed, ...stale]) console.error(`${name} is out of date.`);
    if (changed.length + stale.length > 0) {
      console.error('Run: node scripts/docs.mjs');
      process.exitCode = 1;
    }
    return;
  }
  for (const name of stale) fs.rmSync(path.join(root, name));
  for (const name of changed) {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    fs.writeFileSync(path.join(root, name), pages[name]);
    console.log(`wrote ${name}`);
  }
}

main().catch(fail);
