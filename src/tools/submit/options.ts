// Options of submit.
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import type { z } from 'zod';

export const SYSTEMS = ['slurm', 'k8s', 'aws-batch'] as const;
export type System = (typeof SYSTEMS)[number];

export const SUBMIT = optionsOf('submit', {
  system: option(fields.oneOf(SYSTEMS), { group: 'Input', description: 'Scheduler to submit to' }),
  parts: option(fields.whole(1, 10_000), {
    group: 'Input',
    description: 'Tasks of the job array; with `queueSecret`, maximum number of workers',
  }),
  dryRun: option(fields.flag().default(false), {
    group: 'Output',
    description: 'Print what would be submitted, and submit nothing',
  }),
  name: option(fields.dnsLabel().optional(), {
    group: 'Cluster',
    description: 'Name of the job',
    shown: 'diffmine-COMMAND',
  }),
  parallelism: option(fields.whole(1, 10_000).optional(), {
    group: 'Cluster',
    description: 'Tasks that may run at once (slurm, k8s)',
    shown: 'all',
  }),
  time: option(fields.duration().optional(), {
    group: 'Cluster',
    description: 'Time limit of each attempt at a task, in hours:minutes:seconds such as 4:00:00',
    shown: "the scheduler's",
  }),
  grace: option(fields.whole(1, 3600).default(120), {
    group: 'Cluster',
    description: 'Seconds between SIGTERM and the kill; the current batch must finish in them (slurm, k8s)',
  }),
  gpus: option(fields.whole(0, 64).default(1), {
    group: 'Cluster',
    description: 'GPUs per task; with more than one, give the command --devices or --workers',
  }),
  cpus: option(fields.whole(1, 1024).default(8), { group: 'Cluster', description: 'CPU cores per task' }),
  memory: option(fields.whole(1, 65_536).default(32), { group: 'Cluster', description: 'Memory per task, GiB' }),
  sbatch: option(fields.texts('options without dashes such as partition=gpu').optional(), {
    group: 'Cluster',
    description: 'Further option of sbatch without its dashes, such as partition=gpu; may be repeated (slurm)',
  }),
  image: option(fields.text().optional(), {
    group: 'Cluster',
    description: 'Container image, built from the Dockerfile (k8s, aws-batch)',
  }),
  volume: option(fields.texts('volumes such as data:/data').optional(), {
    group: 'Cluster',
    description:
      'Volume and where the container sees it: CLAIM:/data (a PersistentVolumeClaim, k8s) or fs-ID:/data (EFS, aws-batch); may be repeated',
  }),
  namespace: option(fields.dnsLabel().optional(), {
    group: 'Cluster',
    description: 'Namespace (k8s)',
    shown: "kubectl's",
  }),
  secret: option(fields.list(fields.text(), 'names of Secrets').optional(), {
    group: 'Cluster',
    description:
      'Secret whose keys become environment variables, such as the credentials of a bucket; may be repeated (k8s)',
  }),
  queueSecret: option(fields.text().optional(), {
    group: 'Cluster',
    description:
      'Use a Redis queue: name of the Secret with its url, address (host:port) and password; KEDA starts workers while shards wait (k8s)',
  }),
  jobQueue: option(fields.text().optional(), { group: 'Cluster', description: 'Job queue (aws-batch)' }),
  jobRole: option(fields.text().optional(), {
    group: 'Cluster',
    description: 'ARN of the role that the tasks have, for a bucket (aws-batch)',
  }),
});

/** What a submission to a scheduler is asked for. */
export type SubmitOptions = z.output<typeof SUBMIT>;

/** Options that only some schedulers have. */
export const ONLY: Partial<Record<keyof SubmitOptions, readonly System[]>> = {
  parallelism: ['slurm', 'k8s'],
  sbatch: ['slurm'],
  image: ['k8s', 'aws-batch'],
  volume: ['k8s', 'aws-batch'],
  namespace: ['k8s'],
  secret: ['k8s'],
  queueSecret: ['k8s'],
  jobQueue: ['aws-batch'],
  jobRole: ['aws-batch'],
};

/** Options that some schedulers cannot do without. */
export const NEEDED: Partial<Record<keyof SubmitOptions, readonly System[]>> = {
  image: ['k8s', 'aws-batch'],
  jobQueue: ['aws-batch'],
};
