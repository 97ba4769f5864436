// docs/reference/cli.md says what the command line does; docs/guides/typescript.md compiles.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { COMMANDS } from '../../src/cli/main.js';
import { COMMON, type Option, type OptionTable } from '../../src/cli/options.js';
import { EXIT_CODES } from '../../src/util/errors.js';
import { ROOT } from './cli.js';

const cliDoc = readFileSync(path.join(ROOT, 'docs', 'reference', 'cli.md'), 'utf8');

/** The row of an option as the document has it. */
function row(name: string, option: Option<unknown>): string {
  const flag = option.positional
    ? `\`${name.toUpperCase()}\``
    : `\`--${name}\`${option.alias ? `, \`-${option.alias}\`` : ''}`;
  const shown =
    option.shownDefault ??
    (option.flag || option.fallback === undefined ? '' : String(option.fallback as string | number));
  return `| ${flag} | ${option.describe}${option.choices ? ` (${option.choices.join(', ')})` : ''} | ${option.required ? 'required' : shown} |`;
}

function expectRows(text: string, options: OptionTable): void {
  const rows = text.split('\n').filter((line) => /^\| `(--)?[\w-]+`/.test(line));
  expect(rows).toEqual(Object.entries(options).map(([name, option]) => row(name, option)));
}

test('docs/reference/cli.md lists the commands', () => {
  for (const { name, describe: what } of COMMANDS) expect(cliDoc).toContain(`| \`diffmine ${name}\` | ${what} |`);
});

test('docs/reference/cli.md lists what every command takes', () => {
  expectRows(cliDoc.slice(cliDoc.indexOf('## Every command'), cliDoc.indexOf('## Exit codes')), COMMON);
});

test.each(COMMANDS.map((one) => [one.name, one] as const))(
  'docs/reference/cli.md lists the options of %s, no more and no less',
  (name, { options }) => {
    const start = cliDoc.indexOf(`### diffmine ${name}\n`);
    expect(start).toBeGreaterThan(0);
    const end = cliDoc.indexOf('\n### ', start + 1);
    expectRows(cliDoc.slice(start, end < 0 ? undefined : end), options);
  },
);

test('docs/reference/cli.md has every exit code', () => {
  const exits = cliDoc.slice(cliDoc.indexOf('## Exit codes'), cliDoc.indexOf('## Commands'));
  const documented = exits.split('\n').flatMap((line) => {
    const [, code, names] = /^\| (\d+) \| ([^|]*) \|/.exec(line) ?? [];
    return code === undefined ? [] : [...(names ?? '').matchAll(/`(\w+)`/g)].map(([, name]) => [name, Number(code)]);
  });
  expect(Object.fromEntries(documented)).toEqual(EXIT_CODES);
});

test('the examples of README and docs/guides/typescript.md compile against the sources', () => {
  const markdown = ['README.md', 'docs/guides/typescript.md']
    .map((file) => readFileSync(path.join(ROOT, file), 'utf8'))
    .join('\n');
  // an example with await at the top level is a program: as a function, it compiles as CommonJS, too
  const examples = [...markdown.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) =>
    (code ?? '').replace(
      /^await [\s\S]*/m,
      (program) => `export async function program(): Promise<void> {\n${program}}\n`,
    ),
  );
  expect(examples.length).toBeGreaterThanOrEqual(3);
  // Each example is a module of its own, in a file that exists only here.
  const files = new Map(
    examples.map((code, i) => [
      path.join(ROOT, 'test', `api-example-${i}.ts`),
      code.replaceAll("'diffmine'", "'../src/index.js'").replace(/'diffmine\/(\w+)'/g, "'../src/$1.js'"),
    ]),
  );
  const { config } = ts.readConfigFile(path.join(ROOT, 'tsconfig.json'), (file) => ts.sys.readFile(file)) as {
    config: { compilerOptions: object };
  };
  const { options } = ts.convertCompilerOptionsFromJson(
    { ...config.compilerOptions, rootDir: ROOT, noEmit: true },
    ROOT,
  );
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (file) => files.has(path.normalize(file)) || fileExists(file);
  host.readFile = (file) => files.get(path.normalize(file)) ?? readFile(file);
  host.getSourceFile = (file, language) => {
    const code = files.get(path.normalize(file));
    return code === undefined ? getSourceFile(file, language) : ts.createSourceFile(file, code, language);
  };
  const program = ts.createProgram([...files.keys()], options, host);
  const messages = [...files.keys()].flatMap((file) => {
    const source = program.getSourceFile(file);
    if (!source) throw new Error(`${file} was not compiled`);
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
  });
  expect(messages.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))).toEqual([]);
});
