// What a command is: a line in the list (commands.ts), options, and a handler that loads what it needs only when it runs.
import type { Output } from './output.js';
import type { Given } from '../options/check.js';
import type { Schema } from '../options/option.js';
import type { Line } from '../tools/submit/line.js';

/** Shells that commands are completed in. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

export interface CommandContext {
  output: Output;
  /** aborted by the first Ctrl-C or SIGTERM */
  signal: AbortSignal;
  /** reads the words after --, of a command that takes another command line */
  readLine: () => Promise<Line>;
  /** the completion script of a shell, which is about all commands */
  completion: (shell: Shell) => Promise<string>;
}

/** What a command has to say: the same result for people and, with --json, for programs. */
export interface Outcome {
  text: string;
  json: unknown;
  /** 0 unless a check failed */
  exitCode?: number;
}

/** A command in the list of commands. */
export interface Listed {
  name: string;
  describe: string;
  /** keys of positional options */
  places?: readonly string[];
  /** takes another command line after -- */
  line?: true;
}

/** What a command takes and does. */
export interface Definition<S extends Schema = Schema> {
  options: S;
  examples?: [command: string, what: string][];
  /** computes (with these values): the native part is set up first if it is not yet */
  native?: boolean | ((values: Given<S>) => boolean);
  /** said after Ctrl-C, if there is finished work to resume from */
  resumeHint?: string;
  /** said at the first Ctrl-C or SIGTERM, where another sentence than the usual one is true */
  stopping?(values: Given<S>): string | undefined;
  /** undefined: the handler wrote its result itself */
  handle(values: Given<S>, context: CommandContext): Promise<Outcome | undefined>;
}

export type Command = Listed & Definition;

/** Ties a handler to the types of its own options, then forgets them, so that commands can stand in one list. */
export function command<S extends Schema>(definition: Definition<S>): Definition {
  return { ...definition, handle: (values, context) => definition.handle(values as Given<S>, context) } as Definition;
}
