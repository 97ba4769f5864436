// queue.json in a run's directory or bucket: what a worker needs to open the run's stage. It lasts as long as the run, so that a queue that lost its jobs can be filled
// again from the folder alone.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { describeAll, type Schema } from '../../options/option.js';
import { flag, members, oneOf, optional, text } from '../../runs/json-shape.js';
import { openStore } from '../../runs/store/open.js';
import type { RunStore } from '../../runs/store/store.js';
import { DiffmineError } from '../../util/errors.js';
import type { SplitOptions } from '../options.js';
import type { ShardedStage } from '../stage.js';

export const QUEUE_FILE = 'queue.json';
export const QUEUE_FORMAT = 'diffmine-queue-1';
/** stages that workers can open: src/stages/NAME/stage.ts */
export const QUEUED_STAGES = ['scan', 'translate', 'cotypicality'] as const;

export interface Descriptor {
  format: typeof QUEUE_FORMAT;
  stage: (typeof QUEUED_STAGES)[number];
  /** of the run's manifest */
  fingerprint: string;
  /** of diffmine: a worker of another one refuses the work */
  version: string;
  /** of the stage, with absolute paths, without those of the machine that began the run */
  options: Record<string, unknown>;
  /** `diffmine cancel` has taken the run off the queue */
  cancelled?: boolean;
}

const SHAPE = members({
  format: oneOf(QUEUE_FORMAT),
  stage: oneOf(...QUEUED_STAGES),
  fingerprint: text,
  version: text,
  options: members({}),
  cancelled: optional(flag),
});

/** Options that say how one machine shares its part of the work. */
const OF_THE_MACHINE = ['queue', 'shard', 'workers', 'devices', 'device', 'threads'];

/** The module of a stage, on this machine. */
export function moduleOf(stage: Descriptor['stage']): string {
  return new URL(`../../stages/${stage}/stage.js`, import.meta.url).href;
}

/** What is written beside the manifest of a run that has begun. */
export async function describeRun(
  { module, folder }: ShardedStage,
  options: SplitOptions,
  version: string,
): Promise<Descriptor> {
  const stage = QUEUED_STAGES.find((name) => moduleOf(name) === module);
  if (stage === undefined) throw new DiffmineError('INTERNAL', `No worker can open ${module}.`);
  const { schema } = (await import(module)) as { schema: Schema };
  const paths = new Set(describeAll(schema).flatMap(({ key, expected }) => (expected === 'a path' ? [key] : [])));
  return {
    format: QUEUE_FORMAT,
    stage,
    fingerprint: folder.manifest.fingerprint,
    version,
    options: Object.fromEntries(
      Object.entries(options)
        .filter(([key, value]) => value !== undefined && !OF_THE_MACHINE.includes(key))
        .map(([key, value]) => [
          key,
          key === 'out' ? folder.place : paths.has(key) && typeof value === 'string' ? absolute(value) : value,
        ]),
    ),
  };
}

/** A path as a worker in another directory needs it; URLs, and names of models that are no folder here, stay. */
function absolute(path: string): string {
  return existsSync(path) ? resolve(path) : path;
}

export async function writeDescriptor(store: RunStore, descriptor: Descriptor): Promise<void> {
  await store.write(QUEUE_FILE, `${JSON.stringify(descriptor, null, 1)}\n`);
}

/**
 * Reads the descriptor of a run.
 *
 * @returns undefined if the run, or its descriptor, is not there
 * @throws RUN_INVALID for a damaged one
 */
export async function readDescriptor(run: string): Promise<Descriptor | undefined> {
  const store = await openStore(run);
  let content: string | undefined;
  try {
    content = (await store.read(QUEUE_FILE))?.toString('utf8');
  } finally {
    await store.close();
  }
  if (content === undefined) return undefined;
  const file = `${run}/${QUEUE_FILE}`;
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch {
    value = undefined;
  }
  if (!SHAPE(value))
    throw new DiffmineError('RUN_INVALID', `${file} is damaged.`, 'Begin the run again with the same command.');
  return value as Descriptor;
}

/** Names a run in the queue: two runs of one content in two places are two. */
export function runId({ fingerprint }: Pick<Descriptor, 'fingerprint'>, run: string): string {
  return createHash('sha256').update(`${fingerprint}\n${run}`).digest('hex').slice(0, 16);
}
