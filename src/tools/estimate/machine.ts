// The machine that an estimate is for: this one, or one that is known by its specifications.
import { usableCores } from '../../engine/cores.js';
import { addonPath } from '../../engine/locate.js';
import type { Dtype } from '../../engine/types.js';
import { speedOfCpu } from '../../pipeline/computed-rate.js';
import { check } from '../../pipeline/resolve.js';
import { findDevice } from '../../runs/device.js';
import { chooseDtype, type DtypeChoice, type Task } from '../../runs/dtype.js';
import { count } from '../../web/html.js';
import { CARDS, speedOf, type CardName } from './machines.js';

export interface Machine {
  /** null: none was named, and none is needed */
  device: string | null;
  dtype: Dtype;
  /** bytes of the device's memory; null where it is not known */
  available: number | null;
  /** operations per second, from and to, of a machine that is not measured but computed; undefined where it is measured, or unknown */
  speed?: readonly [number, number];
  /** what `speed` is computed from */
  speedFrom?: string;
}

/** CUDA's context and its libraries take about this much of a GPU's memory. An assumption. */
export const CONTEXT_BYTES = 1e9;

export const isCard = (name: string | undefined): name is CardName => name !== undefined && Object.hasOwn(CARDS, name);

export const cpuSpeedFrom = (cores: number): string =>
  `${count(cores, 'core')}, from the rate of Stable Diffusion 1.5 on an Intel Xeon with AMX`;

/** A machine other than this one. */
export function machineOf(
  { device = 'auto', threads }: { device?: string | undefined; threads?: number | undefined },
  asked: DtypeChoice,
  task: Task = 'ranking',
): Machine {
  if (isCard(device)) {
    const card = CARDS[device];
    // as chooseDtype on a GPU
    const dtype = asked === 'auto' ? 'fp32' : asked;
    check(dtype !== 'bf16' || card.bf16, `${card.title} does not multiply in bf16.`, 'Give `dtype` fp16.');
    return {
      device,
      dtype,
      available: card.memory,
      speed: speedOf(card, dtype),
      speedFrom: `30 to 50 % of the ${dtype} peak of an ${card.title}; not measured`,
    };
  }
  if (device !== 'cpu') return { device: null, dtype: asked === 'auto' ? 'fp32' : asked, available: null };
  const cpu = addonPath() === undefined ? undefined : findDevice('cpu');
  const dtype = cpu ? chooseDtype(asked, cpu, { task }) : asked === 'auto' ? 'fp32' : asked;
  const cores = threads ?? usableCores();
  return {
    device,
    dtype,
    available: cpu?.memoryFree ?? null,
    speed: speedOfCpu(cores, dtype),
    speedFrom: cpuSpeedFrom(cores),
  };
}
