// What `submit` hands to Kubernetes, KEDA and AWS Batch, held against their published schemas.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  BatchClient,
  RegisterJobDefinitionCommand,
  SubmitJobCommand,
  type RegisterJobDefinitionCommandInput,
  type SubmitJobCommandInput,
} from '@aws-sdk/client-batch';
import { ScaledJob } from '@kubernetes-models/keda/keda.sh/v1alpha1/ScaledJob';
import { Job } from 'kubernetes-models/batch/v1/Job';
import { ConfigMap } from 'kubernetes-models/v1/ConfigMap';
import { parse, parseAllDocuments } from 'yaml';
import { readLine } from '../../src/cli/line.js';
import { flagsOf, readValues } from '../../src/cli/options.js';
import { SCAN } from '../../src/stages/scan/options.js';
import type { BatchInputs } from '../../src/tools/submit/aws-batch.js';
import { defaultsOf } from '../../src/options/option.js';
import { SUBMIT, type SubmitOptions } from '../../src/tools/submit/options.js';
import { slurmScript } from '../../src/tools/submit/slurm.js';
import { submit } from '../../src/tools/submit/submit.js';
import { temporaryFolder } from '../helpers/folders.js';

const folder = temporaryFolder();
const config = join(folder, 'options.yaml');
writeFileSync(config, 'samples: 20\nt-range: 0.1,0.7\ndevices: [cpu, cpu]\n');

const LINE = ['scan', '/data/my photos', '--model', '/data/sd15', '--out', 's3://bucket/run', '--config', config];
const MORE = ['--samples', '30', '--race', '--no-maps', '-v'];

interface Wrong {
  code: string;
  message: string;
}

/** As `diffmine submit ... --dry-run -- LINE`. */
async function printed(flags: Record<string, unknown>, line: string[] = [...LINE, ...MORE]): Promise<string> {
  const values = readValues({ options: SUBMIT, places: ['system'] }, { 'dry-run': true, ...flags }, {}, 'submit');
  return (await submit(values, await readLine(line))).document;
}

async function kubernetes(flags: Record<string, unknown>): Promise<Record<string, unknown>[]> {
  const text = await printed({ system: 'k8s', parts: '32', image: 'registry/diffmine:1', ...flags });
  return parseAllDocuments(text).map((one) => one.toJS() as Record<string, unknown>);
}

/** Options of the scan that a container runs, as the command line reads them from its mounted file. */
function configured(configMap: Record<string, unknown> | undefined): unknown {
  const file = parse((configMap!['data'] as Record<string, string>)['diffmine.yaml'] ?? '') as Record<string, unknown>;
  const own = Object.keys(flagsOf({ options: SCAN, places: ['dataset'] }));
  expect(Object.keys(file).filter((key) => !own.includes(key))).toEqual(['verbose']);
  return readValues({ options: SCAN, places: ['dataset'] }, {}, file, 'scan');
}

const OPTIONS = {
  dataset: '/data/my photos',
  model: '/data/sd15',
  out: 's3://bucket/run',
  samples: 30,
  tRange: [0.1, 0.7],
  devices: ['cpu', 'cpu'],
  race: true,
  maps: false,
};

