// The command line: parses flags with yargs, runs the command, prints its result or error, and sets the exit code.
// It loads nothing large, so that --help is fast.
import { createRequire } from 'node:module';
import type { Argv } from 'yargs';
import { DiffmineError, EXIT_CODES, asDiffmineError } from '../util/errors.js';
import { cancelOnSignals } from './cancel.js';
import type { Command, Outcome } from './command.js';
import { benchCommand } from './commands/bench.js';
import { cotypicalityCommand } from './commands/cotypicality.js';
import { demoCommand } from './commands/demo.js';
import { doctorCommand } from './commands/doctor.js';
import { estimateCommand } from './commands/estimate.js';
import { evaluateCommand } from './commands/evaluate.js';
import { exportCommand } from './commands/export.js';
import { inspectCommand } from './commands/inspect.js';
import { localizeCommand } from './commands/localize.js';
import { mineCommand } from './commands/mine.js';
import { reportCommand } from './commands/report.js';
import { runCommand } from './commands/run.js';
import { sampleCommand } from './commands/sample.js';
import { scanCommand } from './commands/scan.js';
import { setupCommand } from './commands/setup.js';
import { trainCommand } from './commands/train.js';
import { translateCommand } from './commands/translate.js';
import { verifyCommand } from './commands/verify.js';
import { readConfig } from './config.js';
import { nearest } from '../util/nearest.js';
import { COMMON, flagsOf, namingFor, readValues, type Flag } from './options.js';
import { Output } from './output.js';

// Its ESM build breaks help texts in the middle of words.
const yargs = createRequire(import.meta.url)('yargs') as typeof import('yargs').default;

export const COMMANDS: Command[] = [
  setupCommand,
  doctorCommand,
  inspectCommand,
  estimateCommand,
  trainCommand,
  runCommand,
  scanCommand,
  mineCommand,
  reportCommand,
  cotypicalityCommand,
  evaluateCommand,
  exportCommand,
  localizeCommand,
  sampleCommand,
  translateCommand,
  demoCommand,
  verifyCommand,
  benchCommand,
];

const COMMON_FLAGS = flagsOf({ options: COMMON });

const PARSING = {
  'boolean-negation': false,
  'camel-case-expansion': false,
  'dot-notation': false,
  'parse-numbers': false,
  'parse-positional-numbers': false,
};

/**
 * Runs one command line.
 * @param argv the arguments after `node diffmine.js`
 * @returns the exit code, which is also set as process.exitCode
 */
export async function main(argv: string[]): Promise<number> {
  const end = argv.indexOf('--');
  const flags = end < 0 ? argv : argv.slice(0, end);
  const has = (...names: string[]): boolean => names.some((name) => flags.includes(name));
  const output = new Output({ json: has('--json'), quiet: has('--quiet', '-q'), verbose: has('--verbose', '-v') });
  let exitCode: number;
  try {
    exitCode = await parse(argv, flags, output);
  } catch (thrown) {
    const error = asDiffmineError(thrown);
    if (error.code === 'INTERNAL') output.log('This is a bug in diffmine. Run again with -v and report the output.');
    await output.error(error);
    exitCode = error.exitCode;
  }
  process.exitCode = exitCode;
  return exitCode;
}

async function parse(argv: string[], flags: string[], output: Output): Promise<number> {
  const first = flags.find((word) => !word.startsWith('-'));
  if (first === undefined && flags.includes('--version')) {
    const { version } = await import('./version.js');
    await output.result(...version());
    return 0;
  }
  let exitCode = 0;
  let chosen: Promise<void> | undefined;
  const parser = yargs()
    .scriptName('diffmine')
    .usage(
      '$0 COMMAND [options]\n\nFinds the image patches that are typical of each label, with a conditional diffusion model.',
    )
    .locale('en')
    .parserConfiguration(PARSING)
    .exitProcess(false)
    .version(false)
    .help('help', 'Show help', true)
    .alias('help', 'h')
    .showHelpOnFail(false)
    .fail((message, error) => {
      throw error instanceof DiffmineError
        ? error
        : new DiffmineError('INVALID_ARGUMENT', usageSentence(message ?? error.message), 'See: diffmine --help');
    })
    .option('version', { describe: 'Show the version and the LibTorch in use', type: 'boolean', group: 'Output:' })
    .wrap(Math.min(120, process.stdout.columns ?? 100))
    .epilogue(
      `Exit codes: 0 done, ${EXIT_CODES.CHECK_FAILED} check failed, ${EXIT_CODES.INVALID_ARGUMENT} wrong option, ${EXIT_CODES.MODEL_INVALID} unusable input, ${EXIT_CODES.SETUP} set-up or device, ${EXIT_CODES.IO} reading or writing, ${EXIT_CODES.RUN_MISMATCH} another run's folder, ${EXIT_CODES.NUMERICS} results not finite, ${EXIT_CODES.INTERNAL} bug, ${EXIT_CODES.CANCELLED} interrupted.`,
    );
  for (const one of COMMANDS) {
    parser.command(
      [one.name, ...(one.places ?? []).map((name) => `[${name}]`)].join(' '),
      one.describe,
      (sub: Argv) => declare(sub, one),
      (parsed) => {
        chosen = run(one, parsed as Record<string, unknown>, output).then((code) => void (exitCode = code));
      },
    );
  }
  if (first === undefined && !flags.some((flag) => flag === '--help' || flag === '-h')) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      'No command was given.',
      `One of: ${COMMANDS.map((one) => one.name).join(', ')}. See: diffmine --help`,
    );
  }
  // yargs looks names up in plain objects, where it finds these
  const inherited = flags.find((word) => word.startsWith('--') && (word.slice(2).split('=')[0] as string) in {});
  if (inherited !== undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `There is no option ${inherited.split('=')[0]}.`,
      'See: diffmine --help',
    );
  let help = '';
  await parser.parseAsync(argv, {}, (_error, _parsed, printed) => {
    help = printed;
  });
  if (help !== '') await output.raw(`${help}\n`);
  if (!chosen && !flags.some((flag) => flag === '--help' || flag === '-h')) {
    const word = first ?? '';
    const guess = nearest(
      word,
      COMMANDS.map((one) => one.name),
      3,
    );
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `There is no command "${word}".`,
      guess ? `Did you mean diffmine ${guess}?` : 'See: diffmine --help',
    );
  }
  await chosen;
  return exitCode;
}

