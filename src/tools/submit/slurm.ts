// A Slurm array as a batch script.
import { fileURLToPath } from 'node:url';
import { DiffmineError } from '../../util/errors.js';
import { quoted } from '../../util/shell.js';
import type { Line } from './line.js';
import type { SubmitOptions } from './options.js';

/** The program of this installation, which a cluster's nodes share. */
const PROGRAM = fileURLToPath(new URL('../../../bin/diffmine.js', import.meta.url));

/** Requeues of a task that is killed again and again, and of one that fails for a reason that may pass. */
const KILLED = 100;
const FAILED = 3;

/**
 * The script: an array of tasks that share the run. Slurm requeues the tasks of a node that dies, but calls a killed process failed; the script
 * requeues those. It names the task by array and index: the id of one of the tasks is that of the whole array.
 *
 * @param folder where the job runs
 */
export function slurmScript(options: SubmitOptions, { words }: Line, folder: string): string {
  const { parts, parallelism, time, grace, gpus, cpus, memory, name, sbatch } = options;
  // sbatch replaces %A in the folder's name, too, and takes a backslash for itself
  if (/[\\\n]/.test(folder))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `sbatch cannot run in ${JSON.stringify(folder)}.`,
      'Submit from a directory without a backslash or line break in its path.',
    );
  const logs = `${folder.includes('%') ? `${folder.replaceAll('%', '%%')}/` : ''}%x-%A_%a.log`;
  const directives = [
    `job-name=${name ?? `diffmine-${words[0] ?? ''}`}`,
    `array=0-${parts - 1}${parallelism === undefined ? '' : `%${parallelism}`}`,
    `chdir=${folder}`,
    `output=${logs}`,
    'open-mode=append',
    'requeue',
    ...(time === undefined ? [] : [`time=${clock(time)}`]),
    `signal=B:TERM@${grace}`,
    'ntasks=1',
    `cpus-per-task=${cpus}`,
    `mem=${memory}G`,
    ...(gpus === 0 ? [] : [`gres=gpu:${gpus}`]),
    ...(sbatch ?? []),
  ];
  const command = [process.execPath, PROGRAM, ...words, '--shard', `auto/${parts}`].map(quoted).join(' ');
  return `#!/bin/bash
${directives.map((one) => `#SBATCH --${quotedValue(one)}`).join('\n')}

${command} &
child=$!
# Slurm sends TERM before the time limit: the command stops after its batch
trap 'kill -TERM "$child"' TERM
while wait "$child"; code=$?; kill -0 "$child" 2>/dev/null; do :; done

# Finished shards are kept, so a task that begins again does what is left. A task that was cancelled is not running any more.
task=\${SLURM_ARRAY_JOB_ID}_\${SLURM_ARRAY_TASK_ID}
requeue() {
  [ "\${SLURM_RESTART_COUNT:-0}" -lt "$1" ] || return
  scontrol show job "$task" | grep -q JobState=RUNNING || return
  echo "exit code $code: requeued"
  scontrol requeue "$task"
}
case $code in
  4 | 5) requeue ${FAILED} ;; # device, reading or writing
  1[2-9][0-9] | 2??) requeue ${KILLED} ;; # killed or stopped
esac
exit "$code"
`;
}

/** sbatch splits its lines into words as a shell does. */
function quotedValue(directive: string): string {
  const [, name = '', value = ''] = /^([^=]*=)(.*)$/s.exec(directive) ?? [];
  return name === '' ? directive : `${name}${quoted(value)}`;
}

/** D-HH:MM:SS */
function clock(seconds: number): string {
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0');
  const days = Math.floor(seconds / 86_400);
  const rest = seconds % 86_400;
  return `${days > 0 ? `${days}-` : ''}${two(rest / 3600)}:${two((rest % 3600) / 60)}:${two(rest % 60)}`;
}