test('an Indexed Job with its options in a ConfigMap', async () => {
  const [map, job, ...none] = await kubernetes({
    time: '4:00:00',
    gpus: '2',
    parallelism: '8',
    namespace: 'mining',
    secret: ['bucket'],
    volume: ['photos:/data'],
  });
  expect(none).toEqual([]);
  expect(() => new ConfigMap(map as never).validate()).not.toThrow();
  expect(() => new Job(job as never).validate()).not.toThrow();
  expect(configured(map)).toEqual(OPTIONS);
  const { name } = map!['metadata'] as { name: string };
  expect(job).toMatchObject({
    metadata: { name, namespace: 'mining' },
    spec: {
      completionMode: 'Indexed',
      completions: 32,
      parallelism: 8,
      podFailurePolicy: {
        rules: [
          { action: 'FailJob', onExitCodes: { containerName: 'diffmine', operator: 'In', values: [2, 3, 6, 7] } },
          { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget' }] },
        ],
      },
      template: {
        spec: {
          restartPolicy: 'Never',
          activeDeadlineSeconds: 4 * 3600,
          containers: [
            {
              name: 'diffmine',
              image: 'registry/diffmine:1',
              args: ['scan', '--config', '/etc/diffmine/diffmine.yaml', '--shard', 'auto/32'],
              envFrom: [{ secretRef: { name: 'bucket' } }],
              resources: { limits: { 'nvidia.com/gpu': '2', memory: '32Gi' } },
              volumeMounts: [
                { name: 'config', mountPath: '/etc/diffmine' },
                { name: 'volume-0', mountPath: '/data' },
              ],
            },
          ],
          volumes: [
            { name: 'config', configMap: { name } },
            { name: 'volume-0', persistentVolumeClaim: { claimName: 'photos' } },
          ],
        },
      },
    },
  });
});

test('the schema finds mistakes', async () => {
  const [, job] = await kubernetes({});
  const wrong = structuredClone(job) as { spec: { completions: unknown } };
  wrong.spec.completions = '32';
  expect(() => new Job(wrong as never).validate()).toThrow('completions');
});

test('with a queue: a job that fills it, and workers that KEDA starts while shards wait or are worked on', async () => {
  const [map, enqueue, workers, ...none] = await kubernetes({ 'queue-secret': 'redis', parts: '64' });
  expect(none).toEqual([]);
  expect(() => new ConfigMap(map as never).validate()).not.toThrow();
  expect(() => new Job(enqueue as never).validate()).not.toThrow();
  expect(() => new ScaledJob(workers as never).validate()).not.toThrow();
  expect(configured(map)).toEqual(OPTIONS);
  expect(enqueue).toMatchObject({
    spec: {
      template: { spec: { containers: [{ args: ['scan', '--config', '/etc/diffmine/diffmine.yaml', '--queue'] }] } },
    },
  });
  expect(workers).toMatchObject({
    spec: {
      maxReplicaCount: 64,
      scalingStrategy: { multipleScalersCalculation: 'sum' },
      triggers: ['wait', 'active', 'prioritized'].map((key) => ({
        type: 'redis',
        metadata: { listName: `bull:diffmine:${key}`, listLength: '1', passwordFromEnv: 'DIFFMINE_QUEUE_PASSWORD' },
      })),
      jobTargetRef: { template: { spec: { containers: [{ args: ['worker', '--exit-when-done'] }] } } },
    },
  });
  expect(JSON.stringify([enqueue, workers])).not.toContain('redis://'); // a password is in the Secret only
});

test('the same submission has the same name, another has another', async () => {
  const name = async (flags: Record<string, unknown>): Promise<unknown> =>
    ((await kubernetes(flags))[0]!['metadata'] as { name: string }).name;
  expect(await name({})).toBe(await name({}));
  expect(await name({})).not.toBe(await name({ cpus: '4' }));
  expect(await name({ name: 'cats' })).toMatch(/^cats-[0-9a-f]{8}$/);
});

/** What AWS's own client sends of an input: it leaves out what the call does not know. */
async function sent(command: RegisterJobDefinitionCommand | SubmitJobCommand): Promise<unknown> {
  let body: unknown;
  const client = new BatchClient({
    region: 'us-east-1',
    credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
    maxAttempts: 1,
    requestHandler: {
      handle: async (request: { body: Uint8Array }) => {
        body = JSON.parse(new TextDecoder().decode(request.body));
        return Promise.reject(new Error('not sent'));
      },
    },
  });
  await expect(client.send(command as SubmitJobCommand)).rejects.toThrow('not sent');
  return body;
}

test('an array job of AWS Batch', async () => {
  const flags = { system: 'aws-batch', parts: '32', image: 'ecr/diffmine:1', 'job-queue': 'spot' };
  const text = await printed({
    ...flags,
    'job-role': 'arn:aws:iam::1:role/x',
    volume: ['fs-1:/data'],
    time: '4:00:00',
  });
  const inputs = JSON.parse(text) as BatchInputs;
  const typed: [RegisterJobDefinitionCommandInput, SubmitJobCommandInput] = [inputs.jobDefinition, inputs.job];
  expect(await sent(new RegisterJobDefinitionCommand(typed[0]))).toEqual(inputs.jobDefinition);
  expect(await sent(new SubmitJobCommand(typed[1]))).toEqual(inputs.job);
  expect(await sent(new SubmitJobCommand({ ...typed[1], jobbQueue: 'x' } as never))).toEqual(inputs.job);
  expect(inputs.job).toEqual({
    jobName: 'diffmine-scan',
    jobQueue: 'spot',
    jobDefinition: 'diffmine-scan',
    arrayProperties: { size: 32 },
  });
  expect(inputs.jobDefinition.retryStrategy.evaluateOnExit.length).toBeLessThanOrEqual(5);
  const { command, resourceRequirements } = inputs.jobDefinition.containerProperties;
  expect(resourceRequirements).toContainEqual({ type: 'MEMORY', value: '32768' });
  // the configuration file is on this machine only: its options are words of the command
  expect(command.slice(-2)).toEqual(['--shard', 'auto/32']);
  const { options } = await readLine(command.slice(0, -2));
  expect(readValues({ options: SCAN, places: ['dataset'] }, options, {}, 'scan')).toEqual(OPTIONS);
  const one = JSON.parse(await printed({ ...flags, parts: '1' })) as BatchInputs;
  expect(one.job.arrayProperties).toBeUndefined(); // an array has at least two tasks
});

test('a batch script keeps the words as they were typed', async () => {
  const odd = "/data/it's $HOME; `id`";
  const script = await printed(
    { system: 'slurm', parts: '32', parallelism: '8', time: '2-01:00:00', gpus: '4', sbatch: ['partition=gpu'] },
    ['scan', odd, '--model', '/data/sd15', '--out', 'run'],
  );
  for (const line of ['array=0-31%8', 'time=2-01:00:00', 'gres=gpu:4', 'partition=gpu', 'requeue', 'signal=B:TERM@120'])
    expect(script.split('\n')).toContain(`#SBATCH --${line}`);
  const command = script.split('\n').find((line) => line.endsWith(' &')) ?? '';
  const { stdout } = spawnSync('bash', ['-c', `printf '%s\\n' ${command.slice(0, -2)}`], { encoding: 'utf8' });
  expect(stdout.trimEnd().split('\n').slice(2)).toEqual([
    ...['scan', odd, '--model', '/data/sd15', '--out', 'run', '--shard', 'auto/32'],
  ]);
  expect(spawnSync('bash', ['-n'], { input: script }).status).toBe(0);
});

test('sbatch reads its lines as they were meant, whatever the folder is called', async () => {
  const options = { ...defaultsOf(SUBMIT), system: 'slurm', parts: 2, sbatch: ['comment=two words', 'exclusive'] };
  const scriptIn = (at: string): string =>
    slurmScript(options as SubmitOptions, { command: 'scan', words: ['scan'], options: {}, places: [] }, at);
  for (const at of ["/data/it's two # words", '/data/50%A "é"', '/data/plain']) {
    const lines = scriptIn(at)
      .split('\n')
      .filter((line) => line.startsWith('#SBATCH '));
    // sbatch divides them as a shell does
    const words = lines.map(
      (line) => spawnSync('bash', ['-c', `printf '%s\n' ${line.slice(8)}`], { encoding: 'utf8' }).stdout,
    );
    expect(words).toEqual(expect.arrayContaining([`--chdir=${at}\n`, '--comment=two words\n', '--exclusive\n']));
    // %A in its name is the job's number in that of a log
    expect(words.find((word) => word.startsWith('--output='))).toBe(
      at.includes('%') ? '--output=/data/50%%A "é"/%x-%A_%a.log\n' : '--output=%x-%A_%a.log\n',
    );
  }
  expect(() => scriptIn('/data/a\\b')).toThrow('sbatch cannot run in');
});

test('kubectl reads YAML 1.1: names such as on and no stay texts', async () => {
  const flags = { system: 'k8s', parts: '2', image: 'on', namespace: 'no', secret: ['yes'], volume: ['off:/data'] };
  const text = await printed(flags);
  const read = (version: '1.1' | '1.2'): unknown =>
    parseAllDocuments(text, { version }).map((one) => one.toJS() as unknown);
  expect(read('1.1')).toEqual(read('1.2'));
  expect(read('1.1')).toMatchObject([{ metadata: { namespace: 'no' } }, {}]);
});

test.each<[wrong: string, flags: Record<string, unknown>, line: string[]]>([
  ['`image` does not apply to slurm', { system: 'slurm', image: 'x' }, LINE],
  [
    '`parallelism` does not apply to aws-batch',
    { system: 'aws-batch', image: 'x', 'job-queue': 'q', parallelism: '2' },
    LINE,
  ],
  ['k8s needs `image`', { system: 'k8s' }, LINE],
  ['aws-batch needs `jobQueue`', { system: 'aws-batch', image: 'x' }, LINE],
  ['`volume` is "data"', { system: 'k8s', image: 'x', volume: ['data'] }, LINE],
  ['--time is "4h"', { system: 'slurm', time: '4h' }, LINE],
  ['--name is "A b"', { system: 'slurm', name: 'A b' }, LINE],
  ['There is no command after --', { system: 'slurm' }, []],
  ['cannot divide the work of "mine"', { system: 'slurm' }, ['mine', 'run']],
  ['submit gives each task its --shard', { system: 'slurm' }, [...LINE, '--shard', '0/2']],
  ['scan has no option --modle', { system: 'slurm' }, ['scan', 'x', '--modle', 'y']],
  ['--out is missing', { system: 'slurm' }, ['scan', 'x', '--model', 'y']],
  ['--samples is "many"', { system: 'slurm' }, [...LINE, '--samples', 'many']],
])('%s', async (wrong, flags, line) => {
  const error = await printed({ parts: '4', ...flags }, line).catch((thrown: unknown) => thrown as Wrong);
  expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(wrong) as string });
});