/** The options of a command for yargs: names, help and groups only; values are checked by readValues. */
function declare(sub: Argv, one: Command): Argv {
  sub.usage(
    `diffmine ${one.name} ${(one.places ?? []).map((name) => name.toUpperCase()).join(' ')} [options]\n\n${one.describe}`,
  );
  for (const [name, option] of Object.entries({ ...flagsOf(one), ...COMMON_FLAGS })) {
    if (option.placed) {
      sub.positional(name, { describe: option.help, type: 'string' });
      continue;
    }
    sub.option(name, {
      describe:
        option.help +
        (option.choices ? ` [${option.choices.join(' | ')}]` : '') +
        (option.required ? ' [required]' : '') +
        (option.fallback === undefined ? '' : ` [default: ${option.fallback}]`),
      group: `${option.group}:`,
      ...(option.alias ? { alias: option.alias } : {}),
      ...(option.flag ? { boolean: true } : option.bare ? { string: true } : { nargs: 1 }),
    });
  }
  for (const [line, what] of one.examples ?? []) sub.example(line, what);
  return sub;
}

async function run(one: Command, parsed: Record<string, unknown>, output: Output): Promise<number> {
  output.nameOptions(namingFor(one));
  const table = { ...flagsOf(one), ...COMMON_FLAGS };
  refuseUnknown(one, table, parsed);
  const flags = Object.fromEntries(
    Object.entries(table).map(([name, { list }]) => [name, list ? parsed[name] : lastOf(parsed[name])]),
  );
  let file: Record<string, unknown> = {};
  if (typeof flags['config'] === 'string') {
    const all = new Set([{ options: COMMON }, ...COMMANDS].flatMap((other) => Object.keys(flagsOf(other))));
    file = await readConfig(flags['config'], new Set(Object.keys(table)), all);
  }
  const { json = false, quiet = false, verbose = false } = readValues({ options: COMMON }, flags, file, one.name);
  output.configure({ json, quiet, verbose });
  const values = readValues(one, flags, file, one.name);
  const cancel = cancelOnSignals((name, first) => {
    if (first)
      output.log(
        name === 'SIGINT'
          ? 'Stopping after the current batch. Press Ctrl-C again to quit now.'
          : `${name}: stopping after the current batch.`,
      );
    else output.endProgress();
  });
  let outcome: Outcome | undefined;
  try {
    if (typeof one.native === 'function' ? one.native(values) : one.native) {
      const { ensureSetup } = await import('../tools/setup/setup.js');
      await ensureSetup({ onLog: (line) => output.log(line), signal: cancel.signal });
    }
    outcome = await one.handle(values, { output, signal: cancel.signal });
  } catch (thrown) {
    const error = asDiffmineError(thrown);
    if (error.code !== 'CANCELLED' && !cancel.signal.aborted) throw error;
    throw new DiffmineError(
      'CANCELLED',
      'Interrupted.',
      error.code === 'CANCELLED' ? (error.hint ?? one.resumeHint) : one.resumeHint,
      { cause: thrown },
    );
  } finally {
    output.endProgress();
    cancel.release();
  }
  if (outcome) await output.result(outcome.text, outcome.json);
  return outcome?.exitCode ?? 0;
}

/** Of an option that takes no list the last value counts: a line can be recalled and amended at its end. */
function lastOf(value: unknown): unknown {
  return Array.isArray(value) ? value.at(-1) : value;
}

/** yargs keeps what it does not know; a mistyped option must never be ignored. */
function refuseUnknown(one: Command, table: Record<string, Flag>, parsed: Record<string, unknown>): void {
  const known = new Set([
    ...Object.keys(table),
    ...Object.values(table).flatMap((option) => option.alias ?? []),
    'help',
    'h',
    'version',
    '$0',
    '_',
    '--',
  ]);
  const unknown = Object.keys(parsed).find((name) => !known.has(name));
  if (unknown !== undefined) {
    const guess = nearest(
      unknown,
      Object.keys(table).filter((name) => !table[name]?.placed),
      4,
    );
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${one.name} has no option ${unknown.length === 1 ? '-' : '--'}${unknown}.`,
      `${guess ? `Did you mean --${guess}? ` : ''}See: diffmine ${one.name} --help`,
    );
  }
  const surplus = (parsed['_'] as unknown[]).slice(1);
  if (surplus.length > 0) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${one.name} got an unexpected argument "${String(surplus[0])}".`,
      `Quote values that contain spaces. See: diffmine ${one.name} --help`,
    );
  }
}

/** yargs' own complaints (an option without its value) as a sentence. */
function usageSentence(message: string): string {
  const missing = /^Not enough arguments following: (.+)$/.exec(message)?.[1];
  return missing ? `--${missing} needs a value.` : `${message.replace(/\.$/, '')}.`;
}
