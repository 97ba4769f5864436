// A command line that is not run here: checked as it would be there, so that a wrong option is found now and not by every task of a job array.
import { createRequire } from 'node:module';
import { DiffmineError } from '../util/errors.js';
import { COMMANDS, loadCommand } from './commands.js';
import { COMMON, flagsOf, readValues } from './options.js';
import { declare, rawOf } from './declare.js';
import { PARSING } from './parsing.js';
import type { Line, Value } from '../tools/submit/line.js';

const yargs = createRequire(import.meta.url)('yargs') as typeof import('yargs').default;

/** Read by the command line, not by commands; `json` is a matter of what is printed. */
const APART = new Set(['config', 'json', 'help', 'version']);

/**
 * Reads the words after --: a command that divides its work.
 *
 * @throws INVALID_ARGUMENT for another command, or what the command would refuse
 */
export async function readLine(words: readonly string[]): Promise<Line> {
  const [name, ...rest] = words[0] === 'diffmine' ? words.slice(1) : words;
  const listed = COMMANDS.find((one) => one.name === name);
  const command = listed && (await loadCommand(listed));
  if (!command || !('shard' in command.options.shape)) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      name === undefined ? 'There is no command after --.' : `submit cannot divide the work of "${name}".`,
      'Give a command that has --shard after --, such as: diffmine submit slurm --parts 32 -- scan photos --model sd15 --out run',
    );
  }
  const places = command.places ?? [];
  let parsed: Record<string, unknown> = {};
  await yargs()
    .parserConfiguration(PARSING)
    .exitProcess(false)
    .version(false)
    .help(false)
    .fail((message: string | null, error) => {
      throw error instanceof DiffmineError
        ? error
        : new DiffmineError('INVALID_ARGUMENT', message ?? error.message, `See: diffmine ${command.name} --help`);
    })
    .command(
      [command.name, ...places.map((place) => `[${place}]`)].join(' '),
      '',
      (sub) => declare(sub, command),
      (found) => void (parsed = found),
    )
    .parseAsync([command.name, ...rest]);
  const { flags, file } = await rawOf(command, parsed);
  const values = readValues(command, flags, file, command.name) as { shard?: unknown; queue?: unknown };
  if (values.shard !== undefined)
    throw new DiffmineError('INVALID_ARGUMENT', 'submit gives each task its --shard.', 'Leave --shard out.');
  // its address may hold a password
  if (values.queue !== undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      'The command after -- has --queue.',
      'Leave it out there. diffmine submit k8s --queue-secret takes the name of a Secret.',
    );
  const options = Object.fromEntries(
    Object.keys({ ...flagsOf(command), ...flagsOf({ options: COMMON }) })
      .filter((option) => !APART.has(option))
      .map((option) => [option, flags[option] ?? file[option]])
      .filter(([, value]) => value !== undefined && value !== null),
  ) as Record<string, Value>;
  return { command: command.name, words: [command.name, ...rest], options, places };
}
