// The command line that is submitted.

/** A command that divides its work, as it was typed and as it was understood. */
export interface Line {
  /** of the command: 'scan' */
  command: string;
  /** as typed, the command first */
  words: readonly string[];
  /** options by their names, with those of a configuration file; values as typed */
  options: Readonly<Record<string, Value>>;
  /** positional options */
  places: readonly string[];
}

export type Value = string | number | boolean | readonly (string | number)[];

/** The command line without its configuration file, which exists on this machine only. */
export function wordsOf({ command, options, places }: Line): string[] {
  const placed = places.flatMap((name) => (options[name] === undefined ? [] : [String(options[name])]));
  const flags = Object.entries(options)
    .filter(([name]) => !places.includes(name))
    .flatMap(([name, value]) => {
      if (typeof value === 'boolean') return value ? [`--${name}`] : [];
      return (Array.isArray(value) ? value : [value]).map((one) =>
        one === '' ? `--${name}` : `--${name}=${String(one)}`,
      );
    });
  return [command, ...placed, ...flags];
}
