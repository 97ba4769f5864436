// An array job of AWS Batch: the inputs of its calls RegisterJobDefinition and SubmitJob.
import { FINAL } from './kubernetes.js';
import { wordsOf, type Line } from './line.js';
import type { SubmitOptions } from './options.js';
import { volumesOf } from './volumes.js';

/** The most that AWS Batch allows. */
const ATTEMPTS = 10;

export interface BatchInputs {
  jobDefinition: {
    jobDefinitionName: string;
    type: 'container';
    retryStrategy: {
      attempts: number;
      evaluateOnExit: { action: 'RETRY' | 'EXIT'; onExitCode?: string; onStatusReason?: string }[];
    };
    timeout?: { attemptDurationSeconds: number };
    containerProperties: {
      image: string;
      command: string[];
      jobRoleArn?: string;
      resourceRequirements: { type: 'VCPU' | 'MEMORY' | 'GPU'; value: string }[];
      volumes?: { name: string; efsVolumeConfiguration: { fileSystemId: string; transitEncryption: 'ENABLED' } }[];
      mountPoints?: { sourceVolume: string; containerPath: string }[];
    };
  };
  job: { jobName: string; jobQueue: string; jobDefinition: string; arrayProperties?: { size: number } };
}

export function batchInputs(options: SubmitOptions, line: Line): BatchInputs {
  const { parts, image = '', jobQueue = '', jobRole, gpus, cpus, memory, time } = options;
  const name = options.name ?? `diffmine-${line.command}`;
  const volumes = volumesOf(options.volume).map((one, index) => ({ ...one, name: `volume-${index}` }));
  return {
    jobDefinition: {
      jobDefinitionName: name,
      type: 'container',
      retryStrategy: {
        attempts: ATTEMPTS,
        // a spot instance that is taken back is retried, and so is all that is not listed
        evaluateOnExit: [
          { action: 'RETRY', onStatusReason: 'Host EC2*' },
          ...FINAL.map((code) => ({ action: 'EXIT' as const, onExitCode: String(code) })),
        ],
      },
      ...(time === undefined ? {} : { timeout: { attemptDurationSeconds: time } }),
      containerProperties: {
        image,
        command: [...wordsOf(line), '--shard', `auto/${parts}`],
        ...(jobRole === undefined ? {} : { jobRoleArn: jobRole }),
        resourceRequirements: [
          { type: 'VCPU', value: String(cpus) },
          { type: 'MEMORY', value: String(memory * 1024) },
          ...(gpus === 0 ? [] : [{ type: 'GPU' as const, value: String(gpus) }]),
        ],
        ...(volumes.length === 0
          ? {}
          : {
              volumes: volumes.map(({ name: volume, source }) => ({
                name: volume,
                efsVolumeConfiguration: { fileSystemId: source, transitEncryption: 'ENABLED' as const },
              })),
              mountPoints: volumes.map(({ name: volume, path }) => ({ sourceVolume: volume, containerPath: path })),
            }),
      },
    },
    job: {
      jobName: name,
      jobQueue,
      jobDefinition: name,
      // an array has at least two tasks
      ...(parts < 2 ? {} : { arrayProperties: { size: parts } }),
    },
  };
}
