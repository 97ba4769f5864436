// Remembers how fast stages computed on this machine, so that the next command can say beforehand how long it will take.
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cacheFolder } from '../util/cache-folder.js';
import { writeFileAtomic } from '../runs/atomic.js';
import type { Dtype } from '../engine/types.js';
import type { ShardedStage } from './stage.js';
import type { SplitOptions } from './options.js';
import { makeFolder } from '../util/paths.js';

/** Rates kept, the latest. */
const KEPT = 100;

interface Remembered {
  /** UNet calls per second */
  rate: number;
  /** ISO 8601 */
  date: string;
}

const fileOf = (): string => join(cacheFolder(), 'rates.json');

/** What has a rate: work of one kind (the format of its folder) with a model on devices. */
interface Rated {
  format: string;
  options: { dtype: Dtype; batch: number; size?: number | 'source' };
  model: { fingerprint: string };
  devices: ShardedStage['devices'];
}

/** What the rate of a stage depends on, but for other work on the machine. */
export function rateKey({ format, options, model, devices }: Rated, { workers = 1, threads }: SplitOptions): string {
  const { dtype, batch, size } = options;
  return JSON.stringify([
    format,
    model.fingerprint,
    devices.map(({ name }) => name),
    workers,
    threads ?? devices[0].threads,
    dtype,
    batch,
    size,
  ]);
}

/** By key. What cannot be read counts as unknown. */
async function read(): Promise<Record<string, Remembered>> {
  try {
    const all = JSON.parse(await readFile(fileOf(), 'utf8')) as unknown;
    if (typeof all !== 'object' || all === null) return {};
    return Object.fromEntries(Object.entries(all).filter(([, one]) => isRemembered(one)));
  } catch {
    return {};
  }
}

function isRemembered(value: unknown): value is Remembered {
  const { rate, date } = (value ?? {}) as Partial<Remembered>;
  return typeof rate === 'number' && rate > 0 && typeof date === 'string';
}

/** UNet calls per second of an earlier command; undefined if there was none. */
export async function knownRate(key: string): Promise<number | undefined> {
  return (await read())[key]?.rate;
}

/** Never fails: where the cache cannot be written, nothing is remembered. */
export async function rememberRate(key: string, rate: number): Promise<void> {
  const all = { ...(await read()), [key]: { rate: Number(rate.toPrecision(4)), date: new Date().toISOString() } };
  const latest = Object.entries(all)
    .sort(([, a], [, b]) => (a.date < b.date ? 1 : -1))
    .slice(0, KEPT);
  try {
    await makeFolder(dirname(fileOf()));
    await writeFileAtomic(fileOf(), `${JSON.stringify(Object.fromEntries(latest), null, 1)}\n`);
  } catch {
    // a read-only home: the next command says the time once it has measured it
  }
}
