// diffmine submit: hands a command to the user's scheduler, as tasks that share one run.
import { spawn } from 'node:child_process';
import { DiffmineError } from '../../util/errors.js';
import { defaultsOf } from '../../options/option.js';
import type { Given } from '../../options/check.js';
import { batchInputs } from './aws-batch.js';
import { asYaml, manifests } from './kubernetes.js';
import type { Line } from './line.js';
import { NEEDED, ONLY, SUBMIT, type SubmitOptions, type System } from './options.js';
import { slurmScript } from './slurm.js';

export interface Submission {
  system: System;
  /** as the scheduler takes it: a batch script, YAML manifests, or JSON */
  document: string;
  /** the job's id; undefined if nothing was submitted */
  job?: string;
}

/** @throws INVALID_ARGUMENT for options that do not fit the scheduler; SETUP where its client is missing; IO for what it refuses */
export async function submit(values: Given<typeof SUBMIT>, line: Line, signal?: AbortSignal): Promise<Submission> {
  const options = { ...defaultsOf(SUBMIT), ...values } as SubmitOptions;
  checkFit(values, options.system);
  const { system, dryRun } = options;
  if (system === 'slurm') {
    const document = slurmScript(options, line, process.cwd());
    if (dryRun) return { system, document };
    return { system, document, job: (await call(['sbatch', '--parsable'], document, signal)).split(';')[0] ?? '' };
  }
  if (system === 'k8s') {
    const document = asYaml(manifests(options, line));
    if (dryRun) return { system, document };
    return { system, document, job: await call(['kubectl', 'create', '-f', '-', '-o', 'name'], document, signal) };
  }
  const { jobDefinition, job } = batchInputs(options, line);
  const document = JSON.stringify({ jobDefinition, job }, null, 2);
  if (dryRun) return { system, document };
  const batch = async (name: string, input: object, result: string): Promise<string> =>
    call(
      ['aws', 'batch', name, '--cli-input-json', JSON.stringify(input), '--query', result, '--output', 'text'],
      '',
      signal,
    );
  const revision = await batch('register-job-definition', jobDefinition, 'jobDefinitionArn');
  return { system, document, job: await batch('submit-job', { ...job, jobDefinition: revision }, 'jobId') };
}

function checkFit(values: Given<typeof SUBMIT>, system: System): void {
  const keys = Object.keys(SUBMIT.shape) as (keyof SubmitOptions)[];
  for (const key of keys) {
    const given = values[key] !== undefined;
    if (given && ONLY[key]?.includes(system) === false)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `\`${key}\` does not apply to ${system}.`,
        `It is for ${ONLY[key].join(' and ')}.`,
        { option: key },
      );
    if (!given && NEEDED[key]?.includes(system))
      throw new DiffmineError('INVALID_ARGUMENT', `${system} needs \`${key}\`.`, 'See: diffmine submit --help', {
        option: key,
      });
  }
}

/** Runs a scheduler's client. Returns what it prints. */
async function call([program = '', ...args]: string[], input: string, signal?: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], ...(signal ? { signal } : {}) });
    const printed = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (text: string) => (printed[name] += text));
    child.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') reject(error);
      else
        reject(
          new DiffmineError(
            'SETUP',
            `${program} is not installed.`,
            'Run this where it is, or use `dryRun` and submit what it prints.',
          ),
        );
    });
    child.on('close', (code) => {
      if (code === 0) resolve(printed.stdout.trim());
      else
        reject(
          new DiffmineError(
            'IO',
            `${program} refused the job: ${printed.stderr.trim() || `exit code ${String(code)}`}`,
            'Use `dryRun` to see what is submitted.',
          ),
        );
    });
    child.stdin.on('error', () => undefined); // it has ended, and says why
    child.stdin.end(input);
  });
}
