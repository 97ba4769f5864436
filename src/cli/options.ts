// The options of commands as flags: a stage's schema (src/options) under the names of the command line and of configuration files, which are the
// keys of the API in kebab case. The order of precedence: flag, then --config file, then the default of the stage.
import { given, type Given, taken } from '../options/check.js';
import * as fields from '../options/fields.js';
import { describeAll, GROUPS, kebab, option, optionsOf, type Described, type Schema } from '../options/option.js';
import { DiffmineError } from '../util/errors.js';

/** Every command has these. `json`, `config`, `help` and `version` are read before anything else. */
export const COMMON = optionsOf('diffmine', {
  config: option(fields.path().optional(), {
    group: 'Every command',
    description: 'YAML file with options; flags take precedence',
  }),
  json: option(fields.flag().default(false), {
    group: 'Every command',
    description: 'Print the result, or the error, as JSON on stdout',
  }),
  quiet: option(fields.flag().default(false), {
    group: 'Every command',
    description: 'Print errors only: no progress, no notes',
    alias: 'q',
  }),
  verbose: option(fields.flag().default(false), {
    group: 'Every command',
    description: 'Print more notes, and errors with cause and stack',
    alias: 'v',
  }),
});

/** Of commands on a run. */
export const RUN = {
  run: option(fields.path(), {
    group: 'Input',
    description: 'Run written by scan: a directory, or s3://BUCKET/PREFIX',
  }),
};

/** What has options: a command, or the options of every command. */
export interface Optioned<S extends Schema = Schema> {
  options: S;
  /** keys of positional options */
  places?: readonly string[];
}

/** An option on the command line. */
export interface Flag extends Described {
  /** positional */
  placed: boolean;
  /** in messages: --t-range, DATASET */
  label: string;
  /** as --help says it */
  help: string;
}

/** Texts of the stages name options by their keys, in backticks. */
export type Naming = (text: string) => string;

/** Renders the names of options as those of the command line. */
export function namingOf(labels: ReadonlyMap<string, string>): Naming {
  return (text) => text.replace(/`([a-z][A-Za-z]*)`/g, (whole, key: string) => labels.get(key) ?? whole);
}

/** The same of options of other commands, which descriptions name, too. */
const othersNamed: Naming = (text) => text.replace(/`([a-z][A-Za-z]*)`/g, (_, key: string) => `--${kebab(key)}`);

const labelOf = ({ key, name }: Described, places: readonly string[]): string =>
  places.includes(key) ? name.toUpperCase() : `--${name}`;

/** A command's options by name, group by group: a line each in --help, and the keys of a configuration file. */
export function flagsOf({ options, places = [] }: Optioned): Record<string, Flag> {
  const all = describeAll(options).sort((a, b) => GROUPS.indexOf(a.group) - GROUPS.indexOf(b.group));
  const named = namingOf(new Map(all.map((one) => [one.key, labelOf(one, places)])));
  return Object.fromEntries(
    all.map((one) => {
      const { key, name, description, negated, fallback } = one;
      const flag: Flag = {
        ...one,
        placed: places.includes(key),
        label: labelOf(one, places),
        help: othersNamed(named(negated ?? description)),
        fallback: fallback === undefined ? undefined : named(fallback),
      };
      return [name, flag];
    }),
  );
}

export const namingFor = (command: Optioned): Naming =>
  namingOf(new Map(Object.values(flagsOf(command)).map(({ key, label }) => [key, label])));

/**
 * `{ name: raw }` as typed, and the same of a configuration file, as what the schema makes of it. What is not given is left out: its default is
 * the stage's to fill in.
 *
 * @throws INVALID_ARGUMENT naming the flag, or the key of the file
 */
export function readValues<S extends Schema>(
  command: Optioned<S>,
  flags: Readonly<Record<string, unknown>>,
  file: Readonly<Record<string, unknown>>,
  name: string,
): Given<S> {
  const table = flagsOf(command);
  const raw: Record<string, unknown> = {};
  for (const { key, name: flag, negated } of Object.values(table)) {
    const value = flags[flag] ?? file[flag];
    raw[key] = negated !== undefined && typeof value === 'boolean' ? !value : value;
  }
  try {
    return given(command.options, raw);
  } catch (error) {
    const wrong = Object.values(table).find(({ key }) => error instanceof DiffmineError && error.option === key);
    if (!(error instanceof DiffmineError) || !wrong) throw error;
    const missing = raw[wrong.key] === undefined || raw[wrong.key] === null;
    const label =
      missing || flags[wrong.name] !== undefined ? wrong.label : `"${wrong.name}" in the configuration file`;
    const see = `See: diffmine ${name} --help`;
    throw new DiffmineError(
      error.code,
      error.message.replace(`\`${wrong.key}\``, () => label),
      missing
        ? `${namingFor(command)((wrong.placed ? taken(command.options, flags) : undefined) ?? wrong.help)}. ${see}`
        : (error.hint ?? see),
      { cause: error, option: wrong.key },
    );
  }
}
