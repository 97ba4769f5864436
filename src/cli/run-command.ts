// Runs one command: declares its options to yargs, checks what was given, and calls its handler.
import type { Argv } from 'yargs';
import { DiffmineError, asDiffmineError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import { cancelOnSignals } from './cancel.js';
import type { Command, Outcome } from './command.js';
import { COMMANDS, loadCommand } from './commands.js';
import { readConfig } from './config.js';
import { COMMON, flagsOf, namingFor, readValues, type Flag } from './options.js';
import type { Output } from './output.js';

/** A command that is loaded. */
export interface Runnable {
  declare(sub: Argv): Argv;
  /**
   * @param line the words after --, if there is a command that takes them
   * @returns the exit code
   */
  run(parsed: Record<string, unknown>, output: Output, line?: readonly string[]): Promise<number>;
}

const COMMON_FLAGS = flagsOf({ options: COMMON });

export function runnable(command: Command): Runnable {
  return {
    declare: (sub) => declare(sub, command),
    run: (parsed, output, line) => run(command, parsed, output, line),
  };
}

/** The options of a command for yargs: names, help and groups only; values are checked by readValues. */
export function declare(sub: Argv, one: Command): Argv {
  sub.usage(
    `diffmine ${one.name} ${(one.places ?? []).map((name) => name.toUpperCase()).join(' ')} [options]${one.line ? ' -- COMMAND ...' : ''}\n\n${one.describe}`,
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

/** What was typed for a command's options and those of every command, and what the configuration file sets, by name. */
export async function rawOf(
  one: Command,
  parsed: Record<string, unknown>,
): Promise<Record<'flags' | 'file', Record<string, unknown>>> {
  const table = { ...flagsOf(one), ...COMMON_FLAGS };
  refuseUnknown(one, table, parsed);
  const flags = Object.fromEntries(
    Object.entries(table).map(([name, { list }]) => [name, list ? parsed[name] : lastOf(parsed[name])]),
  );
  let file: Record<string, unknown> = {};
  if (typeof flags['config'] === 'string') {
    const all = [{ options: COMMON }, ...(await Promise.all(COMMANDS.map(loadCommand)))];
    const known = new Set(all.flatMap((other) => Object.keys(flagsOf(other))));
    file = await readConfig(flags['config'], new Set(Object.keys(table)), known);
  }
  return { flags, file };
}

async function run(
  one: Command,
  parsed: Record<string, unknown>,
  output: Output,
  line: readonly string[] | undefined,
): Promise<number> {
  output.nameOptions(namingFor(one));
  if (line && !one.line) refuseSurplus(one, line);
  const { flags, file } = await rawOf(one, parsed);
  const { json = false, quiet = false, verbose = false } = readValues({ options: COMMON }, flags, file, one.name);
  output.configure({ json, quiet, verbose });
  const values = readValues(one, flags, file, one.name);
  const cancel = cancelOnSignals((name, first) => {
    if (first)
      output.log(
        one.stopping?.(values) ??
          (name === 'SIGINT'
            ? 'Stopping after the current batch. Press Ctrl-C again to quit now.'
            : `${name}: stopping after the current batch.`),
      );
    else output.endProgress();
  });
  let outcome: Outcome | undefined;
  try {
    if (typeof one.native === 'function' ? one.native(values) : one.native) {
      const { ensureSetup } = await import('../tools/setup/setup.js');
      await ensureSetup({ onLog: (line) => output.log(line), signal: cancel.signal });
    }
    outcome = await one.handle(values, { output, signal: cancel.signal, line: line ?? [] });
  } catch (thrown) {
    const error = asDiffmineError(thrown);
    if (error.code !== 'CANCELLED' && !cancel.signal.aborted) throw error;
    throw new DiffmineError(
      'CANCELLED',
      cancel.signal.aborted ? 'Interrupted.' : error.message,
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
  refuseSurplus(one, (parsed['_'] as unknown[]).slice(1));
}

function refuseSurplus(one: Command, surplus: readonly unknown[]): void {
  if (surplus.length > 0) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${one.name} got an unexpected argument "${String(surplus[0])}".`,
      `Quote values that contain spaces. See: diffmine ${one.name} --help`,
    );
  }
}
