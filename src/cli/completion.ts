// Completion scripts for shells, from the tables of the options: completing starts no process.
import { COMMANDS, loadCommand } from './commands.js';
import type { Shell } from './command.js';
import { COMMON, flagsOf, type Flag } from './options.js';

interface Entry {
  name: string;
  describe: string;
  /** choices of each positional option; empty: files */
  placed: readonly string[];
  flags: [name: string, flag: Flag][];
}

/** The script for a shell, to be sourced by it. */
export async function completionOf(shell: Shell): Promise<string> {
  const common = Object.entries(flagsOf({ options: COMMON }));
  const commands = await Promise.all(COMMANDS.map(loadCommand));
  const entries = commands.map((one): Entry => {
    const own = Object.entries(flagsOf(one));
    return {
      name: one.name,
      describe: one.describe,
      placed: own.flatMap(([, flag]) => (flag.placed ? (flag.choices ?? []) : [])),
      flags: [...own.filter(([, { placed }]) => !placed), ...common],
    };
  });
  if (shell === 'fish') return fish(entries);
  return shell === 'bash' ? bash(entries) : `autoload -U +X bashcompinit && bashcompinit\n${bash(entries)}`;
}

const takesValue = ({ flag, bare }: Flag): boolean => !flag && !bare;

/** Words are names of commands, options and choices: none has a character that a shell would read otherwise. */
function bash(entries: readonly Entry[]): string {
  const cases = entries.map(({ name, placed, flags }) => {
    const values = flags.filter(([, flag]) => takesValue(flag) && flag.choices);
    const others = flags.filter(([, flag]) => takesValue(flag) && !flag.choices);
    return `    ${name})
      options="${flags.map(([flag]) => `--${flag}`).join(' ')} --help"
      places="${placed.join(' ')}"
      case "$previous" in
${values.map(([flag, { choices }]) => `        --${flag}) places="${choices?.join(' ')}"; options="$places" ;;\n`).join('')}        ${others.map(([flag]) => `--${flag}`).join(' | ')}) return ;;
      esac
      ;;
`;
  });
  return `# Completion of diffmine for bash. Without an answer, the shell completes files.
_diffmine() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" command="" options="" places="" i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in
      -*) ;;
      *) command="\${COMP_WORDS[i]}"; break ;;
    esac
  done
  case "$command" in
    "")
      options="--help --version"
      places="${entries.map(({ name }) => name).join(' ')}"
      ;;
${cases.join('')}  esac
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;
    *) COMPREPLY=($(compgen -W "$places" -- "$current")) ;;
  esac
}
complete -o default -F _diffmine diffmine
`;
}

function fish(entries: readonly Entry[]): string {
  const quoted = (text: string): string => `'${text.replace(/[\\']/g, (c) => `\\${c}`)}'`;
  const commands = entries.map(
    ({ name, describe }) => `complete -c diffmine -n __fish_use_subcommand -f -a ${name} -d ${quoted(describe)}`,
  );
  const options = entries.flatMap(({ name, placed, flags }) => {
    const inside = `complete -c diffmine -n '__fish_seen_subcommand_from ${name}'`;
    return [
      ...(placed.length > 0 ? [`${inside} -f -a ${quoted(placed.join(' '))}`] : []),
      ...flags.map(([flag, about]) => {
        const value = !takesValue(about) ? '' : about.choices ? ` -x -a ${quoted(about.choices.join(' '))}` : ' -r';
        return `${inside} -l ${flag}${value} -d ${quoted(about.help)}`;
      }),
    ];
  });
  return ['# Completion of diffmine for fish', ...commands, ...options, ''].join('\n');
}
