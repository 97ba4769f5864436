// Models of the Hugging Face hub: found in the cache, or fetched into it. A model that is cached needs no network; `pull` asks the hub for a newer one.
import path from 'node:path';
import { LockFolder } from '../../runs/lock-folder.js';
import { DiffmineError } from '../../util/errors.js';
import type { Hooks, Progress } from '../../util/hooks.js';
import { byteSize } from '../../util/bytes.js';
import { parseJson } from '../../util/json.js';
import { isObject, readJsonObject, type JsonObject } from '../json.js';
import { conversion, isPickle } from '../pickle.js';
import { HubCache } from './cache.js';
import { HubClient, type HubFile } from './client.js';
import { bytesThere, fetchBlob } from './download.js';
import { hubEnvironment, type HubEnvironment } from './environment.js';
import { INDEX, neededFiles, type Wanted as WantedFiles } from './files.js';
import { DEFAULT_REVISION, formatHubId, type HubId } from './id.js';
import { makeFolder } from '../../util/paths.js';

/** A model in the cache. */
export interface Snapshot {
  id: HubId;
  /** 40 hex digits */
  commit: string;
  /** absolute */
  path: string;
}

/** What a model's files are, and which of them are missing. */
export interface Plan {
  id: HubId;
  /** as it is called now, if the owner has renamed it */
  renamed?: string;
  commit: string;
  /** where it will be */
  path: string;
  files: (HubFile & {
    /** bytes in the cache */
    cached: number;
  })[];
  /** names that are looked for first and do not exist */
  lacking: string[];
}

export type HubHooks = Hooks<Progress<'download'>>;

type Wanted = Pick<WantedFiles, 't5'>;

/**
 * Finds a model in the cache, without a network.
 *
 * @returns undefined if any file that is needed is missing
 */
export async function cached(
  id: HubId,
  wanted: Wanted = {},
  environment?: HubEnvironment,
): Promise<Snapshot | undefined> {
  const cache = new HubCache((environment ?? (await hubEnvironment())).cache, id.name);
  const commit = await cache.commitOf(id.revision);
  if (commit === undefined) return undefined;
  const folder = cache.snapshot(commit);
  const names = await cache.files(commit);
  const index = names.includes(INDEX) ? await readJsonObject(path.join(folder, INDEX)) : undefined;
  const { complete, lacking } = neededFiles(names, index, { ...wanted, variant: id.variant });
  if (!complete) return undefined;
  // the repository may have what would be read before these weights
  for (const name of lacking) if (!(await cache.isAbsent(commit, name))) return undefined;
  return { id, commit, path: folder };
}

/** Asks the hub what a model's files are. Nothing is fetched but these facts. @throws MODEL_INVALID, IO */
export async function plan(id: HubId, wanted: Wanted = {}, { signal }: Pick<HubHooks, 'signal'> = {}): Promise<Plan> {
  const environment = await hubEnvironment();
  if (environment.offline) throw notCached(id);
  return withClient(environment, id, signal, (client) => planWith(client, environment, id, wanted));
}

