// Command lines as documents have them, held against the options of the commands.
import type { Command, Definition } from '../../src/cli/command.js';
import { COMMANDS as LISTED } from '../../src/cli/commands.js';
import { COMMON, flagsOf, readValues } from '../../src/cli/options.js';

/** Every command with its options. The command line loads only the one it runs, by a promise: tests are listed before those are kept. */
export const COMMANDS: Command[] = LISTED.map(({ load: _load, ...listed }) => {
  const module = jest.requireActual<Record<string, Definition>>(`../../src/cli/commands/${listed.name}.js`);
  const name = listed.name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
  return { ...listed, ...(module[`${name}Command`] as Definition) };
});

/** A command line as a shell splits it; a comment or a redirection at its end is left out. */
export function words(line: string): string[] {
  return [...line.replace(/\s[#>].*$/, '').matchAll(/"([^"]*)"|(\S+)/g)].map(
    ([, quoted, bare]) => quoted ?? bare ?? '',
  );
}

/** Checks the words after `diffmine` as the command line would: the command, its options and their values. @throws if it would refuse them */
export function checkCommand([first, ...others]: readonly string[]): void {
  const two = first === 'estimate' && others[0] === 'train';
  const [name, all] = two ? ['estimate-train', others.slice(1)] : [first, others];
  const command = COMMANDS.find((one) => one.name === name);
  if (!command) throw new Error(`There is no command ${name}.`);
  const end = command.line ? all.indexOf('--') : -1;
  if (command.line && end < 0) throw new Error(`${name} needs a command after --.`);
  if (end >= 0) checkCommand(all.slice(end + 1));
  const rest = end < 0 ? all : all.slice(0, end);
  const table = { ...flagsOf({ options: COMMON }), ...flagsOf(command) };
  const places = [...(command.places ?? [])];
  const flags: Record<string, unknown> = {};
  for (let i = 0; i < rest.length; i++) {
    const word = rest[i] as string;
    const alias = Object.keys(table).find((one) => [`-${table[one]?.alias}`, `--${table[one]?.alias}`].includes(word));
    const option = alias ?? (word.startsWith('--') ? word.slice(2) : places.shift());
    const spec = option === undefined ? undefined : table[option];
    if (option === undefined || !spec) throw new Error(`${name} has no ${word}.`);
    const bare = spec.bare !== undefined && (rest[i + 1]?.startsWith('-') ?? true);
    const value = !word.startsWith('-') ? word : spec.flag ? true : bare ? '' : rest[(i += 1)];
    if (value === undefined) throw new Error(`${word} needs a value.`);
    flags[option] = spec.list ? [...((flags[option] as unknown[] | undefined) ?? []), value] : value;
  }
  readValues(command, flags, {}, command.name);
}
