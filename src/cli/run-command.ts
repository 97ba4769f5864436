// Runs one command: checks what was given, and calls its handler.
import type { Argv } from 'yargs';
import { DiffmineError, asDiffmineError } from '../util/errors.js';
import { cancelOnSignals } from './cancel.js';
import type { Command, CommandContext, Outcome } from './command.js';
import { declare, rawOf, refuseSurplus } from './declare.js';
import { COMMON, namingFor, readValues } from './options.js';
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

export function runnable(command: Command): Runnable {
  return {
    declare: (sub) => declare(sub, command),
    run: (parsed, output, line) => run(command, parsed, output, line),
  };
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
    const readLine: CommandContext['readLine'] = async () => (await import('./line.js')).readLine(line ?? []);
    const completion: CommandContext['completion'] = async (shell) =>
      (await import('./completion.js')).completionOf(shell);
    outcome = await one.handle(values, { output, signal: cancel.signal, readLine, completion });
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
