// The options of a command as yargs knows them, and what was given for them.
import type { Argv } from 'yargs';
import { DiffmineError } from '../util/errors.js';
import { guesses } from '../util/nearest.js';
import type { Command } from './command.js';
import { COMMANDS, loadCommand } from './commands.js';
import { readConfig } from './config.js';
import { COMMON, flagsOf, type Flag } from './options.js';

const COMMON_FLAGS = flagsOf({ options: COMMON });

/** The options of a command for yargs: names, help and groups only; values are checked by readValues. */
export function declare(sub: Argv, one: Command): Argv {
  const flags = flagsOf(one);
  const places = (one.places ?? []).map((name) => placeholder(name, flags[name]));
  const line = ['diffmine', one.name, ...places, '[options]', ...(one.line ? ['-- COMMAND ...'] : [])].join(' ');
  sub.usage(`${line}\n\n${one.describe}`);
  for (const [name, option] of Object.entries({ ...flags, ...COMMON_FLAGS })) {
    if (option.placed) {
      sub.positional(name, { describe: option.help + (option.choices ? ` [${option.choices.join(' | ')}]` : '') });
      continue;
    }
    sub.option(name, {
      describe:
        option.help +
        (option.choices ? ` [${option.choices.join(' | ')}]` : '') +
        (option.bare === undefined ? '' : ` [--${name} or --${name} ${option.bare}]`) +
        (option.required ? ' [required]' : '') +
        (option.fallback === undefined ? '' : ` [default: ${option.fallback}]`),
      group: `${option.group}:`,
      ...(option.alias ? { alias: option.alias } : {}),
      ...(option.flag ? { boolean: true } : option.bare === undefined ? { nargs: 1 } : { string: true }),
    });
  }
  for (const [line, what] of one.examples ?? []) sub.example(line, what);
  return sub;
}

/** A positional option in the usage line: DATASET, or [DATASET] if it may be left out. */
const placeholder = (name: string, flag: Flag | undefined): string =>
  flag?.required === false ? `[${name.toUpperCase()}]` : name.toUpperCase();

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
    const texts = Object.keys(table).filter((name) => table[name]?.field.safeParse('any text').success);
    file = await readConfig(flags['config'], new Set(Object.keys(table)), known, new Set(texts));
  }
  return { flags, file };
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
    const meant = guesses(
      unknown,
      Object.keys(table).filter((name) => !table[name]?.placed),
    ).map((name) => `--${name}`);
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${one.name} has no option ${unknown.length === 1 ? '-' : '--'}${unknown}.`,
      `${meant.length > 0 ? `Did you mean ${meant.join(' or ')}? ` : ''}See: diffmine ${one.name} --help`,
    );
  }
  refuseSurplus(one, (parsed['_'] as unknown[]).slice(1));
}

/** Refuses words that the command has no place for. */
export function refuseSurplus(one: Command, surplus: readonly unknown[]): void {
  if (surplus.length > 0) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${one.name} got an unexpected argument "${String(surplus[0])}".`,
      `Quote values that contain spaces. See: diffmine ${one.name} --help`,
    );
  }
}