async function planWith(client: HubClient, environment: HubEnvironment, id: HubId, wanted: Wanted): Promise<Plan> {
  const cache = new HubCache(environment.cache, id.name);
  const { name, commit, files } = await client.model();
  const names = files.map((file) => file.path);
  const index = names.includes(INDEX) ? await indexOf(client, commit) : undefined;
  if (!index && !names.includes('config.json'))
    throw new DiffmineError(
      'MODEL_INVALID',
      `'${id.name}' has no model_index.json: it is not a model in the layout of diffusers.`,
      `Its files are listed at ${client.page}/tree/${id.revision}.`,
    );
  const { files: needed, lacking, complete, matched } = neededFiles(names, index, { ...wanted, variant: id.variant });
  // what is wrong is told from the names by findWeights, when the folder is opened; but not after gigabytes
  if (!complete) throw incomplete(id, names);
  if (id.variant !== undefined && !matched)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The model '${id.name}' has no weights of the variant '${id.variant}'.`,
      `Its files are listed at ${client.page}/tree/${id.revision}.`,
    );
  return {
    id,
    ...(name === id.name ? {} : { renamed: name }),
    commit,
    path: cache.snapshot(commit),
    lacking,
    files: await Promise.all(
      files
        .filter((file) => needed.includes(file.path))
        .map(async (file) => ({ ...file, cached: Math.min(file.size, await bytesThere(cache.blob(file.etag))) })),
    ),
  };
}

/** Fetches what is missing of a model. @throws what `plan` throws, and IO; CANCELLED */
export async function pull(id: HubId, wanted: Wanted = {}, hooks: HubHooks = {}): Promise<Plan & { fetched: number }> {
  const environment = await hubEnvironment();
  if (environment.offline) throw notCached(id);
  const { signal, onLog, onProgress } = hooks;
  return withClient(environment, id, signal, async (client) => {
    const cache = new HubCache(environment.cache, id.name);
    await makeFolder(cache.locks);
    const lock = await new LockFolder(cache.locks).wait('diffmine', {
      signal,
      onWaiting: (holder) => onLog?.(`Waiting for ${holder}, which is downloading ${id.name}.`),
    });
    try {
      const found = await planWith(client, environment, id, wanted);
      const { commit, files, renamed } = found;
      if (renamed !== undefined) onLog?.(`The model ${id.name} is now called ${renamed}.`);
      const [total, there] = [
        files.map(({ size }) => size).reduce(add, 0),
        files.map((one) => one.cached).reduce(add, 0),
      ];
      if (total > there) onLog?.(`Downloading ${formatHubId(id)}: ${byteSize(total - there)} into ${found.path}.`);
      let done = 0;
      for (const file of files) {
        await fetchBlob(client, commit, file, cache.blob(file.etag), {
          signal,
          onBytes: (bytes) =>
            onProgress?.({ type: 'download', done: megabytes(done + bytes), total: megabytes(total) }),
        });
        done += file.size;
        if (!(await cache.has(commit, file.path, file.etag))) await cache.link(commit, file.path, file.etag);
      }
      for (const name of found.lacking) await cache.setAbsent(commit, name);
      // last: until then an earlier commit, which may be complete, is the one that is cached
      await cache.setCommit(id.revision, commit);
      return { ...found, fetched: total - there };
    } finally {
      await lock.release();
    }
  });
}

/** A model as it is cached, or else fetched. */
export async function snapshotOf(id: HubId, wanted: Wanted = {}, hooks: HubHooks = {}): Promise<Snapshot> {
  const there = await cached(id, wanted);
  if (there) return there;
  const { commit, path: folder } = await pull(id, wanted, hooks);
  return { id, commit, path: folder };
}

async function withClient<T>(
  environment: HubEnvironment,
  id: HubId,
  signal: AbortSignal | undefined,
  use: (client: HubClient) => Promise<T>,
): Promise<T> {
  const client = new HubClient(environment, id, signal);
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

async function indexOf(client: HubClient, commit: string): Promise<JsonObject> {
  const { body } = await client.content(commit, INDEX);
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  const index = parseJson(Buffer.concat(pieces).toString('utf8'));
  if (!isObject(index)) throw new DiffmineError('MODEL_INVALID', `${client.page}: ${INDEX} is not a JSON object.`);
  return index;
}

function notCached(id: HubId): DiffmineError {
  return new DiffmineError(
    'IO',
    `'${formatHubId(id)}' is neither a folder here nor completely in the cache, and HF_HUB_OFFLINE is set.`,
    `Where there is a network: diffmine pull ${formatHubId(id)}. HF_HOME says where the cache is.`,
  );
}

function incomplete(id: HubId, names: readonly string[]): DiffmineError {
  const { name, revision, variant } = id;
  const pickle = names.filter(isPickle);
  return new DiffmineError(
    'MODEL_INVALID',
    `'${formatHubId(id)}' lacks safetensors weights or configuration of a component.`,
    pickle.length > 0
      ? `It has ${pickle.slice(0, 3).join(', ')}, which diffmine does not read, as pickle files can run code. ${conversion(name, path.basename(name), { ...(revision !== DEFAULT_REVISION && { revision }), ...(variant !== undefined && { variant }) })}`
      : 'Give another model, or another variant.',
  );
}

const add = (a: number, b: number): number => a + b;
const megabytes = (bytes: number): number => Math.round(bytes / 1e6);
