// --config FILE.yaml: options under the names of their flags, without the dashes.
import { readFileSync } from 'node:fs';

import { DiffmineError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';

/** Read before the file is, so they cannot be set by it. */
const NOT_IN_FILES = new Set(['config', 'json', 'help', 'version']);

/**
 * The options a configuration file sets. `own` are the names the command knows, `all` those of any command: a file may serve several commands,
 * and options of other commands are ignored. Values of `texts`, which take any text, are read as they are written: the label 007 is not 7.
 * @throws DiffmineError INVALID_ARGUMENT for a file that cannot be read, is not a mapping, or has a key no command knows (naming the nearest)
 */
export async function readConfig(
  file: string,
  own: ReadonlySet<string>,
  all: ReadonlySet<string>,
  texts: ReadonlySet<string> = new Set(),
): Promise<Record<string, unknown>> {
  const { readYaml } = await import('../util/yaml.js');
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The configuration file ${file} cannot be read.`,
      'Check the path after --config.',
      { cause: error },
    );
  }
  let source: string;
  try {
    source = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new DiffmineError('INVALID_ARGUMENT', `${file} is not UTF-8 text.`, 'Save it as UTF-8.', { cause: error });
  }
  let parsed: unknown;
  try {
    parsed = readYaml(source, (key) => texts.has(key));
  } catch (error) {
    const message = (error instanceof Error ? error.message.split('\n')[0] : String(error))?.replace(/[:.]$/, '');
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${file} is not valid YAML: ${message}.`,
      'Write one option a line, such as "samples: 50".',
      { cause: error },
    );
  }
  if (parsed === null || parsed === undefined) return {};
  if (typeof parsed !== 'object' || Array.isArray(parsed)) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${file} is not a mapping of options.`,
      'Write one option a line, such as "samples: 50".',
    );
  }
  const known = [...all].filter((name) => !NOT_IN_FILES.has(name));
  const options: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(parsed)) {
    if (!known.includes(key)) {
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `${file} has the unknown key "${key}".`,
        `The nearest key is "${nearest(key, known)}".`,
      );
    }
    if (own.has(key)) options[key] = value;
  }
  return options;
}
