// An Indexed Job of Kubernetes, or with a queue a KEDA ScaledJob, as manifests.
import { createHash } from 'node:crypto';
import { stringify } from 'yaml';
import type { Line } from './line.js';
import type { SubmitOptions } from './options.js';
import { volumesOf } from './volumes.js';

const CONFIG = '/etc/diffmine/diffmine.yaml';
const CONTAINER = 'diffmine';
/** Exit codes of errors that come again: wrong option, unusable input, another run, results that are not finite. */
export const FINAL = [2, 3, 6, 7];
/** Failures of one task, or of a worker, before it is given up. */
const RETRIES = 6;
/** The keys of the queue: shards that wait, those that are worked on, and those with a priority. Counting only the first would stop busy workers. */
const KEYS = ['wait', 'active', 'prioritized'];

type Manifest = Record<string, unknown> & { kind: string };

/** The manifests, in the order in which they are created. */
export function manifests(options: SubmitOptions, line: Line): Manifest[] {
  const { parts, parallelism = parts, queueSecret, namespace } = options;
  const config = stringify(line.options);
  const name = `${options.name ?? `diffmine-${line.command}`}-${hashOf({ options, config })}`;
  const metadata = (suffix = ''): object => ({
    name: `${name}${suffix}`,
    ...(namespace === undefined ? {} : { namespace }),
    labels: { 'app.kubernetes.io/name': 'diffmine', 'app.kubernetes.io/instance': name },
  });
  const configured: Manifest = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: metadata(),
    immutable: true,
    data: { 'diffmine.yaml': config },
  };
  const command = [line.command, '--config', CONFIG];
  const template = (args: readonly string[]): object => ({
    metadata: { labels: { 'app.kubernetes.io/name': 'diffmine', 'app.kubernetes.io/instance': name } },
    spec: podSpec(options, args, name),
  });
  const policy = {
    rules: [
      { action: 'FailJob', onExitCodes: { containerName: CONTAINER, operator: 'In', values: FINAL } },
      // a node that is drained or preempted costs no retry
      { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
    ],
  };
  if (queueSecret === undefined) {
    const job: Manifest = {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: metadata(),
      spec: {
        completionMode: 'Indexed',
        completions: parts,
        parallelism: Math.min(parallelism, parts),
        backoffLimitPerIndex: RETRIES,
        podFailurePolicy: policy,
        template: template([...command, '--shard', `auto/${parts}`]),
      },
    };
    return [configured, job];
  }
  const enqueue: Manifest = {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: metadata('-enqueue'),
    // begins the run, and so needs what the workers have: device, dtype and batch are chosen here
    spec: { backoffLimit: RETRIES, podFailurePolicy: policy, template: template([...command, '--queue']) },
  };
  const workers: Manifest = {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledJob',
    metadata: metadata('-workers'),
    spec: {
      jobTargetRef: {
        parallelism: 1,
        completions: 1,
        backoffLimit: RETRIES,
        template: template(['worker', '--exit-when-done']),
      },
      envSourceContainerName: CONTAINER,
      pollingInterval: 15,
      minReplicaCount: 0,
      maxReplicaCount: Math.min(parallelism, parts),
      successfulJobsHistoryLimit: 5,
      failedJobsHistoryLimit: 20,
      // a changed ScaledJob leaves running workers alone
      rollout: { strategy: 'gradual' },
      scalingStrategy: { strategy: 'default', multipleScalersCalculation: 'sum' },
      triggers: KEYS.map((key) => ({
        type: 'redis',
        metadata: {
          addressFromEnv: 'DIFFMINE_QUEUE_ADDRESS',
          passwordFromEnv: 'DIFFMINE_QUEUE_PASSWORD',
          listName: `bull:diffmine:${key}`,
          listLength: '1',
        },
      })),
    },
  };
  return [configured, enqueue, workers];
}

/** As one document for kubectl, which reads YAML 1.1: there, a plain `no` or `on` is a boolean. */
export function asYaml(documents: readonly Manifest[]): string {
  const options = { lineWidth: 0, aliasDuplicateObjects: false, compat: 'yaml-1.1' } as const;
  return documents.map((one) => stringify(one, options)).join('---\n');
}

function podSpec(options: SubmitOptions, args: readonly string[], config: string): object {
  const { image, gpus, cpus, memory, time, grace, secret = [], queueSecret } = options;
  const volumes = volumesOf(options.volume).map((one, index) => ({ ...one, name: `volume-${index}` }));
  const fromQueue = (name: string, key: string): object => ({
    name,
    valueFrom: { secretKeyRef: { name: queueSecret, key } },
  });
  return {
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: grace,
    ...(time === undefined ? {} : { activeDeadlineSeconds: time }),
    containers: [
      {
        name: CONTAINER,
        image,
        args,
        ...(queueSecret === undefined
          ? {}
          : {
              env: [
                fromQueue('DIFFMINE_QUEUE', 'url'),
                fromQueue('DIFFMINE_QUEUE_ADDRESS', 'address'),
                fromQueue('DIFFMINE_QUEUE_PASSWORD', 'password'),
              ],
            }),
        ...(secret.length === 0 ? {} : { envFrom: secret.map((name) => ({ secretRef: { name } })) }),
        resources: {
          requests: { cpu: String(cpus), memory: `${memory}Gi` },
          limits: { memory: `${memory}Gi`, ...(gpus > 0 ? { 'nvidia.com/gpu': String(gpus) } : {}) },
        },
        volumeMounts: [
          { name: 'config', mountPath: '/etc/diffmine', readOnly: true },
          ...volumes.map(({ name, path }) => ({ name, mountPath: path })),
        ],
      },
    ],
    volumes: [
      { name: 'config', configMap: { name: config } },
      ...volumes.map(({ name, source }) => ({ name, persistentVolumeClaim: { claimName: source } })),
    ],
  };
}

/** The same submission has the same name, and is refused by the cluster while the first one exists. */
function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 8);
}
