// The command line: parses flags with yargs, runs the command, prints its result or error, and sets the exit code.
// It loads the module of the command that is called, and nothing large, so that --help is fast.
import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { DiffmineError, EXIT_CODES, asDiffmineError } from '../util/errors.js';
import type { Group } from '../options/option.js';
import { COMMANDS, loadCommand } from './commands.js';
import { nearest } from '../util/nearest.js';
import { quoted } from '../util/shell.js';
import { Output } from './output.js';
import { PARSING } from './parsing.js';
import type { Runnable } from './run-command.js';

// Its ESM build breaks help texts in the middle of words.
const yargs = createRequire(import.meta.url)('yargs') as typeof import('yargs').default;

const EVERY_COMMAND: `${Group}:` = 'Every command:';

/** Say how to print, not what to do. */
const OUTPUT_FLAGS: ReadonlySet<string> = new Set(['--json', '--quiet', '-q', '--verbose', '-v']);

/**
 * Runs one command line.
 * @param words the arguments after `node diffmine.js`
 * @returns the exit code, which is also set as process.exitCode
 */
export async function main(words: string[]): Promise<number> {
  const argv = joined(words);
  const end = argv.indexOf('--');
  const flags = end < 0 ? argv : argv.slice(0, end);
  const has = (...names: string[]): boolean => names.some((name) => flags.includes(name));
  const output = new Output({ json: has('--json'), quiet: has('--quiet', '-q'), verbose: has('--verbose', '-v') });
  let exitCode: number;
  try {
    refuseBytes(words);
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

/**
 * Node gives arguments as text, in which U+FFFD is in the place of bytes that are not UTF-8: another file would be read or written.
 *
 * @throws INVALID_ARGUMENT
 */
function refuseBytes(words: readonly string[]): void {
  const replaced = words.find((word) => word.includes('\ufffd'));
  if (replaced === undefined) return;
  try {
    if (isUtf8(readFileSync('/proc/self/cmdline'))) return;
  } catch {
    return; // no Linux: arguments are text
  }
  throw new DiffmineError(
    'INVALID_ARGUMENT',
    `The argument ${JSON.stringify(replaced)} is not UTF-8.`,
    'Rename the file or folder, or make a link to it with a name in UTF-8 and give that. Names below a folder may be any bytes.',
  );
}

/** `estimate train` is a command of its own; a dataset of that name is given as ./train. */
function joined([first, second, ...rest]: string[]): string[] {
  const words = [first, second].filter((word) => word !== undefined);
  return first === 'estimate' && second === 'train' ? ['estimate-train', ...rest] : [...words, ...rest];
}

async function parse(argv: string[], flags: string[], output: Output): Promise<number> {
  const first = flags.find((word) => !word.startsWith('-'));
  if (first === undefined && flags.includes('--version')) {
    const { version } = await import('./version.js');
    await output.result(...version());
    return 0;
  }
  if (argv.every((word) => OUTPUT_FLAGS.has(word))) {
    const { introduction } = await import('./introduction.js');
    await output.result(...introduction());
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
    .fail((message: string | null, error) => {
      throw error instanceof DiffmineError ? error : usageError(message ?? error.message, own);
    })
    .option('version', { describe: 'Show the version and the LibTorch in use', type: 'boolean', group: EVERY_COMMAND })
    .group('help', EVERY_COMMAND)
    .wrap(process.stdout.isTTY ? Math.min(120, process.stdout.columns) : 100)
    .epilogue(
      `Exit codes: 0 done, ${EXIT_CODES.CHECK_FAILED} check failed, ${EXIT_CODES.INVALID_ARGUMENT} wrong option, ${EXIT_CODES.MODEL_INVALID} unusable input, ${EXIT_CODES.SETUP} set-up or device, ${EXIT_CODES.IO} reading or writing, ${EXIT_CODES.RUN_MISMATCH} another run's folder, ${EXIT_CODES.NUMERICS} results not finite, ${EXIT_CODES.INTERNAL} bug, ${EXIT_CODES.CANCELLED} interrupted.`,
    );
  const takesLine = argv.length > flags.length && COMMANDS.some(({ name, line }) => line && flags.includes(name));
  const own = takesLine ? flags : argv;
  const line = takesLine ? argv.slice(flags.length + 1) : undefined;
  const named = await loadNamed(own);
  for (const { name, describe, places = [] } of COMMANDS) {
    const command = named.get(name);
    parser.command(
      [name, ...places.map((place) => `[${place}]`)].join(' '),
      describe,
      (sub) => command?.declare(sub),
      (parsed) => {
        chosen = command?.run(parsed, output, line).then((code) => void (exitCode = code));
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
  await parser.parseAsync(own, {}, (_error, _parsed, printed) => {
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

/** The commands whose names are among the words: yargs says later which of the words is the command. */
async function loadNamed(argv: readonly string[]): Promise<Map<string, Runnable>> {
  const named = COMMANDS.filter(({ name }) => argv.includes(name));
  if (named.length === 0) return new Map();
  const { runnable } = await import('./run-command.js');
  return new Map(await Promise.all(named.map(async (one) => [one.name, runnable(await loadCommand(one))] as const)));
}

/** yargs' own complaints (an option without its value) as a sentence. */
function usageError(message: string, words: readonly string[]): DiffmineError {
  const missing = /^Not enough arguments following: (.+)$/.exec(message)?.[1];
  const next = missing ? words[words.indexOf(`--${missing}`) + 1] : undefined;
  return new DiffmineError(
    'INVALID_ARGUMENT',
    missing ? `--${missing} needs a value.` : `${message.replace(/\.$/, '')}.`,
    next?.startsWith('-')
      ? `Write a value that begins with "-" as --${missing}=${quoted(next)}. See: diffmine --help`
      : 'See: diffmine --help',
  );
}
